"""Recordings that follow one another in a single file: chained Ogg, MP3 or FLAC put together.

Decoders stop, without a word, where the first one ends.
"""

import re
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ser_core.decode import Stream

MOST = 100
"""Recordings of one file that are heard: each costs an opening, however short it is."""

_OGG = re.compile(rb"OggS\0[\x02\x06]")
"""A page that begins a logical bitstream (RFC 3533, section 6)."""

_FLAC = re.compile(rb"fLaC[\0\x80]\0\0\x22")
"""The marker, and the header of the STREAMINFO that must follow (RFC 9639, section 8)."""

_SYNC = re.compile(rb"\xff[\xe2-\xff]")

_TOGETHER = 256
"""Ogg bitstreams that begin at once, at most: sound, pictures, a skeleton."""

_BEHIND = 65_536
"""Bytes by which libsndfile reads ahead, at most; and of what may lie between two recordings."""

_FRAMES = 8
"""MPEG frames that are more than what the first recording ends with: its last 4095 samples, at
most, are padding that nobody hears, and are not read."""

_TAGS = 8
"""Tags between two recordings that are passed over, at most."""

_SYNCS = 2000
"""Places that look like a frame's beginning and are tried, where none is."""

_BIT_RATES = {
    (True, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""kbit/s by whether it is MPEG-1, and by the two bits of the layer (ISO/IEC 11172-3, 13818-3)."""


def next_ogg(stream: "Stream") -> int | None:
    """Byte at which a further link of a chained Ogg begins; None if there is none."""
    at = 0
    for _ in range(_TOGETHER):
        head = stream.peek(at, 27 + 255)
        if len(head) < 27 or not _OGG.match(head):
            break
        at += 27 + head[26] + sum(head[27 : 27 + head[26]])
    return stream.find(_OGG, at)


def next_flac(stream: "Stream") -> int | None:
    """The same of a FLAC that has been read."""
    return stream.find(_FLAC, max(len(b"fLaC"), stream.tell() - _BEHIND))


def next_mpeg(stream: "Stream") -> int | None:
    """The same of an MP3 that has been read: mpg123 reads frame by frame."""
    start = after_tags(stream, stream.tell())
    near = stream.peek(start, _BEHIND)
    for sync in islice(_SYNC.finditer(near), _SYNCS):
        at, count = sync.start(), 0
        while count < _FRAMES and (length := _frame(near[at : at + 4])):
            whole = at + length <= len(near)
            if whole and re.search(rb"Xing|Info|VBRI", near[at + 4 : at + 44]):
                return start + at
            at, count = at + length, count + 1
        if count == _FRAMES:
            return start + sync.start()
    return None


def after_tags(stream: "Stream", at: int) -> int:
    """The byte behind tags of MP3 that begin at one."""
    for _ in range(_TAGS):
        head = stream.peek(at, 32)
        if head.startswith(b"TAG"):
            at += 128
        elif head.startswith(b"APETAGEX"):
            at += 32 + int.from_bytes(head[12:16], "little")
        elif head.startswith(b"ID3") and len(head) >= 10:
            at += 10 + _id3_size(head)
        else:
            break
    return at


def _id3_size(head: bytes) -> int:
    """Bytes after the 10 with which an ID3v2 tag begins: four times 7 bits."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return size


def _frame(head: bytes) -> int:
    """Bytes of the MPEG frame that begins so; 0 if none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 0 or bits in (0, 15) or rate == 3:
        return 0
    first = version == 3
    hertz = (44_100, 48_000, 32_000)[rate] // {3: 1, 2: 2, 0: 4}[version]
    bit_rate = _BIT_RATES[first, layer][bits - 1] * 1000
    padding = head[2] >> 1 & 1
    if layer == 3:
        return (12 * bit_rate // hertz + padding) * 4
    return (144 if first or layer == 2 else 72) * bit_rate // hertz + padding
