"""A made-up corpus: speakers who act emotions that differ in pitch and in spectral tilt."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.sounds import Signal, encode, voice

SPEAKERS = {
    "a1": "train", "a2": "train", "a3": "train", "a4": "valid",
    "b1": "train", "b2": "train", "b3": "valid", "b4": "test",
}  # fmt: skip
"""Speaker -> split; the first letter is the corpus."""

EMOTIONS = {"angry": (1.5, -0.9), "neutral": (1.0, 0.0), "sad": (0.8, 0.9)}
"""Emotion -> pitch relative to the speaker's, and how far the spectrum falls."""


def act(speaker: str, emotion: str, seconds: float = 1.2, seed: int = 0) -> Signal:
    """An utterance at 16 kHz."""
    pitch, tilt = EMOTIONS[emotion]
    habitual = 110 + 12 * [*SPEAKERS].index(speaker)
    sound = voice(seconds, pitch=habitual * pitch * (1 + 0.02 * seed), seed=seed)
    # One pole or one zero: a slope of up to 6 dB an octave, down or up.
    if tilt < 0:
        sound = np.append(sound[:1], sound[1:] + np.float32(tilt) * sound[:-1])
    else:
        kernel = (tilt ** np.arange(60)).astype(np.float32)
        sound = np.convolve(sound, kernel)[: len(sound)]
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def write_corpus(folder: Path, emotions: Sequence[str] = tuple(EMOTIONS)) -> Path:
    """Two utterances of each emotion by each speaker, as WAV files; returns the manifest."""
    rows = []
    for speaker, split in SPEAKERS.items():
        for emotion in emotions:
            for take in range(2):
                path = folder / f"{speaker}_{emotion}_{take}.wav"
                path.write_bytes(encode(act(speaker, emotion, 1.0 + 0.3 * take, take)))
                rows.append(
                    {
                        "path": path.name,
                        "label": emotion,
                        "speaker": speaker,
                        "corpus": speaker[0],
                        "split": split,
                    }
                )
    return write_manifest(folder / "manifest.csv", rows)


def write_manifest(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """A CSV file with the columns of the first row."""
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.DictWriter(file, [*rows[0]])
        lines.writeheader()
        lines.writerows(rows)
    return path


def read_rows(manifest: Path) -> list[dict[str, str]]:
    """A manifest's rows, to write another like it."""
    with manifest.open(newline="", encoding="utf-8") as file:
        return [*csv.DictReader(file)]
