"""Label sets, their order, and the mappings between them."""

from collections.abc import Sequence

EMOTIONS_7 = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""The default bundle's classes, in output order."""

EMOTIONS_8 = ("angry", "calm", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""RAVDESS's classes: calm stands as its own."""

SYNONYMS = {
    "anger": "angry",
    "fearful": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
    "disgusted": "disgust",
}
"""Spellings found in public corpora, and the name used here."""

NEAREST = {"calm": "neutral"}
"""Labels that a smaller label set counts as another; anything else is left out, never guessed."""


def normalise_label(label: str) -> str:
    """The project's name of an emotion: lower case, synonyms resolved (`Anger` -> `angry`)."""
    label = label.strip().lower()
    return SYNONYMS.get(label, label)


def to_label_set(label: str, emotions: Sequence[str]) -> str | None:
    """`label` in terms of the classes `emotions`, or None where it has no counterpart there."""
    label = normalise_label(label)
    if label in emotions:
        return label
    nearest = NEAREST.get(label)
    return nearest if nearest in emotions else None
