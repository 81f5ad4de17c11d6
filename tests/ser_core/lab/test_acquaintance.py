"""Whether those by whom a model is judged are new to it."""

from pathlib import Path

import pytest

from ser_core.lab.acquaintance import NEVER_HEARD, acquaintance
from ser_core.lab.corpora import Utterance
from ser_core.lab.protocols import protocol


def spoken_by(*speakers: str) -> list[Utterance]:
    return [Utterance(Path(f"{name}.wav"), "sad", name, corpus="a") for name in speakers]


@pytest.mark.parametrize(
    ("before", "judged", "words"),
    [
        (("1", "2"), ("3",), NEVER_HEARD),
        (("1", "2"), ("1", "2"), "2 of 2 speakers heard in training"),
        (("1", "2"), ("2", "3", "3"), "1 of 2 speakers heard in training"),
        (("1", ""), ("3",), "speakers not all named, perhaps heard before"),
        (("1",), ("",), "speakers not all named, perhaps heard before"),
    ],
)
def test_speakers_are_called_new_if_they_are(
    before: tuple[str, ...], judged: tuple[str, ...], words: str
) -> None:
    assert acquaintance(spoken_by(*judged), spoken_by(*before)) == words


def test_speakers_of_what_a_bundle_began_with_are_not_new() -> None:
    judged, before = spoken_by("2", "3"), spoken_by("1")
    assert acquaintance(judged, before, ["a/1", "a/3"]) == "1 of 2 speakers heard in training"
    # Another corpus's speaker of that name is another one.
    assert acquaintance(judged, before, ["b/2"]) == NEVER_HEARD


def test_a_random_split_has_everybody_on_both_sides() -> None:
    utterances = [
        Utterance(Path(f"{take}.wav"), emotion, f"{actor:02}", corpus="ravdess")
        for actor in range(1, 5)
        for emotion in ("angry", "sad")
        for take in range(12)
    ]
    (split,) = protocol("ravdess-random").splits(utterances)
    # Of what is known when a benchmark's bundle is written.
    assert acquaintance(split.valid, split.train) == "4 of 4 speakers heard in training"
