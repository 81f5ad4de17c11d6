"""The service as users have it: gunicorn in processes of its own, reached over a socket."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
COMMAND = (
    *(sys.executable, "-m", "gunicorn"),
    *("--config", "python:api.gunicorn_config", "api:create_app()"),
)
PATIENCE = 120.0
"""Seconds after which a server that does not do what it should has failed."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def form(*files: tuple[str, str, bytes], **fields: str) -> tuple[bytes, str]:
    """A multipart body and its type; files as `(field, filename, content)`."""
    boundary = uuid.uuid4().hex
    parts = [
        (f'name="{field}"; filename="{filename}"\r\nContent-Type: audio/any', content)
        for field, filename, content in files
    ]
    parts += [(f'name="{field}"', value.encode()) for field, value in fields.items()]
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode()
        + content
        + b"\r\n"
        for head, content in parts
    )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def padded(wav: bytes, size: int) -> bytes:
    """The same WAV with so many bytes, by a chunk that holds no audio."""
    padding = size - len(wav) - 8
    return wav + b"LIST" + padding.to_bytes(4, "little") + bytes(padding)


@dataclass
class Server:
    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def post(self, path: str, body: Any, content_type: str) -> Answer:
        return self.request("POST", path, body, {"Content-Type": content_type})

    def send(self, data: bytes, *, then_close: bool = True) -> Answer:
        """Bytes as they are, for requests that no client would make."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(data)
            if then_close:
                connection.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(connection)
            response.begin()
            return Answer(response.status, dict(response.getheaders()), response.read())

    @property
    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def start(
    folder: Path, command: Sequence[str | Path] = COMMAND, cwd: Path = ROOT, **environment: str
) -> Server:
    """Start gunicorn, its output in `folder`, with none of the tester's own settings."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SER_") and name not in {"HOST", "WEB_CONCURRENCY"}
    }
    port = _free_port()
    log = folder / "gunicorn.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={
                **ours,
                "PORT": str(port),
                **environment,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return Server(process, port, log)


@contextmanager
def serve(
    folder: Path, command: Sequence[str | Path] = COMMAND, cwd: Path = ROOT, **environment: str
) -> Iterator[Server]:
    """A server that is ready, with all its workers, and stopped at the end."""
    server = start(folder, command, cwd, **environment)
    try:
        _wait_until_ready(server, int(environment.get("SER_WORKERS", "1")))
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def run_to_its_end(folder: Path, **environment: str) -> tuple[int, str]:
    """Exit status and output of a server that is not able to start."""
    server = start(folder, **environment)
    try:
        return server.process.wait(PATIENCE), server.log.read_text()
    finally:
        if server.process.poll() is None:
            server.process.kill()


def _wait_until_ready(server: Server, workers: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            if server.get("/ready").status == 200 and len(server.workers) >= workers:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the server is not ready:\n{server.log.read_text()}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
