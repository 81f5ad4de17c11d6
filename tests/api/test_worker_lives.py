"""What one client sends, or what reads the log does, costs nobody else an answer."""

import contextlib
import fcntl
import logging
import os
import selectors
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.arrival import Arrival
from api.connections import Incoming
from api.worker import Worker
from tests.api.live import PATIENCE, Server, form, serve
from tests.api.wire import HEAD, SLOW, WAV, connect, full, receive, wait_until_counted, whole
from tests.sounds import encode, voice

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "length", [b"9" * 4_301, b"0" * 4_301, b"9" * 4_301 + b" "], ids=["nines", "zeros", "a blank"]
)
def test_a_length_of_thousands_of_digits_ends_no_worker(live: Server, length: bytes) -> None:
    before = live.workers
    answer = live.send(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n")
    assert answer.status in {200, 400, 413}
    assert live.get("/health").status == 200
    assert live.workers == before


def test_what_comes_in_and_is_not_understood_costs_its_connection_alone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Faulty(Arrival):
        def feed(self, data: bytes) -> None:
            super().feed(data)
            raise ZeroDivisionError

    class Conn:
        sock: socket.socket

    ours, theirs = socket.socketpair()
    conn = Conn()
    conn.sock = ours
    worker = Worker.__new__(Worker)
    worker.log, worker.poller = logging.getLogger("worker"), selectors.DefaultSelector()
    worker.poller.register(ours, selectors.EVENT_READ)
    worker._incoming = {conn: Incoming(conn, Faulty(1_000), 0.0, 0.0)}
    worker._held = 0
    closed: list[Conn] = []
    monkeypatch.setattr(worker, "_close", closed.append)
    with ours, theirs, worker.poller:
        worker._take(worker._incoming[conn], b"POST / HTTP/1.1\r\n")
    assert closed == [conn]
    assert (worker._incoming, worker._held) == ({}, 0)
    assert "ZeroDivisionError" in caplog.text


def test_an_empty_line_before_a_request_passes_no_limit(tmp_path: Path) -> None:
    with full(tmp_path) as (server, working), contextlib.ExitStack() as held:
        crowd = [held.enter_context(connect(server, b"\r\n" + whole())) for _ in range(4)]
        assert {receive(each).status for each in crowd} == {503}
        assert server.get("/health").status == 200
        (tmp_path / "wait").unlink()
        assert receive(working).status == 200


def test_nothing_of_an_answer_comes_again_after_the_next_one(tmp_path: Path) -> None:
    # More than the buffers of both sides hold, so that some of it waits in the worker.
    files = [("file", "a.wav", encode(voice(30.0)))] * 40
    body, content_type = form(*files, explain="true")
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n"
    limits = {"SER_MAX_FILES": "40", "SER_MAX_BYTES": "100000000"}
    with (
        serve(tmp_path, SLOW, SER_WORKERS="1", **limits) as server,
        socket.socket() as lazy,
    ):
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        lazy.settimeout(PATIENCE)
        lazy.connect(("127.0.0.1", server.port))
        lazy.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_until_counted(
            server, 'ser_requests_total{method="POST",route="/predict",status="200"} 1'
        )
        assert len(receive(lazy).body) > 5_000_000
        lazy.sendall(b"NO REQUEST\r\n\r\n")
        came = b"".join(iter(lambda: lazy.recv(65_536), b""))
    answer, _, problem = came.partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert f"Content-Length: {len(problem)}\r\n".encode() in answer


def into(path: Path) -> tuple[str, ...]:
    """The slow service with its log written there."""
    return ("sh", "-c", f'exec "$@" >{path}', "sh", *map(str, SLOW))


def test_a_full_disk_for_the_log_fails_no_answer(tmp_path: Path) -> None:
    with full(tmp_path, into(Path("/dev/full"))) as (server, working):
        (before,) = server.workers
        assert server.get("/health").status == 200
        assert server.post("/predict", WAV, "audio/wav").status == 503  # told by the loop
        (tmp_path / "wait").unlink()
        assert receive(working).status == 200
        assert server.workers == [before]
        counted = server.get("/metrics").body.decode()
    (lost,) = [line for line in counted.splitlines() if line.startswith("ser_log_lines_lost_total")]
    assert float(lost.split()[1]) >= 3


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[int]:
    """Our end of the named pipe `log`, which holds 8192 bytes."""
    os.mkfifo(tmp_path / "log")
    end = os.open(tmp_path / "log", os.O_RDWR | os.O_NONBLOCK)
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 8_192)
    yield end
    os.close(end)


def test_a_log_that_nobody_reads_stops_no_answer_and_goes_on_later(
    tmp_path: Path, pipe: int
) -> None:
    with full(tmp_path, into(tmp_path / "log")) as (server, working):
        with ThreadPoolExecutor(4) as clients:
            asked = [clients.submit(server.get, "/health") for _ in range(200)]
            refused = [clients.submit(server.post, "/predict", WAV, "audio/wav") for _ in range(20)]
            assert {each.result().status for each in asked} == {200}
            assert {each.result().status for each in refused} == {503}
        held = os.read(pipe, 65_536)
        assert 2_000 < len(held) <= 8_192  # most of 220 lines had no room
        sent = {"X-Request-ID": "read-again"}
        assert server.request("GET", "/health", headers=sent).status == 200
        assert b"read-again" in os.read(pipe, 65_536)
        (tmp_path / "wait").unlink()
        assert receive(working).status == 200


def test_a_length_may_have_a_blank_behind_it(live: Server) -> None:
    with connect(live, HEAD + f"Content-Length: {len(WAV)} \r\n\r\n".encode()) as connection:
        assert live.get("/health").status == 200  # by now the head is read
        connection.sendall(WAV)
        assert receive(connection).status == 200
