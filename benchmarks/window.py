"""What each part of a model costs for a window of 3 s: `python -m benchmarks.window [BUNDLE ...]`.

The front end of the default design is built up part by part, exported to LiteRT and run on one
thread, in turn with the bundles named (the default one, unless others are). The quickest of the
runs counts: the one that others on the machine disturbed least. Needs the training extra.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from benchmarks.bench import machine
from ser_core.bundle import Bundle
from ser_core.lab.export import export_litert
from ser_core.lab.features import LogMel
from ser_core.lab.functionals import Functionals, VoiceFeatures
from ser_core.lab.pooling import FrameMask, PeakNormalised, Sounding, Trimmed
from ser_core.lab.presets import DEFAULT
from ser_core.lab.stft import PowerSpectrogram

LIMIT = 3.0
"""Milliseconds that the default may take on one core."""

FRONT = DEFAULT.front


def log_mel(method: str) -> Callable[[Any, Any], Any]:
    return lambda waveform, length: LogMel(**FRONT, method=method)(waveform)


def spectrum(waveform: Any, length: Any) -> Any:
    layer = PowerSpectrogram(FRONT["n_fft"], FRONT["hop"], pad_mode="constant", method="dft")
    return layer(waveform)


def voice(waveform: Any, length: Any) -> Any:
    return VoiceFeatures(**FRONT, method="dft")(waveform)


def functionals(waveform: Any, length: Any) -> Any:
    decibels, pitch = voice(waveform, length)
    mask = Sounding()([decibels, FrameMask(DEFAULT.frames, DEFAULT.hop_length)(length)])
    return Functionals(DEFAULT.bands, DEFAULT.frames, DEFAULT.frame_rate)([decibels, pitch, mask])


PARTS: dict[str, Callable[[Any, Any], Any]] = {
    "waveform at full scale": lambda waveform, length: waveform,
    "... its power spectrum": spectrum,
    "... its log-mel, by products": log_mel("dft"),
    "... its log-mel, by LiteRT's FFT": log_mel("fft"),
    "... its log-mel and pitch": voice,
    "... and their functionals": functionals,
}
"""Each from the waveform on."""


def part(make: Callable[[Any, Any], Any], folder: Path) -> Path:
    """That part of the front end as a LiteRT file."""
    waveform = keras.Input((DEFAULT.samples,), name="waveform")
    length = keras.Input((1,), dtype="int32", name="length")
    made = keras.tree.flatten(make(PeakNormalised()(Trimmed()([waveform, length])), length))
    model = keras.Model([waveform, length], {f"out_{i}": each for i, each in enumerate(made)})
    path = folder / f"{len(list(folder.iterdir()))}.tflite"
    export_litert(model, path, int8=True)
    return path


def runner(path: Path) -> Callable[[], Any]:
    """One window through a file, on one thread."""
    run = Interpreter(str(path), num_threads=1).get_signature_runner("predict")
    noise = np.random.default_rng(0).normal(0, 0.1, (1, DEFAULT.samples)).astype(np.float32)
    given = {"waveform": noise, "length": np.array([DEFAULT.samples], np.int32)}
    for name, detail in run.get_input_details().items():
        given.setdefault(name, np.zeros(detail["shape"], np.float32))
    return lambda: run(**given)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="*", default=["default"], metavar="BUNDLE")
    parser.add_argument("--runs", type=int, default=300)
    given = parser.parse_args()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: runner(part(make, Path(folder))) for name, make in PARTS.items()}
        for name in given.bundles:
            bundle = Bundle.load(name)
            size = bundle.model.stat().st_size / 1e6
            runs[f"{bundle.name} {bundle.version}, {size:.1f} MB"] = runner(bundle.model)
        best = dict.fromkeys(runs, float("inf"))
        for _ in range(given.runs):
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                best[name] = min(best[name], 1000 * (time.perf_counter() - started))
    print("| 3 s of sound, one thread | ms |\n|---|---:|")
    for name, milliseconds in best.items():
        print(f"| {name} | {milliseconds:.2f} |")
    slowest = max([*best.values()][len(PARTS) :])
    print(
        f"\n{'holds    ' if slowest <= LIMIT else 'DOES NOT '}  at most {LIMIT:g} ms: {slowest:.2f}"
    )
    return 0 if slowest <= LIMIT else 1


if __name__ == "__main__":
    raise SystemExit(main())
