"""Slow, many and stuck: none of them stops the service for others."""

import contextlib
import http.client
import itertools
import json
import logging
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pytest

from api import Settings
from api.arrival import Arrival
from api.connections import Job
from api.worker import Worker
from tests.api.live import PATIENCE, Server, form, padded, serve
from tests.api.wire import HEAD, SLOW, WAV, connect, full, receive, wait_until_counted, whole
from tests.sounds import encode, voice


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker that waits a second for bytes and two for a request."""
    with serve(
        tmp_path_factory.mktemp("hasty"),
        SLOW,
        SER_WORKERS="1",
        SER_READ_TIMEOUT="1",
        SER_BODY_TIMEOUT="2",
    ) as server:
        yield server


def test_200_slow_clients_do_not_stop_predict(tmp_path: Path) -> None:
    starts = [b"", b"POST /pre", HEAD, whole()[:5_000], HEAD + b"Content-Length: 20000000\r\n\r\n"]
    with (
        serve(
            tmp_path,
            SER_WORKERS="1",
            SER_THREADS="2",
            SER_READ_TIMEOUT="600",
            SER_BODY_TIMEOUT="600",
        ) as server,
        contextlib.ExitStack() as held,
    ):
        for number in range(200):
            held.enter_context(connect(server, starts[number % len(starts)]))
        for _ in range(5):
            assert server.post("/predict", WAV, "audio/wav").status == 200


@pytest.mark.parametrize(
    "start",
    [b"POST /pre", HEAD, whole()[:5_000], HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nRI"],
    ids=["in its first line", "in its headers", "in its body", "in a chunk"],
)
def test_a_request_that_stops_coming_in_is_answered_with_408(hasty: Server, start: bytes) -> None:
    with connect(hasty, start) as connection:
        answer = receive(connection)
    assert (answer.status, answer.json["type"]) == (408, "/problems/body-timeout")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_request_that_drips_in_is_answered_with_408(hasty: Server) -> None:
    with connect(hasty, whole()[:500]) as connection:
        for byte in whole()[500:512]:
            with contextlib.suppress(OSError):
                connection.sendall(bytes([byte]))
            time.sleep(0.2)
        assert receive(connection).status == 408


def test_an_idle_connection_is_not_a_slow_request(hasty: Server) -> None:
    with connect(hasty) as connection:
        for _ in range(2):
            time.sleep(1.5)
            connection.sendall(whole())
            assert receive(connection).status == 200


def test_requests_in_one_packet_are_answered_in_turn(hasty: Server) -> None:
    health = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    came = b""
    with connect(hasty, whole() + health + whole()) as connection:
        while came.count(b"HTTP/1.1 200 OK") < 3 or not came.endswith(b"}\n"):
            came += connection.recv(65_536)
    answers = [part.partition(b"\r\n\r\n")[2] for part in came.split(b"HTTP/1.1 200 OK")[1:]]
    kinds = ["emotion" if b"emotion" in answer else "health" for answer in answers]
    assert kinds == ["emotion", "health", "emotion"]


def test_a_client_that_asks_first_is_told_to_go_on(hasty: Server) -> None:
    head, body = whole().split(b"\r\n\r\n", 1)
    with connect(hasty, head + b"\r\nExpect: 100-continue\r\n\r\n") as connection:
        assert connection.recv(1_000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert receive(connection).status == 200


def test_a_body_that_is_too_large_is_refused_before_it_is_asked_for(hasty: Server) -> None:
    asks = HEAD + b"Content-Length: 90000000\r\nExpect: 100-continue\r\n\r\n"
    with connect(hasty, asks) as connection:
        answer = receive(connection)
    assert (answer.status, answer.json["type"]) == (413, "/problems/too-large")


def test_idle_connections_give_way_to_new_ones(tmp_path: Path) -> None:
    with (
        serve(tmp_path, SLOW, SER_WORKERS="1", SER_MAX_CONNECTIONS="8") as server,
        contextlib.ExitStack() as held,
    ):
        for _ in range(12):
            held.enter_context(connect(server))
        for _ in range(12):
            held.enter_context(connect(server, HEAD))
        assert server.post("/predict", WAV, "audio/wav").status == 200


def test_slow_requests_give_way_when_memory_is_short(tmp_path: Path) -> None:
    half = HEAD + b"Content-Length: 1000000\r\n\r\n" + bytes(900_000)
    with (
        serve(tmp_path, SLOW, SER_WORKERS="1", SER_MAX_BUFFERED_BYTES="2000000") as server,
        connect(server, half) as first,
        connect(server, half),
        connect(server, half),
    ):
        answer = receive(first)
        assert (answer.status, answer.json["type"]) == (503, "/problems/overloaded")
        assert server.post("/predict", WAV, "audio/wav").status == 200


def test_no_more_of_them_give_way_than_memory_needs(tmp_path: Path) -> None:
    large = whole(padded(WAV, 1_000_000))
    with serve(tmp_path, SLOW, SER_WORKERS="1", SER_MAX_BUFFERED_BYTES="3500000") as server:
        for _ in range(2):  # what was refused is counted off once
            with contextlib.ExitStack() as opened:
                first, *others = [
                    opened.enter_context(connect(server, large[:size]))
                    for size in (*[500_000] * 6, 900_000)
                ]
                assert receive(first).status == 503
                assert not select.select(others, [], [], 1.0)[0]
                for other in others[1:]:
                    other.close()
                assert server.get("/health").status == 200  # by now it knows that those have gone
                others[0].sendall(large[500_000:])
                assert receive(others[0]).status == 200
            # Memory is counted off a moment after the answer: the next ones must not come before.
            assert server.get("/health").status == 200


def test_beyond_its_capacity_the_service_says_so_at_once(tmp_path: Path) -> None:
    body, content_type = form(("file", "clip.wav", padded(WAV, 1_000_000)))
    with (
        full(tmp_path, SER_MAX_IN_FLIGHT="3") as (server, working),
        ThreadPoolExecutor(11) as clients,
    ):
        posts = [clients.submit(server.post, "/predict", body, content_type) for _ in range(11)]
        # Two more are taken; the others are answered while these wait.
        refused = [done.result() for done in itertools.islice(as_completed(posts), 9)]
        assert server.get("/health").status == 200
        (tmp_path / "wait").unlink()
        served = [post.result().status for post in posts].count(200)
        assert (served, receive(working).status) == (2, 200)
    for answer in refused:
        assert (answer.status, answer.json["type"]) == (503, "/problems/overloaded")
        assert answer.headers["Retry-After"] == "1"
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line[0] == "{"]
    assert [line["status"] for line in lines if line["method"] == "POST"].count(503) == 9


def test_a_crowd_is_refused_and_counted(tmp_path: Path) -> None:
    with full(tmp_path) as (server, working), contextlib.ExitStack() as held:
        crowd = [held.enter_context(connect(server, whole())) for _ in range(60)]
        answers = [receive(each) for each in crowd]
        assert {answer.status for answer in answers} == {503}
        assert {answer.json["type"] for answer in answers} == {"/problems/overloaded"}
        assert {answer.headers["Retry-After"] for answer in answers} == {"1"}
        (tmp_path / "wait").unlink()
        assert receive(working).status == 200
        counted = server.get("/metrics").body.decode()
        assert 'ser_refusals_total{reason="overloaded"} 60.0' in counted


def test_a_request_is_refused_by_its_head_and_its_connection_goes_on(tmp_path: Path) -> None:
    large = padded(WAV, 1_000_000)
    head, half = whole(large)[:-500_000], whole(large)[-500_000:]
    with full(tmp_path) as (server, working), connect(server, head) as refused:
        answer = receive(refused)  # half of its body has not been sent
        assert (answer.status, answer.json["type"]) == (503, "/problems/overloaded")
        assert (answer.headers["Retry-After"], answer.headers["Connection"]) == ("1", "keep-alive")
        assert answer.headers["Date"].endswith("GMT")
        refused.sendall(half + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert receive(refused).json == {"status": "ok"}
        (tmp_path / "wait").unlink()
        assert receive(working).status == 200
        wait_until_counted(server, "ser_in_flight 0")
        refused.sendall(whole())
        assert receive(refused).status == 200


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"Connection: close\r\nContent-Length: 4\r\n\r\nRIFF",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nRIFF\r\n0\r\n\r\n",
        HEAD + b"Expect: 100-continue\r\nContent-Length: 400000\r\n\r\n",
        HEAD.replace(b"1.1", b"1.0") + b"Content-Length: 4\r\n\r\nRIFF",
        HEAD + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nRIFF",
        whole() + whole(),
    ],
    ids=["asks to close", "chunks", "asks first", "HTTP/1.0", "two lengths", "pipelined"],
)
def test_a_refusal_closes_where_the_end_of_the_request_is_in_doubt(
    busy: Server, head: bytes
) -> None:
    with connect(busy, head) as connection:
        answer = receive(connection)
        assert (answer.status, answer.headers["Connection"]) == (503, "close")
        assert connection.recv(1) == b""


def test_refusals_carry_the_request_s_id_and_may_be_read_by_pages(busy: Server) -> None:
    sent = {"X-Request-ID": "mine-1", "Origin": "https://example.org"}
    answer = busy.request("POST", "/predict", WAV, sent)
    assert answer.status == 503
    assert answer.json["request_id"] == answer.headers["X-Request-ID"] == "mine-1"
    assert answer.headers["Access-Control-Allow-Origin"] == "https://example.org"
    assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    strange = {"X-Request-ID": "two words", "Origin": "https://example.com"}
    answer = busy.request("POST", "/predict", WAV, strange)
    assert len(answer.headers["X-Request-ID"]) == 32
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that is busy with one request for as long as it is tested."""
    folder = tmp_path_factory.mktemp("busy")
    with full(folder, SER_CORS_ORIGINS="https://example.org") as (server, _):
        yield server


def test_a_client_that_does_not_read_its_answer_keeps_no_thread(tmp_path: Path) -> None:
    body, content_type = form(*[("file", "a.wav", encode(voice(30.0)))] * 16, explain="true")
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n"
    large = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with serve(tmp_path, SLOW, SER_WORKERS="1", SER_THREADS="1") as server, socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        lazy.settimeout(PATIENCE)
        lazy.connect(("127.0.0.1", server.port))
        lazy.sendall(large)
        # A thread has judged it, and nobody reads the answer.
        wait_until_counted(
            server, 'ser_requests_total{method="POST",route="/predict",status="200"} 1'
        )
        assert server.post("/predict", WAV, "audio/wav").status == 200
        answer = receive(lazy)
        assert len(answer.body) > 2_000_000
        assert len(answer.json["predictions"]) == 16
        lazy.sendall(whole())
        assert receive(lazy).status == 200


def test_a_refused_request_leaves_its_connection_in_order(hasty: Server) -> None:
    large = padded(WAV, 1_000_000)
    wrong = b"POST /nowhere HTTP/1.1\r\nHost: x\r\n"
    request = wrong + f"Content-Length: {len(large)}\r\n\r\n".encode() + large
    with connect(hasty) as connection:
        for _ in range(3):
            connection.sendall(request)
            answer = receive(connection)
            assert (answer.status, answer.headers["Connection"]) == (404, "keep-alive")


def test_health_is_answered_while_every_thread_works(tmp_path: Path) -> None:
    with (
        full(tmp_path, SER_MAX_IN_FLIGHT="2") as (server, working),
        connect(server, whole()) as waiting,
    ):
        assert server.get("/health").status == 200
        assert server.get("/ready").status == 200
        (tmp_path / "wait").unlink()
        assert [receive(each).status for each in (working, waiting)] == [200, 200]


def test_files_that_there_is_no_time_for_cost_the_others_nothing(tmp_path: Path) -> None:
    body, content_type = form(*[("file", f"{number}.wav", WAV) for number in range(8)])
    with serve(
        tmp_path, SLOW, SLOW_SECONDS="0.4", SER_WORKERS="1", SER_REQUEST_TIMEOUT="1"
    ) as server:
        answer = server.post("/predict", body, content_type)
    answers = answer.json["predictions"]
    late = [each for each in answers if "error" in each]
    assert answer.status == 200
    assert len(answers) == 8
    assert 1 <= len(late) <= 7
    assert late == answers[-len(late) :]
    assert {each["error"]["type"] for each in late} == {"/problems/deadline"}
    assert [each["filename"] for each in answers] == [f"{number}.wav" for number in range(8)]


def test_a_recording_that_takes_too_long_by_itself_is_not_to_be_sent_again(tmp_path: Path) -> None:
    long = encode(voice(20.0))
    with serve(
        tmp_path, SLOW, SLOW_SECONDS="0.4", SER_WORKERS="1", SER_REQUEST_TIMEOUT="1"
    ) as server:
        for body, kind in ((long, "audio/wav"), form(*[("file", "a.wav", long)] * 2)):
            answer = server.post("/predict", body, kind)
            assert (answer.status, answer.json["type"]) == (503, "/problems/deadline")
            assert "send less at a time" in answer.json["detail"]
            assert "Retry-After" not in answer.headers
        assert server.post("/predict", WAV, "audio/wav").status == 200


def test_marked_parts_that_take_too_long_are_ended_between_two_of_them(tmp_path: Path) -> None:
    parts = json.dumps([{"start": 0, "end": 0.5}] * 200)
    body, content_type = form(("file", "a.wav", WAV), segments=parts)
    with (
        serve(
            tmp_path,
            SLOW,
            SLOW_SECONDS="0.1",
            SER_WORKERS="1",
            SER_REQUEST_TIMEOUT="1",
            SER_HANG_TIMEOUT="1",
        ) as server,
        ThreadPoolExecutor(2) as clients,
    ):
        (before,) = server.workers
        posts = [clients.submit(server.post, "/predict", body, content_type) for _ in range(2)]
        for answer in [post.result() for post in posts]:
            assert (answer.status, answer.json["type"]) == (503, "/problems/deadline")
        # Nothing hung.
        assert server.workers == [before]


def test_the_time_that_a_request_waits_for_a_thread_counts(tmp_path: Path) -> None:
    with (
        full(tmp_path, SER_MAX_IN_FLIGHT="3", SER_REQUEST_TIMEOUT="1") as (server, working),
        connect(server, whole()) as waiting,
        connect(server, whole()) as behind,
    ):
        (before,) = server.workers
        time.sleep(1.5)
        (tmp_path / "wait").unlink()
        assert receive(working).status == 200  # a window that is begun is judged
        for late in (waiting, behind):
            answer = receive(late)
            assert (answer.status, answer.json["type"]) == (503, "/problems/deadline")
            assert answer.headers["Retry-After"] == "1"
        assert server.workers == [before]
        assert b"ser_audio_seconds_total 1.0\n" in server.get("/metrics").body


@pytest.mark.parametrize(
    ("started", "now", "hangs"),
    [
        (None, 500.0, False),
        (71.0, 109.0, False),
        (71.0, 111.0, True),
        (499.0, 505.0, False),
        (499.0, 510.0, True),
    ],
    ids=["waits", "at work", "hangs", "waited for long", "waited and hangs"],
)
def test_a_request_hangs_if_a_thread_does_not_answer_it_after_its_deadline(
    monkeypatch: pytest.MonkeyPatch, started: float | None, now: float, hangs: bool
) -> None:
    ended: list[int] = []
    monkeypatch.setattr("os._exit", ended.append)
    worker = Worker.__new__(Worker)
    worker._settings = Settings(request_timeout=30.0, hang_timeout=10.0)
    worker._jobs = {
        Job(None, Arrival(0), 0, None, True, deadline=100.0, came=70.0, started=started)
    }
    worker._incoming, worker._rescue_since = {}, None
    worker.pid, worker.log = 1, logging.getLogger()
    worker._watch(now)
    assert ended == [1] * hangs


@pytest.mark.parametrize("with_lock", ["", "1"], ids=["lock released", "lock held"])
def test_a_worker_whose_thread_hangs_is_replaced(tmp_path: Path, with_lock: str) -> None:
    hang = tmp_path / "hang"
    with serve(
        tmp_path,
        (*SLOW[:-1], "--timeout", "3", SLOW[-1]),
        HANG=str(hang),
        HANG_WITH_LOCK=with_lock,
        SER_WORKERS="1",
        SER_REQUEST_TIMEOUT="0.5",
        SER_HANG_TIMEOUT="0.5",
    ) as server:
        (before,) = server.workers
        hang.touch()
        with connect(server, whole()) as connection:
            connection.settimeout(PATIENCE)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1_000) == b""
        assert not hang.exists()
        status = 0
        deadline = time.monotonic() + PATIENCE
        while (
            status != 200
        ):  # on a machine with much else to do a second may be over too soon again
            assert time.monotonic() < deadline
            with contextlib.suppress(OSError, http.client.HTTPException):
                status = server.post("/predict", WAV, "audio/wav").status
        assert not before.is_running()


def test_a_killed_worker_is_replaced_and_ready_tells_the_truth(tmp_path: Path) -> None:
    with serve(tmp_path, SLOW, SLOW_SECONDS="1", SER_WORKERS="1") as server:
        (before,) = server.workers
        before.kill()
        seen = set()
        deadline = time.monotonic() + PATIENCE
        while 200 not in seen:
            assert time.monotonic() < deadline
            with contextlib.suppress(OSError):
                seen.add(server.get("/ready").status)
        assert 503 in seen  # the new one listens before it has judged its warm-up clip
        (after,) = server.workers
        assert after.pid != before.pid


def test_no_request_is_lost_when_the_service_is_stopped(tmp_path: Path) -> None:
    answers: list[int] = []
    with serve(tmp_path, SLOW, SLOW_SECONDS="0.2", SER_WORKERS="2", SER_THREADS="2") as server:
        connections = [connect(server, whole()) for _ in range(12)]
        readers = [
            threading.Thread(target=lambda each=each: answers.append(receive(each).status))
            for each in connections
        ]
        for reader in readers:
            reader.start()
        assert server.stop() == 0
        for reader in readers:
            reader.join()
        for connection in connections:
            connection.close()
        with pytest.raises(ConnectionRefusedError):
            server.get("/health")
    assert answers == [200] * 12
