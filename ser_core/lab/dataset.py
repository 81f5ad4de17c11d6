"""Utterances decoded and turned into features once, kept on disk for the next run."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ser_core import activity, audio
from ser_core.activity import active_frames, active_span
from ser_core.lab.corpora import Utterance

logger = logging.getLogger(__name__)

CACHE = Path(".cache/features")
LONGEST = 6.0
"""Seconds of an utterance that are kept for training: more than any window."""


@dataclass(frozen=True)
class FeatureSet:
    """Features of many utterances, of different lengths, one after the other."""

    frames: NDArray[np.floating[Any]]
    """All frames `(frames, k)`."""
    offsets: NDArray[np.int64]
    """Utterance i is `frames[offsets[i]:offsets[i + 1]]`; shape `(utterances + 1,)`."""
    kept: NDArray[np.int64]
    """Which of the utterances asked for could be read."""
    skipped: tuple[tuple[str, str], ...]
    """Path and reason of those that could not."""

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> NDArray[np.floating[Any]]:
        return self.frames[self.offsets[index] : self.offsets[index + 1]]


Front = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A signal `(samples,)` -> its features `(frames, k)`."""


def voiced(path: Path, sampling_rate: int) -> NDArray[np.float32]:
    """The part of a recording that the recognizer would judge: edges without sound cut off."""
    signal = audio.load(path, sampling_rate)
    start, stop = active_span(active_frames(signal, sampling_rate), len(signal), sampling_rate)
    return signal[start : min(stop, start + round(LONGEST * sampling_rate))]


def features_of(
    utterances: Sequence[Utterance],
    front: Front,
    sampling_rate: int,
    key: str,
    cache: Path = CACHE,
    *,
    dtype: type[np.floating[Any]] = np.float16,
) -> FeatureSet:
    """Features of all `utterances`, from the cache where the same were computed before.

    `key` names the front end and its settings; the cache also knows the files by path, size and
    time of change. `dtype` is what they are kept in: half precision is enough for decibels.
    """
    place = cache / _digest(utterances, sampling_rate, key)
    if not (place / "done.json").is_file():
        _compute(utterances, front, sampling_rate, place, dtype)
    skipped = json.loads((place / "done.json").read_text(encoding="utf-8"))["skipped"]
    for path, reason in skipped:
        logger.warning("skipped %s: %s", path, reason)
    return FeatureSet(
        frames=np.load(place / "frames.npy", mmap_mode="r"),
        offsets=np.load(place / "offsets.npy"),
        kept=np.load(place / "kept.npy"),
        skipped=tuple((path, reason) for path, reason in skipped),
    )


def _compute(
    utterances: Sequence[Utterance],
    front: Front,
    sampling_rate: int,
    place: Path,
    dtype: type[np.floating[Any]],
) -> None:
    pieces: list[NDArray[np.floating[Any]]] = []
    kept: list[int] = []
    skipped: list[tuple[str, str]] = []
    for index, utterance in enumerate(tqdm(utterances, desc="features", unit="clip", disable=None)):
        try:
            signal = voiced(utterance.path, sampling_rate)
        except (audio.AudioError, OSError) as e:
            skipped.append((str(utterance.path), str(e)))
            continue
        pieces.append(front(signal).astype(dtype))
        kept.append(index)
    place.mkdir(parents=True, exist_ok=True)
    np.save(place / "frames.npy", np.concatenate(pieces) if pieces else np.zeros((0, 1), dtype))
    np.save(place / "offsets.npy", np.cumsum([0, *(len(piece) for piece in pieces)]))
    np.save(place / "kept.npy", np.array(kept, np.int64))
    (place / "done.json").write_text(json.dumps({"skipped": skipped}), encoding="utf-8")


def _digest(utterances: Iterable[Utterance], sampling_rate: int, key: str) -> str:
    digest = hashlib.sha256(f"{key} {sampling_rate} {LONGEST}".encode())
    # What is cut off before decides too.
    digest.update(Path(activity.__file__).read_bytes())
    for utterance in utterances:
        try:
            stat = utterance.path.stat()
            digest.update(f"{utterance.path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{utterance.path} missing\n".encode())
    return digest.hexdigest()[:20]
