"""The states of a connection in a worker, and what is done with its socket."""

import socket
import time
from dataclasses import dataclass, field
from typing import Any

from api.arrival import Arrival

LINGER_BYTES = 200_000_000
"""That a client may still send after its answer."""


@dataclass(eq=False)
class Incoming:
    """A connection that waits for a request, or for the rest of one."""

    conn: Any
    arrival: Arrival
    last: float
    """When something last came in."""
    started: float
    """When the first bytes of this request came in; before that, when the wait began."""
    told_to_continue: bool = False
    refused: bool = False
    """It has had its answer, and only the rest of its body is waited for."""


@dataclass(eq=False)
class Job:
    """A request that a thread works on, or soon will."""

    conn: Any
    arrival: Arrival
    held: int
    """Bytes of it in memory."""
    refusal: str | None
    heavy: bool
    deadline: float
    """When it is to be answered."""
    came: float = field(default_factory=time.monotonic)
    """When it was there as a whole."""
    started: float | None = None
    """When a thread took it."""


@dataclass(eq=False)
class Sending:
    """A connection whose client has not taken all of its answer."""

    job: Job
    left: bytes
    keep: bool
    """The connection stays open after it."""
    last: float
    """When the client last took some."""


@dataclass(eq=False)
class Lingering:
    """A connection that is answered and closed on our side.

    Its client may still send: closing before it has all been read would reset the connection, and
    the client would lose the answer (RFC 9112, 9.6).
    """

    conn: Any
    until: float
    left: int = field(default=LINGER_BYTES)


class Answer:
    """Stands in for the socket where gunicorn writes an answer, which no client can keep waiting.

    It also joins head and body, which gunicorn sends one by one: each would wake the client.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._parts: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        """Keep it."""
        self._parts.append(data)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> None:
        """Keep what a file holds."""
        file.seek(offset)
        self.sendall(file.read(count))

    def flush(self) -> bytes:
        """Send what the client takes at once; what is left of it."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data and send_some(self._sock, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def send_some(sock: Any, data: bytes) -> bytes:
    """Send as much as there is room for; what is left, which is nothing once nobody listens."""
    try:
        while data:
            data = data[sock.send(data, socket.MSG_DONTWAIT) :]
    except (BlockingIOError, InterruptedError):
        return data
    except OSError:
        return b""
    return data


def send(sock: Any, data: bytes) -> bool:
    """A few bytes, for which there is room if the client takes its answers; whether there was."""
    try:
        sent: int = sock.send(data)
    except OSError:
        return False
    return sent == len(data)
