"""What is sent to a server under test byte by byte, and servers that are slow or full."""

import contextlib
import http.client
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.api.live import COMMAND, PATIENCE, Answer, Server, serve
from tests.sounds import encode, voice

WAV = encode(voice(1.0))
SLOW = (*COMMAND[:-1], "tests.api.slow_app:create_app()")
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\n"


def whole(wav: bytes = WAV) -> bytes:
    """A request to judge it."""
    return HEAD + f"Content-Length: {len(wav)}\r\n\r\n".encode() + wav


def connect(server: Server, data: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
    connection.sendall(data)
    return connection


def receive(connection: socket.socket) -> Answer:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Answer(response.status, dict(response.getheaders()), response.read())


def wait_until_counted(server: Server, metric: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while f"{metric}.0\n".encode() not in server.get("/metrics").body:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextlib.contextmanager
def full(
    folder: Path, command: Sequence[str | Path] = SLOW, **environment: str
) -> Iterator[tuple[Server, socket.socket]]:
    """A service of one worker that takes one request, and a connection on which it has it; it is
    answered once the file `wait` in the folder has gone."""
    wait = folder / "wait"
    limits = {
        **{"SER_WORKERS": "1", "SER_THREADS": "1", "SER_MAX_IN_FLIGHT": "1"},
        **{"SER_REQUEST_TIMEOUT": "1000", "WAIT": str(wait)},
    }
    with serve(folder, command, **{**limits, **environment}) as server:
        wait.touch()
        try:
            with connect(server, whole()) as working:
                wait_until_counted(server, "ser_in_flight 1")
                yield server, working
        finally:
            wait.unlink(missing_ok=True)
