"""The states of a connection in a worker, and what is done with its socket."""

import contextlib
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
    refusal: str | None
    heavy: bool
    came: float = field(default_factory=time.monotonic)
    started: float | None = None


@dataclass(eq=False)
class Lingering:
    """A connection that is answered and closed on our side.

    Its client may still send: closing before it has all been read would reset the connection, and
    the client would lose the answer (RFC 9112, 9.6).
    """

    conn: Any
    until: float
    left: int = field(default=LINGER_BYTES)


def cork(sock: Any, on: bool) -> None:
    """Whether to wait for more before anything is sent, where the system can do that (Linux)."""
    if hasattr(socket, "TCP_CORK"):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, on)


def send(sock: Any, data: bytes) -> bool:
    """A few bytes, for which there is room if the client takes its answers; whether there was."""
    try:
        sent: int = sock.send(data)
    except OSError:
        return False
    return sent == len(data)
