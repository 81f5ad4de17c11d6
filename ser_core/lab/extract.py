"""Acoustic features of recordings as a table: `extract` and `write`, and `ser features`.

The numbers are those of the layers in `ser_core.lab.features`, which networks are trained on.
"""

import argparse
import csv
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ser_core import audio
from ser_core.lab import features
from ser_core.lab.stft import Method

Features = NDArray[np.float32]
StrPath = str | os.PathLike[str]
OnError = Callable[[str, audio.AudioError | OSError], None]


@dataclass(frozen=True)
class Settings:
    """How features are computed; unless given, 64 ms every 16 ms at 16 kHz."""

    sampling_rate: int = audio.SAMPLING_RATE
    """Hz; recordings are resampled to it."""
    n_fft: int = 1024
    """Samples in a frame of a spectrum; even."""
    hop: int = 256
    """Samples from one frame to the next."""
    frame_length: int = 2048
    """Samples in a frame of zcr and rms; even."""
    n_mels: int = 128
    """Mel bands of mel, log_mel and mfcc."""
    n_mfcc: int = 13
    """Coefficients of mfcc."""
    n_chroma: int = 12
    """Pitch classes of chroma."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 1:
                raise ValueError(f"{field.name}={value} must be at least 1")
            if field.name in ("n_fft", "frame_length") and value % 2:
                raise ValueError(f"{field.name}={value} must be even, so that all frames line up")

    @property
    def spectral(self) -> dict[str, Any]:
        """Arguments of every layer on a spectrum."""
        power_of_two = self.n_fft & (self.n_fft - 1) == 0
        method: Method = "fft" if power_of_two else "dft"
        return {
            "sampling_rate": self.sampling_rate,
            "n_fft": self.n_fft,
            "hop": self.hop,
            "method": method,
        }


KINDS: dict[str, Callable[[Settings], keras.layers.Layer]] = {
    "mfcc": lambda s: features.MFCC(s.n_mfcc, n_mels=s.n_mels, **s.spectral),
    "mel": lambda s: features.MelSpectrogram(n_mels=s.n_mels, **s.spectral),
    "log_mel": lambda s: features.LogMel(n_mels=s.n_mels, **s.spectral),
    "chroma": lambda s: features.Chroma(s.n_chroma, **s.spectral),
    "zcr": lambda s: features.ZeroCrossingRate(s.frame_length, s.hop),
    "rms": lambda s: features.RMS(s.frame_length, s.hop),
    "centroid": lambda s: features.SpectralCentroid(**s.spectral),
    "bandwidth": lambda s: features.SpectralBandwidth(**s.spectral),
    "rolloff": lambda s: features.SpectralRolloff(**s.spectral),
    "contrast": lambda s: features.SpectralContrast(**s.spectral),
}
"""Name of a feature -> the layer that computes it."""

DEFAULT_KINDS = ("mfcc", "chroma", "zcr", "rms", "centroid")


class Extractor:
    """A signal `(samples,)`, float32, at `settings.sampling_rate` -> its features.

    Raises `ValueError` for a kind that is not in `KINDS` and for settings that cannot be.
    """

    columns: tuple[str, ...]
    """Names of the features: the kind where it is one number, else `kind_0`, `kind_1`, ..."""

    def __init__(
        self, kinds: Iterable[str] = DEFAULT_KINDS, settings: Settings | None = None
    ) -> None:
        self.settings = settings or Settings()
        names = list(dict.fromkeys([kinds] if isinstance(kinds, str) else kinds))
        unknown = [name for name in names if name not in KINDS]
        if unknown or not names:
            raise ValueError(f"no feature is called {unknown}: there are {', '.join(KINDS)}")
        self._layers = {name: KINDS[name](self.settings) for name in names}
        self.columns = tuple(
            name if layer.width == 1 else f"{name}_{index}"
            for name, layer in self._layers.items()
            for index in range(layer.width)
        )
        mirrored = any(layer.pad_mode == "reflect" for layer in self._layers.values())
        self._shortest = self.settings.n_fft // 2 + 1 if mirrored else 1

    def __call__(self, signal: Features) -> Features:
        """`(1 + samples // hop, columns)`; raises `TooShort` where a frame cannot be filled."""
        if len(signal) < self._shortest:
            raise audio.TooShort(
                f"{len(signal)} samples are too short for frames of {self.settings.n_fft}"
            )
        values = [keras.ops.convert_to_numpy(f(signal[None]))[0] for f in self._layers.values()]
        return np.concatenate(values, axis=-1)


@dataclass(frozen=True)
class FeatureTable:
    """Features of several recordings, one row each."""

    files: tuple[str, ...]
    columns: tuple[str, ...]
    means: Features
    """Over time, `(files, columns)`."""
    frames: tuple[Features, ...] | None
    """Of each recording `(frames, columns)`, where they were asked for."""
    hop_seconds: float
    """Seconds from one frame to the next; frame t is centred on `t * hop_seconds`."""


def extract(
    paths: StrPath | Iterable[StrPath],
    kinds: Iterable[str] = DEFAULT_KINDS,
    settings: Settings | None = None,
    *,
    frames: bool = False,
    on_error: OnError | None = None,
) -> FeatureTable:
    """Features of recordings: their means over time and, on request, every frame.

    A recording that cannot be used raises `AudioError` or `OSError`; with `on_error`, that is
    called with its path and the error instead, and the table does without it. Raises `ValueError`
    for unknown kinds and impossible settings, before any file is opened.
    """
    paths = [paths] if isinstance(paths, str | os.PathLike) else paths
    return _table(Extractor(kinds, settings), paths, frames, on_error)


def _table(
    extractor: Extractor, paths: Iterable[StrPath], keep_frames: bool, on_error: OnError | None
) -> FeatureTable:
    settings = extractor.settings
    files: list[str] = []
    means: list[Features] = []
    frames: list[Features] = []
    for source in paths:
        path = os.fspath(source)
        try:
            values = extractor(audio.load(path, settings.sampling_rate))
        except (audio.AudioError, OSError) as e:
            if on_error is None:
                e.add_note(f"while reading {path}")
                raise
            on_error(path, e)
            continue
        files.append(path)
        means.append(values.mean(axis=0, dtype=np.float64).astype(np.float32))
        if keep_frames:
            frames.append(values)
    return FeatureTable(
        files=tuple(files),
        columns=extractor.columns,
        means=np.array(means, np.float32).reshape(len(files), len(extractor.columns)),
        frames=tuple(frames) if keep_frames else None,
        hop_seconds=settings.hop / settings.sampling_rate,
    )


def write(table: FeatureTable, out: StrPath) -> None:
    """Write a table: the means as `.csv`, or everything as `.npz` (read by `numpy.load`).

    The CSV has one line a recording, `file` and then the columns. The archive holds `files`,
    `columns`, `means`, `hop_seconds` and, where the table has frames, `frames` (those of all
    recordings, one after the other) and `frame_counts`: `np.split(frames,
    np.cumsum(frame_counts)[:-1])` parts them. Raises `ValueError` for another ending, and for a
    table with frames that is to become a CSV.
    """
    out = Path(out)
    check_out(out, frames=table.frames is not None)
    if out.suffix == ".csv":
        # Linux allows names that are not UTF-8; they are written as they are.
        with out.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            lines = csv.writer(file)
            lines.writerow(["file", *table.columns])
            for name, values in zip(table.files, table.means, strict=True):
                lines.writerow([name, *values])
        return
    arrays: dict[str, Any] = {
        "files": np.array(table.files, np.str_),
        "columns": np.array(table.columns, np.str_),
        "means": table.means,
        "hop_seconds": table.hop_seconds,
    }
    if table.frames is not None:
        empty = np.zeros((0, len(table.columns)), np.float32)
        arrays["frames"] = np.concatenate([empty, *table.frames])
        arrays["frame_counts"] = np.array([len(frames) for frames in table.frames], np.int64)
    np.savez(out, **arrays)


def check_out(out: Path, *, frames: bool) -> None:
    """Raise `ValueError` where `write` would, for a table with or without frames."""
    if out.suffix not in (".csv", ".npz"):
        raise ValueError(f"{out}: the name must end in .csv or .npz")
    if frames and out.suffix == ".csv":
        raise ValueError(f"{out}: a .csv holds means only; frames go into an .npz")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `ser features`; `parser.parse_args(...).run` is then `main`."""
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument(
        "--kind",
        type=lambda text: tuple(text.split(",")),
        default=DEFAULT_KINDS,
        metavar="KIND,...",
        help=f"of {', '.join(KINDS)} (default: {','.join(DEFAULT_KINDS)})",
    )
    parser.add_argument(
        "--out", required=True, metavar="X.csv|X.npz", help="means over time, or arrays"
    )
    parser.add_argument(
        "--frames", action="store_true", help="every frame beside the means (.npz only)"
    )
    for field in fields(Settings):
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            type=int,
            default=field.default,
            metavar="N",
            help=f"(default: {field.default})",
        )
    parser.set_defaults(run=main)


def main(options: argparse.Namespace) -> int:
    """`ser features`: 0, or 1 where a recording was left out, or 2 where nothing was begun."""
    out = Path(options.out)
    try:
        check_out(out, frames=options.frames)
        settings = Settings(**{f.name: getattr(options, f.name) for f in fields(Settings)})
        extractor = Extractor(options.kind, settings)
    except ValueError as e:
        print(f"ser: {e}", file=sys.stderr)
        return 2
    if not out.parent.is_dir():
        print(f"ser: {out.parent} is not a folder", file=sys.stderr)
        return 2
    refused: list[str] = []

    def name_it(path: str, error: audio.AudioError | OSError) -> None:
        refused.append(path)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        tqdm.write(f"{path}: {reason}", file=sys.stderr)

    files: Sequence[str] = options.files
    progress = tqdm(files, unit="file", disable=None)
    table = _table(extractor, progress, options.frames, name_it)
    if not table.files:
        print("ser: no recording could be used; nothing was written", file=sys.stderr)
        return 1
    try:
        write(table, out)
    except OSError as e:
        print(f"ser: {out}: {e.strerror or e}", file=sys.stderr)
        return 1
    return 1 if refused else 0
