"""Is speech told from what is none? Precision and recall of the voice activity, frame by frame.

    SER_DATA=folder python -m benchmarks.activity [--clips 120] [--split test]

The script mixes real recordings with what it makes itself: music-like sounds (held chords, a
plucked melody, a beat), noise (white, pink, hum, clicks) and silence. Speech is where a recording's
own frames are within 35 dB of its loud ones, and where a pause in them is under 0.3 s. The mix is
judged at two levels, and with white noise 20 and 10 dB under the speech over all of it.
"""

import argparse
import csv
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_core.activity import FRAME, Survey, active, active_frames, speech_frames
from ser_core.audio import load

RATE = 16_000
STEP = int(FRAME * RATE)
PAUSE = 15
"""Frames up to which a pause belongs to the speech around it."""

Signal = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=120)
    parser.add_argument("--split", default="test")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(os.environ.get("SER_DATA", "../shared/data"))
    rng = np.random.default_rng(options.seed)
    clips = recordings(folder, options.split, options.clips, rng)
    print("| speech | level | precision | recall | by level alone: precision | recall |")
    print("|---|---|---|---|---|---|")
    for noise in (None, 20, 10):
        pieces, labels = mix(clips, noise, np.random.default_rng(options.seed))
        for decibels in (0, -30) if noise is None else (0,):
            counts = np.zeros((2, 3))
            for signal, truth in zip(pieces, labels, strict=True):
                survey = Survey(RATE)
                survey.add(signal * np.float32(10 ** (decibels / 20)))
                for row, found in enumerate((speech_frames(survey), active(survey.levels))):
                    hits = (found & truth).sum()
                    counts[row] += hits, found.sum(), truth.sum()
            name = "clean" if noise is None else f"{noise} dB over noise"
            figures = [f"{h / f:.3f} | {h / t:.3f}" for h, f, t in counts]
            print(f"| {name} | {decibels} dB | {' | '.join(figures)} |")
    print("\nShare of frames that are called speech in what is none, each alone with speech:")
    for name, make in SOUNDS.items():
        called = []
        for clip in clips[:10]:
            other = level_to(make(8.0, rng), clip, 0)
            survey = Survey(RATE)
            survey.add(np.concatenate([clip, np.zeros(RATE, np.float32), other]))
            called.append(speech_frames(survey)[(len(clip) + RATE) // STEP + 1 :].mean())
        print(f"- {name}: {np.mean(called):.3f}")


def recordings(folder: Path, split: str, count: int, rng: np.random.Generator) -> list[Signal]:
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        paths = [row["path"] for row in csv.DictReader(file) if row["split"] == split]
    chosen = rng.permutation(np.array(sorted(paths)))[:count]
    return [load(folder / path) for path in chosen]


def mix(
    clips: list[Signal], snr: float | None, rng: np.random.Generator
) -> tuple[list[Signal], list[NDArray[np.bool_]]]:
    """Recordings of some 60 s: five clips, between them one of each other sound."""
    pieces, labels = [], []
    for first in range(0, len(clips) - 4, 5):
        parts, truth = [], []
        makers = rng.permutation(np.array(list(SOUNDS.values())))[:5]
        for whole, make in zip(clips[first : first + 5], makers, strict=True):
            clip = whole[: len(whole) // STEP * STEP]
            quieter = rng.uniform(-15, 5)
            other = level_to(make(rng.uniform(3, 9), rng), clip, quieter)
            other = other[: len(other) // STEP * STEP]
            parts += [clip, np.zeros(RATE // 2, np.float32), other, np.zeros(RATE, np.float32)]
            truth += [
                spoken(clip),
                np.zeros((len(other) + RATE * 3 // 2) // STEP, np.bool_),
            ]
        signal = np.concatenate(parts)
        signal += 1e-4 * rng.standard_normal(len(signal)).astype(np.float32)
        if snr is not None:
            loud = np.percentile(np.square(clips[first]), 90)
            signal += np.float32(np.sqrt(loud / 10 ** (snr / 10))) * rng.standard_normal(
                len(signal)
            ).astype(np.float32)
        pieces.append(signal)
        labels.append(np.concatenate(truth))
    return pieces, labels


def spoken(clip: Signal) -> NDArray[np.bool_]:
    """Frames of a clip that hold speech; short pauses inside count with it."""
    frames = active_frames(clip, RATE)
    places = np.flatnonzero(frames)
    for before, after in pairwise(places.tolist()):
        if after - before <= PAUSE:
            frames[before:after] = True
    return frames


def level_to(sound: Signal, clip: Signal, decibels: float) -> Signal:
    """The sound so many dB louder than the clip's loud frames."""
    loud = np.percentile(np.square(clip), 95)
    gain = np.sqrt(loud / np.mean(np.square(sound))) * 10 ** (decibels / 20)
    return (sound * gain).astype(np.float32)


def times(seconds: float) -> NDArray[np.float64]:
    return np.arange(round(seconds * RATE)) / RATE


def chord(seconds: float, rng: np.random.Generator) -> Signal:
    """Held tones of organ-like timbre, a new chord every two seconds."""
    t = times(seconds)
    sound = np.zeros(len(t))
    for start in np.arange(0, seconds, 2.0):
        inside = (t >= start) & (t < start + 2)
        root = 110 * 2 ** (rng.integers(0, 12) / 12)
        for third in (1, 5 / 4, 3 / 2):
            for k in range(1, 6):
                sound[inside] += np.sin(2 * np.pi * root * third * k * t[inside]) / k
    return sound.astype(np.float32)


def melody(seconds: float, rng: np.random.Generator) -> Signal:
    """Plucked notes that decay, four a second."""
    t = times(seconds)
    sound = np.zeros(len(t))
    for start in np.arange(0, seconds, 0.25):
        pitch = 220 * 2 ** (rng.integers(0, 24) / 12)
        age = np.maximum(t - start, 0)
        note = sum(np.sin(2 * np.pi * pitch * k * age) / k for k in range(1, 8))
        sound += (t >= start) * np.exp(-4 * age) * note
    return sound.astype(np.float32)


def beat(seconds: float, rng: np.random.Generator) -> Signal:
    """A drum of noise twice a second over a bass."""
    t = times(seconds)
    drum = np.exp(-20 * (t % 0.5)) * rng.standard_normal(len(t))
    return (drum + 0.5 * np.sin(2 * np.pi * 55 * t)).astype(np.float32)


def white(seconds: float, rng: np.random.Generator) -> Signal:
    """White noise."""
    return rng.standard_normal(round(seconds * RATE)).astype(np.float32)


def pink(seconds: float, rng: np.random.Generator) -> Signal:
    """Noise that falls by 3 dB an octave, as rooms and traffic do."""
    spectrum = np.fft.rfft(rng.standard_normal(round(seconds * RATE)))
    sound = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)))
    return sound.astype(np.float32)


def hum(seconds: float, rng: np.random.Generator) -> Signal:
    """Mains and a fan: harmonics of 50 Hz in noise."""
    t = times(seconds)
    tones = sum(np.sin(2 * np.pi * 50 * k * t) / k for k in range(1, 12))
    return (tones + 0.3 * rng.standard_normal(len(t))).astype(np.float32)


def clicks(seconds: float, rng: np.random.Generator) -> Signal:
    """Typing: short bursts of noise at random."""
    t = times(seconds)
    sound = np.zeros(len(t))
    for start in rng.uniform(0, seconds, round(6 * seconds)):
        age = np.maximum(t - start, 0)
        sound += (t >= start) * np.exp(-200 * age) * rng.standard_normal(len(t))
    return sound.astype(np.float32)


SOUNDS: dict[str, Callable[[float, np.random.Generator], Signal]] = {
    "chord": chord,
    "melody": melody,
    "beat": beat,
    "white noise": white,
    "pink noise": pink,
    "hum": hum,
    "clicks": clicks,
}


if __name__ == "__main__":
    main()
