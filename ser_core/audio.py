"""Any recording -> mono float32 at one sampling rate, bounded in time and memory.

Every refusal is an `AudioError` with a `code`; problems of the storage itself (no such file,
no permission, a broken connection) stay the `OSError` they are.
"""

import errno
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soxr
from numpy.typing import ArrayLike, NDArray

from ser_core.audio_errors import (
    AudioError,
    EmptyAudio,
    NotAudio,
    NotFinite,
    Silent,
    TooLong,
    TooManyChannels,
    TooShort,
    UnsupportedRate,
)
from ser_core.decode import BLOCK, READABLE, Decoder, Stream, open_decoder

__all__ = [
    "BLOCK",
    "DEFAULT_LIMITS",
    "READABLE",
    "SAMPLING_RATE",
    "AudioError",
    "EmptyAudio",
    "Limits",
    "NotAudio",
    "NotFinite",
    "Signal",
    "Silent",
    "Source",
    "TooLong",
    "TooManyChannels",
    "TooShort",
    "UnsupportedRate",
    "as_signal",
    "check_signal",
    "decode_blocks",
    "decode_channels",
    "is_silent",
    "load",
    "rereadable",
    "unchecked",
]

SAMPLING_RATE = 16_000
"""Hz; what the models hear unless a bundle says otherwise."""

MIN_SAMPLING_RATE = 1_000
"""Hz; below this no vowel has a formant left."""

SILENCE = 1e-4
"""Half the distance between highest and lowest sample (-80 dBFS) below which a recording is silent.
Some three quantisation steps of 16 bits: dither and codec residue stay below it, while speech
recorded at -50 dBFS lies thirty times above. A constant offset swings by nothing, so is silent."""

_CANCELLED = "The channels cancel each other out once mixed: judge each (channels=split)."

MAX_PEAK = 2.0**31
"""Float samples above 1 are kept, up to 32-bit integers written as floats; more is damage."""

Signal = NDArray[np.float32]
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO


def unchecked() -> None:
    """Nothing ends the work before it is done."""


@dataclass(frozen=True)
class Limits:
    """What one recording may cost: seconds, channels, Hz, and time."""

    max_seconds: float = 600.0
    min_seconds: float = 0.1
    max_channels: int = 8
    max_sampling_rate: int = 192_000
    check: Callable[[], None] = unchecked
    """Called before each window is judged; what it raises ends the work."""


DEFAULT_LIMITS = Limits()


def load(
    source: Source, sampling_rate: int = SAMPLING_RATE, limits: Limits = DEFAULT_LIMITS
) -> Signal:
    """The whole recording as a mono signal, float32, shape `(samples,)`, at `sampling_rate` Hz.

    `source` is a path, the file's bytes, or a binary file object, which is read from its start
    and left open (one that cannot seek is read into memory first). What `READABLE` lists is told
    apart by content, never by name; channels are averaged. A file that was cut off gives what can
    be decoded of it. Raises `AudioError`, or `OSError` for the storage.
    """
    signal, filled = np.empty(0, np.float32), 0
    for block in decode_blocks(source, sampling_rate, limits):
        needed = filled + block.size
        if needed > signal.size:
            # In place, so that a long recording is never held twice.
            signal.resize(max(needed, signal.size * 5 // 4), refcheck=False)
        signal[filled:needed] = block
        filled = needed
    signal.resize(filled, refcheck=False)
    return signal


def decode_blocks(
    source: Source, sampling_rate: int = SAMPLING_RATE, limits: Limits = DEFAULT_LIMITS
) -> Iterator[Signal]:
    """`load` in pieces of bounded size, in constant memory; their concatenation equals it.

    What the header tells is judged before the first block. What only decoding can tell is judged
    as it appears, so an `AudioError` may follow some blocks, at the latest after the last one.
    """
    return _decode(source, sampling_rate, limits, _mean)


def decode_channels(
    source: Source, sampling_rate: int = SAMPLING_RATE, limits: Limits = DEFAULT_LIMITS
) -> Iterator[Signal]:
    """`decode_blocks` with the channels kept apart: blocks of shape `(samples, channels)`.

    It is silent only if every channel is.
    """
    return _decode(source, sampling_rate, limits, _apart)


def rereadable(source: Source) -> Source:
    """The source itself if it can be decoded more than once, else what it holds."""
    if isinstance(source, str | os.PathLike | bytes | bytearray | memoryview) or source.seekable():
        return source
    return source.read()


def as_signal(
    signal: ArrayLike,
    sampling_rate: float,
    target_rate: int = SAMPLING_RATE,
    limits: Limits = DEFAULT_LIMITS,
    *,
    split: bool = False,
) -> Signal:
    """A caller's samples as `load` would give them: mono, float32, at `target_rate` Hz.

    `signal` has shape `(samples,)` or `(samples, channels)`. Floats have full scale 1; int16,
    int32 and uint8 are taken as PCM and scaled to it. `split` keeps the channels apart, in a result
    of shape `(samples, channels)`. Raises `AudioError`.
    """
    samples = _as_float(signal)
    if samples.ndim not in (1, 2):
        raise NotAudio(
            f"A signal has shape (samples,) or (samples, channels), this one {samples.shape}."
        )
    if not samples.size:
        raise EmptyAudio("The audio holds no samples.")
    frames, channels = samples.shape if samples.ndim == 2 else (samples.size, 1)
    if samples.ndim == 2 and frames <= limits.max_channels < channels:
        raise TooManyChannels(
            f"A signal of shape {samples.shape} has {channels} channels: transpose it, "
            f"if it is meant as (channels, samples)."
        )
    _check_format(sampling_rate, channels, limits)
    _check_not_longer(frames, sampling_rate, limits)
    samples = samples.reshape(frames, channels)
    arranged = _apart(samples) if split else _mean(samples)
    check_signal(arranged, sampling_rate, limits)
    result = np.concatenate(list(_resample([arranged], sampling_rate, target_rate)))
    made = _Level()
    made.add(result)
    made.check_not_silent()
    return result


def check_signal(signal: Signal, sampling_rate: float, limits: Limits = DEFAULT_LIMITS) -> None:
    """Raise the `AudioError` that says why a mono signal, shape `(samples,)`, holds no speech."""
    _check_not_longer(len(signal), sampling_rate, limits)
    level = _Level()
    level.add(signal)
    level.check(sampling_rate, limits)


def is_silent(lowest: float, highest: float) -> bool:
    """Whether a signal between these two samples swings by less than `SILENCE`."""
    return highest - lowest < 2 * SILENCE


def _decode(
    source: Source, sampling_rate: int, limits: Limits, arrange: Callable[[Signal], Signal]
) -> Iterator[Signal]:
    with _open(source) as file, open_decoder(Stream(file)) as decoder:
        _check_format(decoder.sampling_rate, decoder.channels, limits)
        if decoder.frames is not None:
            _check_not_longer(decoder.frames, decoder.sampling_rate, limits)
        heard = _Level()
        made = heard if decoder.sampling_rate == sampling_rate else _Level()
        arranged = _arranged_blocks(decoder, arrange, heard, limits)
        for block in _resample(arranged, decoder.sampling_rate, sampling_rate):
            if made is not heard:
                made.add(block)
            yield block
        heard.check(decoder.sampling_rate, limits)
        if made is not heard:
            made.check_not_silent()


def _check_format(sampling_rate: float, channels: int, limits: Limits) -> None:
    if not MIN_SAMPLING_RATE <= sampling_rate <= limits.max_sampling_rate:
        raise UnsupportedRate(
            f"The sampling rate is {sampling_rate:g} Hz; "
            f"{MIN_SAMPLING_RATE} to {limits.max_sampling_rate} Hz are accepted."
        )
    if channels > limits.max_channels:
        raise TooManyChannels(
            f"The audio has {channels} channels; at most {limits.max_channels} are accepted."
        )


def _check_not_longer(frames: int, sampling_rate: float, limits: Limits) -> None:
    if frames > limits.max_seconds * sampling_rate:
        raise TooLong(f"The audio lasts longer than the {limits.max_seconds:g} s accepted.")


class _Level:
    """Length and range of a signal that passes by block by block, each channel for itself."""

    def __init__(self) -> None:
        self.frames = 0
        self.lowest: NDArray[np.float64] = np.array(np.inf)
        self.highest: NDArray[np.float64] = np.array(-np.inf)
        self.cancelled = False
        """It is silent so far, but is made of channels that are not."""

    @property
    def swings(self) -> bool:
        return bool((self.highest - self.lowest >= 2 * SILENCE).any())

    def add(self, block: Signal) -> None:
        if not block.size:
            return
        low, high = block.min(axis=0), block.max(axis=0)
        if not ((low >= -MAX_PEAK).all() and (high <= MAX_PEAK).all()):
            raise NotFinite("The audio holds samples that are not finite, or far beyond any scale.")
        self.frames += len(block)
        self.lowest = np.minimum(self.lowest, low)
        self.highest = np.maximum(self.highest, high)

    def check(self, sampling_rate: float, limits: Limits) -> None:
        if not self.frames:
            raise EmptyAudio("The audio holds no samples.")
        if self.frames < limits.min_seconds * sampling_rate:
            raise TooShort(
                f"The audio lasts {self.frames / sampling_rate:.3f} s; "
                f"at least {limits.min_seconds:g} s are needed."
            )
        self.check_not_silent()

    def check_not_silent(self) -> None:
        if not self.swings:
            raise Silent(_CANCELLED if self.cancelled else "The audio is silent.")


def _as_float(signal: ArrayLike) -> Signal:
    try:
        samples = np.asarray(signal)
    except ValueError as error:
        raise NotAudio(f"This is no array of samples: {error}") from error
    with np.errstate(over="ignore"):
        match samples.dtype.kind, samples.dtype.itemsize:
            case "f", _:
                return samples.astype(np.float32)
            case "i", 2 | 4 as size:
                return samples.astype(np.float32) / np.float32(2.0 ** (8 * size - 1))
            case "u", 1:
                return (samples.astype(np.float32) - 128) / np.float32(128)
    raise NotAudio(
        f"Samples of type {samples.dtype} have no known full scale: "
        f"pass floats in [-1, 1], or int16, int32 or uint8."
    )


def _mean(samples: Signal) -> Signal:
    """Channels averaged, `(frames, channels)` -> `(frames,)`."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    with np.errstate(over="ignore", invalid="ignore"):
        mono: Signal = samples.mean(axis=1)
    return mono


def _apart(samples: Signal) -> Signal:
    return samples


def _arranged_blocks(
    decoder: Decoder, arrange: Callable[[Signal], Signal], heard: _Level, limits: Limits
) -> Iterator[Signal]:
    while (block := decoder.read()).size:
        arranged = arrange(block)
        heard.add(arranged)
        if arranged.ndim < block.ndim and not heard.swings:
            heard.cancelled |= bool((np.ptp(block, axis=0) >= 2 * SILENCE).any())
        _check_not_longer(heard.frames, decoder.sampling_rate, limits)
        yield arranged


def _resample(blocks: Iterable[Signal], rate: float, target_rate: float) -> Iterator[Signal]:
    if rate == target_rate:
        yield from blocks
        return
    stream = None
    for block in blocks:
        if stream is None:
            channels = block.shape[1] if block.ndim == 2 else 1
            stream = soxr.ResampleStream(rate, target_rate, num_channels=channels)
            nothing = block[:0]
        resampled = stream.resample_chunk(block)
        if resampled.size:
            yield resampled
    if stream is not None:
        yield stream.resample_chunk(nothing, last=True)


def _open(source: Source) -> AbstractContextManager[BinaryIO]:
    match source:
        case bytes() | bytearray() | memoryview():
            return io.BytesIO(source)
        case str() | os.PathLike():
            path = Path(source)
            if stat.S_ISFIFO(path.stat().st_mode):
                # Opening it would wait until somebody writes, who may never come.
                raise OSError(errno.ESPIPE, "not a regular file", str(path))
            return path.open("rb")
    if not source.seekable():
        return io.BytesIO(source.read())
    return nullcontext(source)
