"""A request as it comes in: its bytes, and whether they are all of it.

It stands in for the socket where gunicorn's parser reads (`gunicorn.http.unreader.Unreader`), so
that a thread only ever works on what is already there.
"""

import re
from collections import deque

from gunicorn.http.errors import LimitRequestHeaders

MAX_HEAD = 64 * 1024
"""Bytes of a request's line and headers."""

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([^\r\n]*)")
_CODING = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked")
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue")
_PLAIN_START = re.compile(rb"post [!-~]+ http/1\.1\r\n")
_NOT_PLAIN = re.compile(rb"transfer-encoding|\r\n(connection|expect|upgrade):|\r\n[ \t]|[^\r]\n")
_FRAMING_ALLOWANCE = 64 * 1024
_MAX_LINE = 8 * 1024
_DIGITS = 18
"""Of a body's length: more bytes than there are."""


class NotArrivedError(TimeoutError):
    """More of a request was asked for than has come in."""


class Arrival:
    """Bytes of one request in the order they came, given away as they are read.

    Args:
        max_body: bytes of a body; of a longer one no more is waited for.
    """

    def __init__(self, max_body: int) -> None:
        self.received = 0
        """Bytes so far."""
        self.complete = False
        """Nothing more is to be waited for: it is all there, or it will not be taken anyway."""
        self.too_large = False
        self.ended = False
        """The client has stopped sending."""
        self.head: bytes | None = None
        """The line and the headers, once they are there."""
        self.discarded = False
        """It is not wanted: what comes of its body is thrown away."""
        self._max_body = max_body
        self._pieces: deque[bytes] = deque()
        self._tail = b""
        self._left = 0
        self._chunks: _Chunks | None = None

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return sum(map(len, self._pieces))

    @property
    def whole(self) -> bool:
        """It is all there, as far as can be told without parsing it."""
        return self.complete and not self.too_large

    @property
    def heavy(self) -> bool:
        """A model may have to work for it."""
        # An empty line may come before it, which the parser passes over (RFC 9112, 2.2).
        return self.head is not None and self.head.lstrip(b"\r\n").startswith(b"POST ")

    @property
    def expects_continue(self) -> bool:
        """The client waits to be told that its body is wanted (RFC 9110, 10.1.1)."""
        return self.head is not None and bool(_EXPECT.search(self.head.lower()))

    def feed(self, data: bytes) -> None:
        """Take what came in."""
        self.received += len(data)
        if self.discarded:
            self._discard(data)
            return
        self._pieces.append(data)
        if self.complete:
            return
        if self.head is None:
            data = self._find_head(data)
        if self.head is None:
            # Beyond it the parser refuses what there is, and says why.
            self.complete = self.received > MAX_HEAD
        elif self._chunks:
            self.complete = self._chunks.feed(data)
            self.too_large = self._chunks.payload > self._max_body or self._chunks.wasteful
        else:
            self._left -= len(data)
            self.complete = self._left <= 0
        self.complete |= self.too_large

    def end(self) -> None:
        """The client sends no more."""
        self.ended = self.complete = True

    def clear(self) -> None:
        """Free the bytes."""
        self._pieces.clear()

    @property
    def plain(self) -> bool:
        """Where it ends is beyond doubt, for every proxy as well, and its connection is kept open.

        A POST with one Content-Length, nothing about connections or codings, no odd line breaks.
        """
        if self.head is None or self._chunks or self.too_large or self._left < 0:
            return False
        lower = self.head.lower()
        lengths = _LENGTH.findall(lower)
        return (
            len(lengths) == 1
            and lower.count(b"content-length") == 1
            and lengths[0].isdigit()
            and bool(_PLAIN_START.match(lower))
            and not _NOT_PLAIN.search(lower)
        )

    def discard(self) -> None:
        """Throw its body away, what has come and what will; only of a plain one."""
        self.discarded = True
        self._pieces.clear()

    def drop_body(self) -> int:
        """Free what came after the head; how many bytes that were."""
        before = self.held
        self._pieces = deque([self.head] if self.head else [])
        return before - self.held

    def _discard(self, data: bytes) -> None:
        self._left -= len(data)
        self.complete = self._left <= 0
        if self._left < 0:
            self._pieces.append(data[self._left :])
            self._left = 0

    def read(self, size: int | None = None, read_ahead: int | None = None) -> bytes:
        """So many bytes, fewer only where the client stopped; None: what is at hand, not nothing.

        Raises:
            NotArrivedError: the client may still send them, but they are not here.
        """
        if size is None:
            return self._pieces.popleft() if self._pieces else self._nothing()
        parts, wanted = [], size
        while wanted > 0:
            piece = self._pieces.popleft() if self._pieces else self._nothing()
            if not piece:
                break
            if len(piece) > wanted:
                self._pieces.appendleft(piece[wanted:])
                piece = piece[:wanted]
            parts.append(piece)
            wanted -= len(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def unread(self, data: bytes) -> None:
        """Put bytes back, to be read next."""
        if data:
            self._pieces.appendleft(bytes(data))

    def take_buffered(self) -> bytes:
        """What is left: the beginning of the connection's next request."""
        rest = b"".join(self._pieces)
        self._pieces.clear()
        return rest

    def _nothing(self) -> bytes:
        if self.ended:
            return b""
        if self.head is None:
            raise LimitRequestHeaders(f"more than {MAX_HEAD} bytes")
        raise NotArrivedError("the request has not arrived as a whole")

    def _find_head(self, data: bytes) -> bytes:
        """Set `head` and how its body ends, if it is there; returns what follows it."""
        searched = self._tail + data
        end = searched.find(b"\r\n\r\n")
        if end < 0:
            self._tail = searched[-3:]
            return b""
        rest = searched[end + 4 :]
        came = self.take_buffered()
        self.head = came[: len(came) - len(rest)]
        # Apart from the body, which the parser would else copy several times with it.
        self._pieces += [self.head, rest] if rest else [self.head]
        lower = self.head.lower()
        if _CODING.search(lower):
            self._chunks = _Chunks()
        else:
            self._left = _length(lower)
            self.too_large = self._left > self._max_body
        return rest


def _length(head: bytes) -> int:
    """Bytes of the body that a head in small letters tells; of those beyond counting, very many.

    Two lengths, or nonsense: 0, as the parser refuses it and needs no body for that.
    """
    lengths = _LENGTH.findall(head)
    digits = lengths[0].strip() if len(lengths) == 1 else b""
    # Python makes no number of more than some thousand digits.
    return int(digits.lstrip(b"0")[:_DIGITS] or b"0") if digits.isdigit() else 0


class _Chunks:
    """Finds the end of a body in chunks (RFC 9112, 7.1); judging them is left to the parser."""

    def __init__(self) -> None:
        self.payload = 0
        """Bytes of the chunks, the one that is coming in included."""
        self._framing = 0
        self._skip = 0
        self._line = b""
        self._in_trailer = False

    @property
    def wasteful(self) -> bool:
        """Mostly frames: parsing it would cost far more than it holds."""
        return self._framing > _FRAMING_ALLOWANCE + self.payload // 4

    def feed(self, data: bytes) -> bool:
        """Whether the body ends here, or cannot be made sense of."""
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._line += data[at:]
                return len(self._line) > _MAX_LINE
            line, self._line = (self._line + data[at:end]).strip(), b""
            self._framing += end + 1 - at
            at = end + 1
            if self._in_trailer:
                if not line:
                    return True
            elif not self._begin(line):
                return True
        return False

    def _begin(self, line: bytes) -> bool:
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            return False
        if size < 0:
            return False
        self.payload += size
        self._in_trailer = size == 0
        self._skip = size + 2 if size else 0
        return True
