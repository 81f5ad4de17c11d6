"""Any recording -> mono float32 at one sampling rate, bounded in time and memory.

Every refusal is an `AudioError` with a `code`; problems of the storage itself (no such file,
no permission, a broken connection) stay the `OSError` they are.
"""

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol

import numpy as np
import soundfile
import soxr
from numpy.typing import ArrayLike, NDArray

SAMPLING_RATE = 16_000
"""Hz; what the models hear unless a bundle says otherwise."""

MIN_SAMPLING_RATE = 1_000
"""Hz; below this no vowel has a formant left."""

SILENCE = 1e-4
"""Half the distance between highest and lowest sample (-80 dBFS) below which a recording is silent.
Some three quantisation steps of 16 bits: dither and codec residue stay below it, while speech
recorded at -50 dBFS lies thirty times above. A constant offset swings by nothing, so is silent."""

MAX_PEAK = 2.0**31
"""Float samples above 1 are kept, up to 32-bit integers written as floats; more is damage."""

BLOCK = 16_384
"""Frames decoded at once."""

FLAC_BLOCK = 4096
"""The same for FLAC, whose usual frames hold as many: one damaged frame then costs no others."""

UNKNOWN_FRAMES = 2**63 - 1
"""libsndfile's number of frames when a header does not tell (SF_COUNT_MAX)."""

MAX_POSITION = 2**62
"""Bytes; no file is as long, and Python and libsndfile can still count beyond it."""

CONTAINERS = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM")
"""First bytes of WAV, FLAC, OGG, tagged MP3 and AIFF: untrusted bytes reach no rarer parser."""

Signal = NDArray[np.float32]
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO


# The names say what is wrong with the audio; an Error behind each would only repeat the base.
# ruff: noqa: N818


class AudioError(ValueError):
    """Audio that cannot be judged; the message is for people, `code` for programs."""

    code: ClassVar[str] = "audio"


class NotAudio(AudioError):
    """Unreadable, of an unknown format, or damaged beyond use."""

    code = "not-audio"


class EmptyAudio(AudioError):
    """No bytes, or not one sample."""

    code = "empty"


class TooShort(AudioError):
    """Shorter than `Limits.min_seconds`."""

    code = "too-short"


class TooLong(AudioError):
    """Longer than `Limits.max_seconds`."""

    code = "too-long"


class TooManyChannels(AudioError):
    """More channels than `Limits.max_channels`."""

    code = "too-many-channels"


class UnsupportedRate(AudioError):
    """A sampling rate outside of `MIN_SAMPLING_RATE` to `Limits.max_sampling_rate`."""

    code = "sampling-rate"


class NotFinite(AudioError):
    """Samples that are NaN, infinite, or beyond `MAX_PEAK`."""

    code = "not-finite"


class Silent(AudioError):
    """Swings by less than `SILENCE`."""

    code = "silent"


@dataclass(frozen=True)
class Limits:
    """What one recording may cost: seconds, channels, and Hz."""

    max_seconds: float = 600.0
    min_seconds: float = 0.1
    max_channels: int = 8
    max_sampling_rate: int = 192_000


DEFAULT_LIMITS = Limits()


def load(
    source: Source, sampling_rate: int = SAMPLING_RATE, limits: Limits = DEFAULT_LIMITS
) -> Signal:
    """The whole recording as a mono signal, float32, shape `(samples,)`, at `sampling_rate` Hz.

    `source` is a path, the file's bytes, or a binary file object, which is read from its start
    and left open (one that cannot seek is read into memory first). WAV, FLAC, OGG (Vorbis, Opus),
    MP3 and AIFF are told apart by content, never by name; channels are averaged. A file that was
    cut off gives what can be decoded of it. Raises `AudioError`, or `OSError` for the storage.
    """
    return np.concatenate(list(decode_blocks(source, sampling_rate, limits)))


def decode_blocks(
    source: Source, sampling_rate: int = SAMPLING_RATE, limits: Limits = DEFAULT_LIMITS
) -> Iterator[Signal]:
    """`load` in pieces of bounded size, in constant memory; their concatenation equals it.

    What the header tells is judged before the first block. What only decoding can tell is judged
    as it appears, so an `AudioError` may follow some blocks, at the latest after the last one.
    """
    with _open(source) as file, _open_decoder(_Stream(file)) as decoder:
        _check_format(decoder.sampling_rate, decoder.channels, limits)
        if decoder.frames is not None:
            _check_not_longer(decoder.frames, decoder.sampling_rate, limits)
        heard, made = _Level(), _Level()
        mono = _mono_blocks(decoder, heard, limits)
        for block in _resample(mono, decoder.sampling_rate, sampling_rate):
            made.add(block)
            yield block
        heard.check(decoder.sampling_rate, limits)
        made.check_not_silent()


def as_signal(
    signal: ArrayLike,
    sampling_rate: float,
    target_rate: int = SAMPLING_RATE,
    limits: Limits = DEFAULT_LIMITS,
) -> Signal:
    """A caller's samples as `load` would give them: mono, float32, at `target_rate` Hz.

    `signal` has shape `(samples,)` or `(samples, channels)`. Floats have full scale 1; int16,
    int32 and uint8 are taken as PCM and scaled to it. Raises `AudioError`.
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
    mono = _mean(samples) if samples.ndim == 2 else samples
    check_signal(mono, sampling_rate, limits)
    result = np.concatenate(list(_resample([mono], sampling_rate, target_rate)))
    made = _Level()
    made.add(result)
    made.check_not_silent()
    return result


def check_signal(signal: Signal, sampling_rate: float, limits: Limits = DEFAULT_LIMITS) -> None:
    """Raise the `AudioError` that says why a mono signal, shape `(samples,)`, holds no speech."""
    _check_not_longer(signal.size, sampling_rate, limits)
    level = _Level()
    level.add(signal)
    level.check(sampling_rate, limits)


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
    """Length and range of a mono signal that passes by block by block."""

    def __init__(self) -> None:
        self.frames = 0
        self.lowest = np.inf
        self.highest = -np.inf

    def add(self, block: Signal) -> None:
        if not block.size:
            return
        low, high = float(block.min()), float(block.max())
        if not (low >= -MAX_PEAK and high <= MAX_PEAK):
            raise NotFinite("The audio holds samples that are not finite, or far beyond any scale.")
        self.frames += block.size
        self.lowest = min(self.lowest, low)
        self.highest = max(self.highest, high)

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
        if self.highest - self.lowest < 2 * SILENCE:
            raise Silent("The audio is silent.")


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


def _mono_blocks(decoder: "_Decoder", heard: _Level, limits: Limits) -> Iterator[Signal]:
    while (block := decoder.read()).size:
        mono = _mean(block)
        heard.add(mono)
        _check_not_longer(heard.frames, decoder.sampling_rate, limits)
        yield mono


def _resample(blocks: Iterable[Signal], rate: float, target_rate: float) -> Iterator[Signal]:
    if rate == target_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, target_rate, num_channels=1)
    for block in blocks:
        resampled = stream.resample_chunk(block)
        if resampled.size:
            yield resampled
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def _open(source: Source) -> AbstractContextManager[BinaryIO]:
    match source:
        case bytes() | bytearray() | memoryview():
            return io.BytesIO(source)
        case str() | os.PathLike():
            return Path(source).open("rb")
    if not source.seekable():
        return io.BytesIO(source.read())
    return nullcontext(source)


class _Stream:
    """A file as libsndfile's callbacks need it.

    It has no `name`, from which soundfile would guess headerless formats, and it keeps exceptions,
    which cannot cross C code, for `reraise`.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: BaseException | None = None
        self.size = file.seek(0, os.SEEK_END)
        file.seek(0)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            start = {os.SEEK_SET: 0, os.SEEK_CUR: self.file.tell(), os.SEEK_END: self.size}[whence]
            if not 0 <= start + offset <= MAX_POSITION:
                return -1  # where a damaged header points is no fault of the file
            return self.file.seek(start + offset)
        except BaseException as error:
            self.error = error
            return -1

    def tell(self) -> int:
        try:
            return self.file.tell()
        except BaseException as error:
            self.error = error
            return -1

    def read(self, count: int) -> bytes:
        buffer = bytearray(count)
        return bytes(buffer[: self.readinto(buffer)])

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer unless the file ends: libsndfile takes a short read for the end."""
        done = 0
        try:
            while done < len(buffer) and (data := self.file.read(len(buffer) - done)):
                buffer[done : done + len(data)] = data
                done += len(data)
        except BaseException as error:
            self.error = error
        return done

    def reraise(self) -> None:
        if self.error is not None:
            raise self.error

    @property
    def exhausted(self) -> bool:
        return self.tell() >= self.size


class _Decoder(Protocol):
    """One way to turn a file into samples."""

    sampling_rate: int
    channels: int
    frames: int | None
    """As the header says, which may lie; None where it does not say."""

    def read(self) -> Signal:
        """The next few thousand samples, `(frames, channels)`; none at the end.

        Raises `NotAudio`.
        """


def _open_decoder(stream: _Stream) -> AbstractContextManager[_Decoder]:
    head = stream.read(4)
    stream.reraise()
    stream.seek(0)
    if not head:
        raise EmptyAudio("The audio holds no bytes.")
    is_mpeg = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
    if not (is_mpeg or head.startswith(CONTAINERS)):
        raise NotAudio("This is no audio that can be read: WAV, FLAC, OGG, MP3 or AIFF.")
    return _SoundFileDecoder(stream)


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """Says that it cannot seek, as soundfile would seek to its place after each block read:
    for compressed formats that means decoding parts again."""

    def seekable(self) -> bool:
        return False


class _SoundFileDecoder:
    """Decodes with libsndfile."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        try:
            self._file = _Sequential(stream)
        except soundfile.SoundFileError as error:
            stream.reraise()
            raise NotAudio(f"The audio cannot be read: {_words(error)}") from error
        self._read = 0
        self._block = FLAC_BLOCK if self._file.format == "FLAC" else BLOCK
        self.sampling_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        frames: int = self._file.frames
        self.frames = None if frames == UNKNOWN_FRAMES else frames

    def __enter__(self) -> "_SoundFileDecoder":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self) -> Signal:
        frames = self._block
        if self.frames is not None:
            # Asking past the end makes libsndfile stumble over tags after the last frame.
            frames = min(frames, self.frames - self._read)
        try:
            block: Signal = self._file.read(frames, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            self._stream.reraise()
            if self._read and self._stream.exhausted:
                return np.empty((0, self.channels), np.float32)  # cut off: what came counts
            raise NotAudio(
                f"The audio is damaged after {self._read / self.sampling_rate:.2f} s: "
                f"{_words(error)}"
            ) from error
        self._stream.reraise()
        self._read += len(block)
        if not self._read and self.frames:
            raise NotAudio("The audio is damaged: its header promises samples and none follow.")
        return block


def _words(error: Exception) -> str:
    return getattr(error, "error_string", None) or str(error)
