"""A file of unknown kind -> samples: the kind is told by the first bytes, never by a name."""

import os
import re
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from ser_core import links
from ser_core.audio_errors import EmptyAudio, NotAudio

BLOCK = 49_152
"""Frames decoded at once: 3 s at 16 kHz, as short recordings notice each turn."""

FLAC_BLOCK = 4096
"""The same for FLAC, whose usual frames hold as many: one damaged frame then costs no others."""

UNKNOWN_FRAMES = 2**63 - 1
"""libsndfile's number of frames when a header does not tell (SF_COUNT_MAX)."""

SEARCHED, OVERLAP = 65_536, 16
"""Bytes that are searched at once, and of two such blocks in common."""

MAX_POSITION = 2**62
"""Bytes; no file is as long, and Python and libsndfile can still count beyond it."""

SOUNDFILE = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM")
"""First bytes of WAV, FLAC, OGG, tagged MP3 and AIFF: untrusted bytes reach no rarer parser."""

DEMUXERS = (
    ("mov", 4, b"ftyp"),
    ("matroska", 0, b"\x1aE\xdf\xa3"),
    ("asf", 0, b"0&\xb2u\x8ef\xcf\x11"),
    ("amr", 0, b"#!AMR"),
    ("caf", 0, b"caff"),
)
"""FFmpeg's demuxer, and at which byte its files say what."""

_NO_WORDS = "Unspecified internal error."
"""What libsndfile says of Ogg files of codecs that it does not know."""

READABLE = (
    "WAV, FLAC, OGG (Vorbis, Opus), MP3, AIFF, M4A and MP4, AAC, WebM and Matroska, AMR and 3GP,"
    " WMA, CAF"
)
"""Formats that are read, for people."""

Signal = NDArray[np.float32]


class Stream:
    """A file, or a piece of one, as libsndfile's callbacks need it.

    It has no `name`, from which soundfile would guess headerless formats, and it keeps exceptions,
    which cannot cross C code, for `reraise`.
    """

    def __init__(self, file: BinaryIO, start: int = 0, end: int | None = None) -> None:
        self.file = file
        self.error: BaseException | None = None
        self.start = start
        self.size = (file.seek(0, os.SEEK_END) if end is None else end) - start
        file.seek(start)

    def piece(self, start: int, end: int | None = None) -> "Stream":
        """What lies between two bytes, from its beginning on."""
        end = self.size if end is None else end
        return Stream(self.file, self.start + start, self.start + end)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            since = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self.size}[whence]
            if not 0 <= since + offset <= MAX_POSITION:
                return -1  # where a damaged header points is no fault of the file
            return self.file.seek(self.start + since + offset) - self.start
        except BaseException as error:
            self.error = error
            return -1

    def tell(self) -> int:
        try:
            return self.file.tell() - self.start
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
            wanted = min(len(buffer), self.size - self.tell())
            while done < wanted and (data := self.file.read(wanted - done)):
                buffer[done : done + len(data)] = data
                done += len(data)
        except BaseException as error:
            self.error = error
        return done

    def peek(self, start: int, count: int) -> bytes:
        """Bytes at a place, without going there."""
        here = self.tell()
        self.seek(start)
        found = self.read(count)
        self.seek(here)
        self.reraise()
        return found

    def find(self, pattern: re.Pattern[bytes], start: int) -> int | None:
        """Where a pattern of a few bytes is found first, from a place on."""
        here, kept = self.tell(), b""
        self.seek(start)
        while block := self.read(SEARCHED):
            if found := pattern.search(kept + block):
                start += found.start() - len(kept)
                break
            start += len(block)
            kept = (kept + block)[-OVERLAP:]
        self.seek(here)
        self.reraise()
        return start if block else None

    def reraise(self) -> None:
        if self.error is not None:
            try:
                raise self.error
            finally:
                # It leads back here by its traceback: a cycle would keep the file's bytes.
                self.error = None

    @property
    def exhausted(self) -> bool:
        return self.tell() >= self.size


class Decoder(Protocol):
    """One way to turn a file into samples."""

    sampling_rate: int
    channels: int
    frames: int | None
    """As the header says, which may lie; None where it does not say."""

    def read(self) -> Signal:
        """The next few thousand samples, `(frames, channels)`; none at the end.

        Raises `NotAudio`.
        """


def open_decoder(stream: Stream) -> AbstractContextManager[Decoder]:
    """The decoder for what the first bytes say the file is; raises `NotAudio`."""
    head = stream.read(12)
    stream.reraise()
    stream.seek(0)
    if not head:
        raise EmptyAudio("The audio holds no bytes.")
    if head.startswith(b"ID3"):
        start = links.after_tags(stream, 0)
        if _is_mpeg(stream.peek(start, 2), layers=(0,)):  # as HLS sends AAC
            head, stream = stream.peek(start, 12), stream.piece(start)
    if head.startswith(SOUNDFILE) or _is_mpeg(head, layers=(1, 2, 3)):
        return SoundFileDecoder(stream)
    if demuxer := _demuxer(head):
        # Some 20 MB and 0.15 s that plain WAV need not pay.
        from ser_core.decode_av import AvDecoder  # noqa: PLC0415

        return AvDecoder(stream, demuxer)
    raise NotAudio(f"This is no audio that can be read: {READABLE}.")


def _demuxer(head: bytes) -> str | None:
    if _is_mpeg(head, layers=(0,)):
        return "aac"
    return next((name for name, offset, magic in DEMUXERS if head[offset:].startswith(magic)), None)


def _is_mpeg(head: bytes, layers: tuple[int, ...]) -> bool:
    """An MPEG frame's sync word; its two bits of layer are 0 in AAC's ADTS (ISO/IEC 13818-7)."""
    synced = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
    return synced and head[1] >> 1 & 3 in layers


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """Says that it cannot seek, as soundfile would seek to its place after each block read:
    for compressed formats that means decoding parts again."""

    def seekable(self) -> bool:
        return False


class SoundFileDecoder:
    """Decodes with libsndfile, one after another, all recordings that a file holds."""

    def __init__(self, stream: Stream) -> None:
        self._rest: Stream | None = stream
        self._links = 0
        self._before = 0
        """Samples of the recordings before this one."""
        self._begin()
        self.sampling_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.frames = self._frames

    def __enter__(self) -> "SoundFileDecoder":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self) -> Signal:
        while not (block := self._block()).size:
            if not self._go_on():
                break
        return block

    def _begin(self) -> None:
        """Open the first recording of the rest."""
        assert self._rest is not None  # noqa: S101 (asked before)
        self._stream, self._rest = self._rest, None
        self._links += 1
        if self._stream.peek(0, 4) == b"OggS" and (end := links.next_ogg(self._stream)):
            # Its length stands at its end, where libsndfile must find it and no other.
            self._stream, self._rest = self._stream.piece(0, end), self._stream.piece(end)
            self._stream.seek(0)
        try:
            self._file = _Sequential(self._stream)
        except soundfile.SoundFileError as error:
            self._stream.reraise()
            raise unreadable(_words(error)) from error
        self._read = 0
        packed = self._file.format == "FLAC"
        self._at_once = FLAC_BLOCK if packed else BLOCK
        # As they are stored, libsndfile reads them all at once, else by a callback for each 8 kB.
        plain = self._file.subtype == "PCM_16" and not packed
        self._type = "int16" if plain else "float32"
        frames: int = self._file.frames
        self._frames = None if frames == UNKNOWN_FRAMES else frames

    def _go_on(self) -> bool:
        """Turn to the recording that follows, if one does."""
        search = {"FLAC": links.next_flac, "MP3": links.next_mpeg}.get(self._file.format)
        if search and (start := search(self._stream)):
            self._rest = self._stream.piece(start)
        if self._rest is None:
            return False
        if self._links == links.MOST:
            raise NotAudio(f"The audio holds more than {links.MOST} recordings one after another.")
        self._before += self._read
        self._file.close()
        try:
            self._begin()
        except NotAudio:
            if self._rest is None and self._stream.exhausted:
                return False  # cut off where it begins: what came counts
            raise
        if (self._file.samplerate, self._file.channels) != (self.sampling_rate, self.channels):
            raise NotAudio(
                "The audio holds several recordings one after another, and their sampling rates or "
                "channels differ: send each as a file."
            )
        return True

    def _block(self) -> Signal:
        frames = self._at_once
        if self._frames is not None:
            # Asking past the end makes libsndfile stumble over tags after the last frame.
            frames = min(frames, self._frames - self._read)
            if not frames:
                return np.empty((0, self.channels), np.float32)
        try:
            block = self._file.read(frames, dtype=self._type, always_2d=True)
        except soundfile.SoundFileError as error:
            self._stream.reraise()
            if self._before + self._read and self._stream.exhausted:
                return np.empty((0, self.channels), np.float32)  # cut off: what came counts
            seconds = (self._before + self._read) / self.sampling_rate
            raise NotAudio(
                f"The audio is damaged after {seconds:.2f} s: {_words(error)}"
            ) from error
        self._stream.reraise()
        self._read += len(block)
        if not self._read and self._frames:
            raise NotAudio("The audio is damaged: its header promises samples and none follow.")
        signal: Signal = block if self._type == "float32" else block * np.float32(2.0**-15)
        return signal


def unreadable(words: str) -> NotAudio:
    """Of a file whose first bytes promise a format, in a decoder's words."""
    if words == _NO_WORDS:
        words = "it is damaged, or of an unknown codec"
    return NotAudio(f"The audio cannot be read: {words.rstrip('.')}. What is read: {READABLE}.")


def _words(error: Exception) -> str:
    return getattr(error, "error_string", None) or str(error)
