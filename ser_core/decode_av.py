"""What libsndfile does not read, through FFmpeg's libraries (PyAV).

FFmpeg reads hundreds of formats; untrusted bytes reach the few demuxers and codecs named here, no
protocol, no other file, and no video decoder.
"""

import ctypes
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Discard
from numpy.typing import NDArray

from ser_core.audio_errors import NotAudio, TooManyChannels
from ser_core.decode import BLOCK, Signal, Stream, unreadable

CODECS = (
    *("aac", "aac_latm", "alac", "flac", "mp3float", "mp3", "opus", "libopus", "vorbis"),
    *("amrnb", "amrwb", "libopencore_amrnb", "libopencore_amrwb"),
    *("wmav1", "wmav2", "wmapro", "wmavoice", "wmalossless"),
    *("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le", "pcm_u8"),
    *("pcm_mulaw", "pcm_alaw"),
)

OPTIONS = {
    "codec_whitelist": ",".join(CODECS),
    "protocol_whitelist": "none",
    "max_streams": "32",
    "probesize": "1000000",
    "max_probe_packets": "500",
}
"""Bounds of what FFmpeg tries before the first sample (ffmpeg-formats(1), ffmpeg-protocols(1))."""

TRUSTED_DURATION = ("mov", "matroska", "asf", "caf")
"""Demuxers that read the duration from the header; the others guess it from the size."""

MOST_CHANNELS = 8
"""Beyond it PyAV looks for planes where there are none; see `_samples`."""

TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4", "dbl": "f8"}
"""FFmpeg's packed sample formats as numpy's types."""
SCALES = {"u1": 1 / 128, "i2": 2.0**-15, "i4": 2.0**-31}
FAULTS = (av.FFmpegError, ValueError, MemoryError, EOFError)

LARGEST_BLOCK = 16_000_000
"""Bytes of one allocation of FFmpeg: the index of four hours of M4A takes as many. A few wrong
bytes in an MP4 otherwise make it fill hundreds of MB with an index of samples not there."""


def _bound_memory() -> None:
    """Set FFmpeg's own bound (av_max_alloc, libavutil/mem.h), which PyAV does not pass on."""
    folder = Path(av.__file__).parent
    for library in (*folder.parent.glob("av.libs/libavutil*"), *folder.glob(".dylibs/libavutil*")):
        bound = ctypes.CDLL(str(library)).av_max_alloc
        bound.argtypes = [ctypes.c_size_t]
        bound(LARGEST_BLOCK)


_bound_memory()


class AvDecoder:
    """Decodes the first audio stream of a file whose demuxer is known."""

    def __init__(self, stream: Stream, demuxer: str) -> None:
        self._stream = stream
        self._read = 0
        try:
            self._container: Any = av.open(
                _NoName(stream),
                format=demuxer,
                options={**OPTIONS, "format_whitelist": demuxer},
                metadata_errors="ignore",
            )
        except FAULTS as error:
            stream.reraise()
            raise unreadable(_words(error)) from error
        try:
            self._open(demuxer)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> "AvDecoder":
        return self

    def __exit__(self, *_: object) -> None:
        self._blocks.close()  # its frame leads back here: a cycle would keep the file's bytes
        self._container.close()

    def read(self) -> Signal:
        return next(self._blocks, np.empty((0, self.channels), np.float32))

    def _open(self, demuxer: str) -> None:
        self._stream.reraise()
        if not self._container.streams.audio:
            raise NotAudio("The file holds no audio.")
        self._track = self._container.streams.audio[0]
        context = self._track.codec_context
        if context is None or context.codec.name not in CODECS:
            name = "unknown" if context is None else context.name
            raise NotAudio(f"Audio of the codec {name} is not read.")
        context.thread_count = 1
        for other in self._container.streams:
            if other is not self._track:
                other.discard = Discard.all
        self.sampling_rate: int = context.sample_rate
        self.channels: int = context.channels
        # Some codecs name both only with their first frame.
        frames = self._frames()
        first = next(frames, None)
        if first is not None:
            self.sampling_rate, self.channels = first.sample_rate, first.layout.nb_channels
        elif not (self.sampling_rate and self.channels):
            raise NotAudio("The audio is damaged: its header promises samples and none follow.")
        if self.channels > MOST_CHANNELS:
            raise TooManyChannels(
                f"The audio has {self.channels} channels; "
                f"at most {MOST_CHANNELS} are read of such files."
            )
        self._blocks = self._as_blocks(first, frames)
        seconds = self._seconds() if demuxer.startswith(TRUSTED_DURATION) else None
        self.frames = int(seconds * self.sampling_rate) if seconds else None

    def _seconds(self) -> float | None:
        """What the header says of the sound; a whole file lasts as long as its pictures."""
        if self._track.duration and self._track.time_base:
            return float(self._track.duration * self._track.time_base)
        if len(self._container.streams) > 1 or not self._container.duration:
            return None
        return float(self._container.duration / 1e6)

    def _frames(self) -> Iterator[Any]:
        try:
            for packet in self._container.demux(self._track):
                yield from packet.decode()
        except FAULTS as error:
            self._stream.reraise()
            if self._read and self._stream.exhausted:
                return  # cut off: what came counts
            raise self._damaged(_words(error)) from error
        self._stream.reraise()

    def _as_blocks(self, first: Any, frames: Iterator[Any]) -> Generator[Signal, None, None]:
        if first is None:
            return
        yield from self._cut(first)
        del first
        for frame in frames:
            yield from self._cut(frame)

    def _cut(self, frame: Any) -> Iterator[Signal]:
        """A frame as blocks: a file may hold all of its sound in a single one."""
        if (frame.sample_rate, frame.layout.nb_channels) != (self.sampling_rate, self.channels):
            raise self._damaged("its sampling rate or channels change.")
        samples = self._samples(frame)
        for start in range(0, len(samples), BLOCK):
            block = _as_float(samples[start : start + BLOCK])
            self._read += len(block)
            yield block

    def _samples(self, frame: Any) -> NDArray[Any]:
        """`(frames, channels)` in the frame's own type.

        PyAV's own `to_ndarray` reads a plane too many where there are eight: it counts them by a
        list without an end, and takes what follows for a pointer.
        """
        name, planar = frame.format.packed.name, frame.format.is_planar
        try:
            kind = np.dtype(TYPES[name])
            if not planar:
                packed = np.frombuffer(frame.planes[0], kind, frame.samples * self.channels)
                return packed.reshape(-1, self.channels)
            planes = frame.planes[: self.channels]
            return np.stack([np.frombuffer(each, kind, frame.samples) for each in planes], axis=1)
        except (KeyError, IndexError, ValueError) as error:
            raise self._damaged(f"its samples ({name}) are not where they should be.") from error

    def _damaged(self, words: str) -> NotAudio:
        return NotAudio(
            f"The audio is damaged after {self._read / max(self.sampling_rate, 1):.2f} s: {words}"
        )


class _NoName:
    """What PyAV needs of a file: no name, from which it would guess, and no way to write."""

    def __init__(self, stream: Stream) -> None:
        self.read, self.seek, self.tell = stream.read, stream.seek, stream.tell
        self.name = ""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _as_float(samples: NDArray[Any]) -> Signal:
    """Shape kept, full scale 1."""
    kind = samples.dtype.str[1:]
    if kind == "u1":
        return (samples.astype(np.float32) - 128) * np.float32(SCALES[kind])
    if kind in SCALES:
        return samples.astype(np.float32) * np.float32(SCALES[kind])
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(samples, np.float32)


def _words(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
