"""Utterances decoded and turned into features once, kept on disk for the next run."""

import hashlib
import json
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
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
PART = 1000
"""Recordings after which their features are put into the cache."""


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

    `key` names the front end and its settings; the cache also knows each file by path, size and
    time of change, so that any choice of recordings finds what another one left. `dtype` is what
    features are kept in: half precision is enough for decibels.
    """
    place = cache / _digest(sampling_rate, f"{key} {np.dtype(dtype)}")
    files = [_file(utterance.path) for utterance in utterances]
    known = _known(place)
    missing = {f: u.path for f, u in zip(files, utterances, strict=True) if f not in known}
    if missing:
        _compute(missing, front, sampling_rate, place, dtype)
        known = _known(place)
    found = [known[file] for file in files]
    kept = [index for index, each in enumerate(found) if isinstance(each, np.ndarray)]
    skipped = tuple(
        (str(utterance.path), each)
        for utterance, each in zip(utterances, found, strict=True)
        if isinstance(each, str)
    )
    for path, reason in skipped:
        logger.warning("skipped %s: %s", path, reason)
    pieces: list[Any] = [found[index] for index in kept]
    return FeatureSet(
        frames=np.concatenate(pieces) if pieces else np.zeros((0, 1), dtype),
        offsets=np.cumsum([0, *(len(piece) for piece in pieces)]),
        kept=np.array(kept, np.int64),
        skipped=skipped,
    )


Known = NDArray[np.floating[Any]] | str
"""Features `(frames, k)` of a recording, or why it has none."""


def _known(place: Path) -> dict[str, Known]:
    """All that the cache holds of one front end."""
    known: dict[str, Known] = {}
    for index in sorted(place.glob("*.json")):
        frames = np.load(index.with_suffix(".npy"), mmap_mode="r")
        for file, entry in json.loads(index.read_text(encoding="utf-8")).items():
            known[file] = entry if isinstance(entry, str) else frames[slice(*entry)]
    return known


def _compute(
    files: Mapping[str, Path],
    front: Front,
    sampling_rate: int,
    place: Path,
    dtype: type[np.floating[Any]],
) -> None:
    """Add parts to the cache; what is finished when the process is stopped is not lost."""
    place.mkdir(parents=True, exist_ok=True)
    waiting = list(files.items())
    with tqdm(total=len(waiting), desc="features", unit="clip", disable=None) as bar:
        for first in range(0, len(waiting), PART):
            pieces = [np.zeros((0, 1), dtype)]
            entries: dict[str, str | list[int]] = {}
            end = 0
            for file, path in waiting[first : first + PART]:
                bar.update()
                try:
                    signal = voiced(path, sampling_rate)
                except (audio.AudioError, OSError) as e:
                    entries[file] = str(e)
                    continue
                piece = front(signal).astype(dtype)
                if not end:
                    pieces.clear()
                pieces.append(piece)
                entries[file] = [end, end + len(piece)]
                end += len(piece)
            _save(place, np.concatenate(pieces), entries)


def _save(
    place: Path, frames: NDArray[np.floating[Any]], entries: Mapping[str, str | list[int]]
) -> None:
    # Names of their own: other processes may be adding parts too.
    part = place / uuid.uuid4().hex
    np.save(part.with_suffix(".npy"), frames)
    index = part.with_suffix(".partial")
    index.write_text(json.dumps(entries), encoding="utf-8")
    index.rename(part.with_suffix(".json"))


def _file(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        return f"{path} missing"
    return f"{path} {stat.st_size} {stat.st_mtime_ns}"


def _digest(sampling_rate: int, key: str) -> str:
    digest = hashlib.sha256(f"{key} {sampling_rate} {LONGEST}".encode())
    # What is cut off before decides too.
    digest.update(Path(activity.__file__).read_bytes())
    return digest.hexdigest()[:20]
