"""An hour of sound: how many times faster than real time it is judged, and what memory it takes.

    python -m benchmarks.long [--minutes 60] [--format WAV|FLAC] [--interpreters N]

Speech-like sound with pauses is written to a file, block by block, then judged as a user's file
would be. Growth is what the process holds more at its peak than after a file of one minute.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from ser_core import Limits, Recognizer

RATE = 16_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--format", default="WAV", choices=("WAV", "FLAC", "OGG", "MP3"))
    parser.add_argument("--interpreters", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--model", help="name or folder of a bundle")
    options = parser.parse_args()
    recognizer = Recognizer.load(options.model, interpreters=options.interpreters)
    with tempfile.TemporaryDirectory() as folder:
        minute, whole = Path(folder, "minute"), Path(folder, "whole")
        write(minute, 1, options.format)
        write(whole, options.minutes, options.format)
        for _ in range(3):
            recognizer.predict(minute)
        before = peak_memory()
        started = time.perf_counter()
        prediction = recognizer.predict(whole, limits=Limits(max_seconds=1e6))
        seconds = time.perf_counter() - started
        growth = peak_memory() - before
        answer = len(str(prediction.to_dict(timeline=True)))
    judged = sum(segment.speech for segment in prediction.segments)
    print(
        f"| {options.minutes} min {options.format} | {options.interpreters} interpreters"
        f" | {seconds:.1f} s | {60 * options.minutes / seconds:.0f} x real time"
        f" | {prediction.model_seconds:.1f} s in the network"
        f" | {judged} of {len(prediction.segments)} windows with speech"
        f" | + {growth:.1f} MB at its peak | answer {answer / 1e6:.1f} MB |"
    )


def write(path: Path, minutes: int, container: str) -> None:
    """Syllables of four a second with a pause of 5 s in every 20."""
    t = np.arange(20 * RATE) / RATE
    harmonics = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 20))
    sound = 0.1 * np.sin(4 * np.pi * t) ** 2 * harmonics * (t < 15)
    sound += 1e-4 * np.random.default_rng(0).standard_normal(len(t))
    with soundfile.SoundFile(path, "w", RATE, 1, format=container) as file:
        for _ in range(3 * minutes):
            file.write(sound)


def peak_memory() -> float:
    """The most this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()
