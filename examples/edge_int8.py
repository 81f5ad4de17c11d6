"""What a microcontroller computes, in NumPy: the front end before an int8 file, then the file.

    ser export default --to int8 --data recordings.csv
    python examples/edge_int8.py default.int8.tflite speech.wav

Every line up to `quantise` is what the firmware has to do in float or fixed point; all its numbers
come from the JSON beside the file. `docs/edge.md` says it in words.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
KNOWN = {
    "Trimmed", "PeakNormalised", "LogMel", "VoiceFeatures", "FrameMask", "Sounding",
    "LevelNormalisation",
}  # fmt: skip
SPEECH = 35.0
"""dB under the loudest frame within which a frame counts as speech."""
SILENCE = 1e-4
"""Half the distance between highest and lowest sample under which nothing is heard (-80 dBFS)."""


def front_end(signal: Floats, told: dict[str, Any]) -> tuple[Floats, Floats]:
    """Signal `(samples,)` at the model's rate -> features `(frames, bands)`, mask `(frames,)`."""
    steps = {step["layer"]: step for step in told["front_end"]}
    if strange := {*steps} - KNOWN:
        raise ValueError(f"this front end is not written for {', '.join(sorted(strange))}")
    spectrum = steps.get("LogMel") or steps["VoiceFeatures"]
    n_fft, hop = spectrum["n_fft"], spectrum["hop"]
    signal = signal[: told["samples"]]
    if "PeakNormalised" in steps:
        signal = signal / max(float(np.abs(signal).max()), 1e-5)
    padded = np.pad(signal, (0, told["samples"] - len(signal)))
    padded = np.pad(padded, n_fft // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    power = np.abs(np.fft.rfft(frames * hann)) ** 2
    decibels = 10 * np.log10(np.maximum(power @ mel_filters(told, n_fft).T, 1e-10))
    mask = np.arange(len(frames)) * hop < len(signal)
    level = 10 * np.log10((10 ** (decibels / 10)).sum(axis=1))
    loud = mask & (level > level[mask].max() - SPEECH)
    if "Sounding" in steps:
        first, last = np.flatnonzero(loud)[[0, -1]]
        mask = (np.arange(len(frames)) >= first) & (np.arange(len(frames)) <= last)
    normal = steps["LevelNormalisation"]
    relative = np.maximum(decibels - decibels[mask].max(), -normal["span"])
    mean = relative[loud].mean(axis=0) if normal["per_band"] else relative[loud].mean()
    return (relative - mean) * mask[:, None] / 20, mask.astype(np.float32)


def mel_filters(told: dict[str, Any], n_fft: int) -> Floats:
    """Triangles of equal area between the edges, `(bands, bins)`."""
    edges = np.array(told["mel_edges"])[:, None]
    hertz = np.fft.rfftfreq(n_fft, 1 / told["sampling_rate"])[None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(rising, falling))
    return np.asarray(triangles * 2 / (edges[2:] - edges[:-2]))


def hear(model: Path, signal: Floats) -> dict[str, float]:
    """The probability of each emotion."""
    told = json.loads(Path(f"{model}.json").read_text(encoding="utf-8"))
    signal = signal[: told["samples"]]
    if not len(signal) or np.ptp(signal) / 2 < SILENCE:
        # The network has no answer for nothing: it would name an emotion.
        raise ValueError(f"the first {told['window']:g} s are empty or silent")
    predict = Interpreter(str(model)).get_signature_runner("predict")
    inputs = {}
    for name, values in zip(("features", "mask"), front_end(signal, told), strict=True):
        scale, zero = (told["quantisation"][name][key] for key in ("scale", "zero_point"))
        inputs[name] = np.clip(np.rint(values / scale + zero), -128, 127).astype(np.int8)[None]
    scale, zero = (told["quantisation"]["logits"][key] for key in ("scale", "zero_point"))
    logits = (predict(**inputs)["logits"][0].astype(np.float32) - zero) * scale
    logits = logits / told["temperature"] + np.array(told["bias"] or 0.0)
    shares = np.exp(logits - logits.max())
    return dict(zip(told["emotions"], (shares / shares.sum()).tolist(), strict=True))


def main(model: Path, recording: Path) -> None:
    try:
        with recording.open("rb") as file:
            signal, rate = soundfile.read(file, dtype="float32", always_2d=True)
        told = json.loads(Path(f"{model}.json").read_text(encoding="utf-8"))
        if rate != told["sampling_rate"]:
            sys.exit(f"{recording} has {rate} Hz, and the model hears {told['sampling_rate']} Hz")
        heard = hear(model, signal.mean(axis=1))
    except (OSError, RuntimeError) as e:
        sys.exit(str(e))
    except ValueError as e:
        sys.exit(f"{recording}: {e}")
    for emotion, share in heard.items():
        print(f"{emotion:10} {share:.2f} {'#' * round(40 * share)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
