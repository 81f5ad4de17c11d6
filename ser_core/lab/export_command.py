"""`ser export`: a bundle's network as another runtime wants it, compared on real recordings."""

import argparse
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import librosa
import numpy as np

from ser_core.audio import AudioError
from ser_core.bundle import Bundle, sha256
from ser_core.emotions import to_label_set
from ser_core.lab.arguments import DATA_HELP, positive
from ser_core.lab.corpora import CorpusError, Utterance, read
from ser_core.lab.dataset import voiced
from ser_core.lab.evaluation import log_skipped, speaker_key
from ser_core.lab.export import KERAS, ExportError, export_litert, load_keras
from ser_core.lab.export_h5 import export_h5
from ser_core.lab.export_int8 import Parts, Windows, cut, export_int8
from ser_core.lab.export_onnx import export_onnx
from ser_core.lab.exported import Comparison, Int8Runtime, OnnxRuntime, compare, listen
from ser_core.lab.parts import part_of
from ser_core.runtime import LiteRT, Runtime, TensorFlow

logger = logging.getLogger(__name__)

EXPECTED = (CorpusError, ExportError)
TARGETS = {
    "tflite": ("tflite", "LiteRT in float: phones, Raspberry Pi"),
    "int8": ("int8.tflite", "integers alone, behind the log-mel: microcontrollers"),
    "onnx": ("onnx", "ONNX: onnxruntime, browsers, other frameworks"),
    "h5": ("h5", "HDF5 of Keras: older tools"),
}
"""Target -> ending of its file, and what it is for."""

FITTED = 100
"""How many recordings int8 is fitted to."""

TOLERANCE = 1e-3
"""How far a probability may be from Keras's where nothing is rounded to 8 bits."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """`ser export BUNDLE --to TARGET --data ...`."""
    targets = "; ".join(f"{name}: {purpose}" for name, (_, purpose) in TARGETS.items())
    command.add_argument("model", help="name or folder of a bundle")
    command.add_argument("--to", required=True, choices=TARGETS, help=targets)
    command.add_argument(
        "--data",
        type=Path,
        required=True,
        help=f"recordings to compare on with Keras: {DATA_HELP}",
    )
    command.add_argument(
        "--split",
        choices=("train", "valid", "test"),
        help="compare on this part (default: test, where there is one)",
    )
    command.add_argument(
        "--clips", type=positive, default=200, help="how many recordings (default: 200)"
    )
    command.add_argument("--out", type=Path, help="the file (default: NAME.ENDING, here)")


def main(options: argparse.Namespace) -> int:
    """Write the file and what a device must know of it, and say how well it answers."""
    bundle = Bundle.load(options.model)
    source = bundle.path / KERAS
    if not source.is_file():
        raise ExportError(f"{bundle.path} has no {KERAS} to export: only its LiteRT files")
    target: str = options.to
    out = options.out or Path(f"{bundle.name}.{TARGETS[target][0]}")
    sidecar = out.with_name(f"{out.name}.json")
    with _written(out):
        _check_place(out, sidecar, target)
    recordings = Recordings.choose(
        bundle, options.data, options.split, options.clips, fit=target == "int8"
    )
    model = load_keras(source)
    partial = out.with_name(f"partial.{out.name}")
    try:
        with _written(out):
            notes, runtime = _write(target, model, partial, bundle, recordings)
        reference = listen(bundle, TensorFlow(source), recordings.judged)
        if not reference.heard:
            raise ExportError(f"none of the recordings of {options.data} can be judged")
        exported = listen(bundle, runtime, recordings.judged, profiles=target != "int8")
        comparison = compare(bundle, reference, exported)
        if target != "int8" and not comparison.difference <= TOLERANCE:
            raise ExportError(
                f"{out.name} answers otherwise than Keras: a probability differs by "
                f"{comparison.difference:.2g}. It is not kept."
            )
        with _written(out):
            partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    described = _describe(bundle, model, target, out, comparison) | notes
    with _written(sidecar):
        sidecar.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    _report(out, sidecar, target, comparison, recordings)
    return 0


def _check_place(out: Path, sidecar: Path, target: str) -> None:
    """Raises `ExportError` where the files cannot go, before the work is done."""
    if not out.parent.is_dir():
        raise ExportError(f"there is no folder {out.parent} to write {out.name} in")
    for file in (out, sidecar):
        if file.is_dir():
            raise ExportError(f"{file} is a folder: name another file with --out")
    if target == "h5" and out.suffix != ".h5":
        # By another ending Keras would write another format.
        raise ExportError(f"{out} is no name for an h5: Keras writes one where it ends in .h5")


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Raises `ExportError` for what the disk has against a file."""
    try:
        yield
    except OSError as e:
        raise ExportError(f"{path} cannot be written: {e.strerror or e}") from e


@dataclass(frozen=True)
class Recordings:
    """What is compared on, and what int8 is fitted to.

    They have no recording in common, unless there is only one.
    """

    judged: list[Utterance]
    fitted: list[Utterance]
    """None where nothing is to be fitted."""
    heard_before: int
    """How many of the judged are of speakers that the bundle was trained on."""

    @classmethod
    def choose(
        cls, bundle: Bundle, data: Path, split: str | None, count: int, *, fit: bool
    ) -> "Recordings":
        """Evenly from all that the manifest has, `count` to judge and, to `fit` to, 100 others.

        Where others are few, so many are not judged that a third of all is there to fit to.

        Raises:
            CorpusError: there is nothing with a label that the bundle knows.
        """
        reading = read(data)
        log_skipped(reading)
        known = [u for u in reading.utterances if to_label_set(u.emotion, bundle.emotions)]
        if split is None and any(u.split == "test" for u in known):
            split = "test"
        judged = _evenly(part_of(known, split, bundle.info), count)
        if not judged:
            part = f" of the split {split!r}" if split else ""
            raise CorpusError(
                f"{data} has no utterances{part} with a label that {bundle.name} knows: "
                f"{', '.join(bundle.emotions)}"
            )
        fitted: list[Utterance] = []
        if fit:
            judged, fitted = _apart(judged, known)
        trained = set(bundle.info.get("speakers", []))
        before = sum(speaker_key(u) in trained for u in judged)
        return cls(judged, fitted, before)

    @property
    def in_common(self) -> int:
        """How many of those that int8 is fitted to are judged too."""
        return len({u.path for u in self.judged} & {u.path for u in self.fitted})

    def windows(self, sampling_rate: int, samples: int) -> Windows:
        """The first window of each recording that int8 is fitted to."""
        waveforms, lengths = [], []
        for utterance in self.fitted:
            try:
                signal = voiced(utterance.path, sampling_rate)[:samples]
            except (AudioError, OSError) as e:
                logger.warning("skipped %s: %s", utterance.path, e)
                continue
            waveforms.append(np.pad(signal, (0, samples - len(signal))))
            lengths.append(len(signal))
        if not waveforms:
            raise ExportError("int8 is fitted to recordings, and none of these can be read")
        return np.array(waveforms, np.float32), np.array(lengths, np.int32)[:, None]


def _apart(
    judged: list[Utterance], known: list[Utterance]
) -> tuple[list[Utterance], list[Utterance]]:
    """Those to judge, and others to fit to: some of them, where too few are left."""
    enough = min(FITTED, max(1, len(known) // 3))
    rest = _without(known, judged)
    learnt = [u for u in rest if u.split in ("valid", "train")]
    others = learnt if len(learnt) >= enough else rest
    aside = _evenly(judged, max(0, enough - len(others)))
    return _without(judged, aside) or judged, _evenly([*others, *aside], FITTED)


def _without(utterances: Sequence[Utterance], others: Sequence[Utterance]) -> list[Utterance]:
    paths = {u.path for u in others}
    return [u for u in utterances if u.path not in paths]


def _evenly(utterances: Sequence[Utterance], count: int) -> list[Utterance]:
    places = np.linspace(0, len(utterances) - 1, min(count, len(utterances)))
    return [utterances[round(place)] for place in places]


def _write(
    target: str, model: keras.Model, path: Path, bundle: Bundle, recordings: Recordings
) -> tuple[dict[str, Any], Runtime]:
    """Write the file; what is special about it, and what runs it."""
    if target == "tflite":
        export_litert(model, path)
        return {}, LiteRT(path)
    if target == "onnx":
        export_onnx(model, path)
        return {}, OnnxRuntime(path)
    if target == "h5":
        export_h5(model, path)
        return {}, TensorFlow(path)
    parts = cut(model)
    windows = recordings.windows(bundle.sampling_rate, model.inputs[0].shape[1])
    export_int8(parts, path, windows)
    runtime = Int8Runtime(path, parts)
    fitted = {"recordings": len(windows[0]), "judged_too": recordings.in_common}
    return _int8_notes(parts, runtime) | {"fitted_to": fitted}, runtime


def _int8_notes(parts: Parts, runtime: Int8Runtime) -> dict[str, Any]:
    shapes = [list(each.shape[1:]) for each in parts.front.outputs[: parts.inputs]]
    steps = parts.front_end
    bands = [
        librosa.mel_frequencies(step["n_mels"] + 2, fmin=step["fmin"], fmax=step["fmax"])
        for step in steps
        if "n_mels" in step
    ]
    return {
        "inputs": dict(zip(("features", "mask"), ([1, *shape] for shape in shapes), strict=False)),
        "outputs": {"logits": [1, parts.core.output["logits"].shape[-1]]},
        "quantisation": {
            name: {"scale": scale, "zero_point": zero}
            for name, (scale, zero) in runtime.scales.items()
        },
        "front_end": steps,
        "mel_edges": [round(float(edge), 3) for edge in bands[0]] if bands else [],
        "left_out": ["speaker profile", *(["functionals"] if len(parts.front.outputs) > 2 else [])],
    }


def _describe(
    bundle: Bundle, model: keras.Model, target: str, out: Path, comparison: Comparison
) -> dict[str, Any]:
    """What a device must know to use the file, and what was seen of it."""

    def shapes(tensors: dict[str, Any]) -> dict[str, list[int]]:
        # Only in Keras has a single number a dimension of its own.
        kept = {name: x.shape[1:] for name, x in tensors.items()}
        if target != "h5":
            kept = {name: tuple(n for n in shape if n != 1) for name, shape in kept.items()}
        return {name: [1, *shape] for name, shape in kept.items()}

    home = bundle.home()
    # By the names of the inputs; what knows no profiles has none of them.
    given = {"home": {"profile": home.mean.tolist(), "count": home.count}} if home else {}
    return {
        "file": out.name,
        "sha256": sha256(out),
        "target": target,
        "name": bundle.name,
        "version": bundle.version,
        "emotions": list(bundle.emotions),
        "sampling_rate": bundle.sampling_rate,
        "window": bundle.window,
        "samples": model.inputs[0].shape[1],
        "temperature": bundle.temperature,
        "bias": list(bundle.bias),
        "threshold": bundle.threshold,
        "inputs": shapes({each.name: each for each in model.inputs}),
        "outputs": shapes(model.output),
        **(given if target != "int8" else {}),
        "compared_with_keras": comparison.figures,
    }


def _report(
    out: Path, sidecar: Path, target: str, comparison: Comparison, recordings: Recordings
) -> None:
    size = out.stat().st_size / 1e6
    print(f"wrote {out} ({size:.2f} MB) and {sidecar.name}, what a device must know of it")
    speakers = len({speaker_key(u) for u in recordings.judged})
    print(f"compared on {comparison.n} recordings of {speakers} speakers:")
    print(f"  UAR              {comparison.uar:.3f}   (Keras: {comparison.keras_uar:.3f})")
    share = comparison.same / comparison.n
    print(f"  same emotion     {comparison.same} of {comparison.n} ({share:.1%})")
    print(f"  probabilities    differ by {comparison.difference:.2g} at most")
    if target == "int8":
        cost = 100 * (comparison.keras_uar - comparison.uar)
        print(f"  int8 costs       {cost:.1f} points of UAR" + " (by chance)" * (cost < 0))
    if recordings.in_common:
        logger.warning(
            "Warning: int8 was fitted to %d of these recordings, as there are no others; its UAR "
            "is flattered.",
            recordings.in_common,
        )
    if recordings.heard_before:
        logger.warning(
            "Warning: the model was trained on speakers of %d of these recordings; the UARs "
            "flatter it.",
            recordings.heard_before,
        )
