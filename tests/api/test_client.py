import ast
import io
import json
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import time
from typing import Any

import numpy as np
import pytest
from ser_client import Client, Prediction, ServiceError

from tests.api.live import ROOT, Server
from tests.sounds import encode, silence, voice

WAV = encode(voice(3.0))


@pytest.fixture
def client(live: Server) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{live.port}") as client:
        yield client


def test_a_recording_is_judged(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "voice.wav"
    path.write_bytes(WAV)
    prediction = client.predict(path)
    assert prediction.emotion == max(
        prediction.probabilities, key=prediction.probabilities.__getitem__
    )
    assert prediction.confidence == prediction.probabilities[prediction.emotion]
    assert prediction.duration == 3.0
    assert prediction.segments == ()
    assert prediction.profile is None
    assert prediction.answer["model"]["name"] == "default"
    for same in (WAV, bytearray(WAV), memoryview(WAV), io.BytesIO(WAV)):
        assert client.predict(same) == prediction


def test_parameters_reach_the_service(client: Client) -> None:
    prediction = client.predict(encode(voice(6.0)), timeline=True, top=2, model="default")
    assert len(prediction.probabilities) == 2
    assert [(each.start, each.end) for each in prediction.segments] == [
        (0.0, 3.0),
        (1.5, 4.5),
        (3.0, 6.0),
    ]


def test_marked_parts_are_judged_for_each_speaker(client: Client) -> None:
    parts = [{"start": 0, "end": 2.5, "speaker": "A"}, {"start": 3.0, "end": 6, "speaker": "B"}]
    prediction = client.predict(encode(voice(6.0)), segments=parts)
    found = [(each.start, each.end, each.speaker, each.speech) for each in prediction.segments]
    assert found == [(0.0, 2.5, "A", True), (3.0, 6.0, "B", True)]
    assert prediction.answer["speakers"].keys() == {"A", "B"}


def test_a_profile_comes_back_and_is_sent_again(client: Client) -> None:
    first = client.predict(WAV, profile=True)
    assert first.profile is not None
    second = client.predict(encode(voice(3.0, pitch=200)), profile=first.profile)
    assert second.profile not in {None, first.profile}
    with pytest.raises(ServiceError, match="damaged") as caught:
        client.predict(WAV, profile=first.profile[:-3])
    assert (caught.value.status, caught.value.kind) == (422, "profile")


def test_references_change_what_is_heard(client: Client) -> None:
    alone = client.predict(WAV)
    beside = client.predict(WAV, references=[encode(voice(3.0, pitch=200)), encode(voice(2.0))])
    assert beside.profile is None
    assert beside.probabilities != alone.probabilities


def test_channels_are_judged_apart(client: Client) -> None:
    stereo = encode(np.stack([voice(3.0), silence(3.0)], axis=1))
    left, right = client.predict_channels(stereo, top=1)
    assert isinstance(left, Prediction)
    assert (left.duration, len(left.probabilities)) == (3.0, 1)
    assert isinstance(right, ServiceError)
    assert (right.status, right.kind) == (422, "silent")


def test_no_parts_are_not_the_whole(client: Client) -> None:
    with pytest.raises(ServiceError, match="a JSON list that is not empty"):
        client.predict(WAV, segments=[])


def test_channels_apart_are_asked_for_by_name(client: Client) -> None:
    with pytest.raises(ValueError, match="use predict_channels"):
        client.predict(WAV, channels="split")
    assert client.predict(WAV, channels="mix", profile=False) == client.predict(WAV)


def test_a_refusal_says_what_is_wrong(client: Client) -> None:
    with pytest.raises(ServiceError, match=r"^Silent recording \(422\)\. ") as caught:
        client.predict(encode(silence()))
    assert (caught.value.status, caught.value.kind) == (422, "silent")
    assert caught.value.request_id
    with pytest.raises(ServiceError) as caught:
        client.predict(WAV, top="all")
    assert caught.value.problem["parameter"] == "top"


def test_one_connection_serves_several_requests_also_after_an_error(client: Client) -> None:
    with pytest.raises(ServiceError):
        client.predict(b"no sound")
    assert client.models()[0]["name"] == "default"
    assert client.predict(WAV).duration == 3.0


class Scripted(BaseHTTPRequestHandler):
    """Answers with what the test wrote down, one after the other."""

    protocol_version = "HTTP/1.1"
    script: list[tuple[int, dict[str, str], Any]]
    seen: list[tuple[str, str, Any]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self) -> None:
        self.seen.append((self.command, self.path, self.headers))
        status, headers, value = self.script.pop(0)
        if status == 0:  # the connection breaks
            self.close_connection = True
            return
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@contextmanager
def scripted(*script: tuple[int, dict[str, str], Any]) -> Iterator[tuple[str, list[Any]]]:
    """The address of a server with that script, and the requests that it saw."""
    handler = type("Handler", (Scripted,), {"script": list(script), "seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", handler.seen  # type: ignore[attr-defined]
        finally:
            server.shutdown()


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the client would have waited."""
    waited: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waited.append)
    return waited


FULL = {"type": "/problems/overloaded", "title": "Overloaded", "status": 503, "detail": "Full."}
MODELS = (200, {}, {"models": [{"name": "default"}]})


def test_a_full_service_is_asked_again_when_it_says(naps: list[float]) -> None:
    kind = {"Content-Type": "application/problem+json"}
    script = [
        (503, {"Retry-After": "3", **kind}, FULL),
        (429, {"Retry-After": "7", **kind}, FULL),
        MODELS,
    ]
    with scripted(*script) as (url, seen), Client(url) as client:
        assert client.models() == [{"name": "default"}]
    assert naps == [3.0, 7.0]
    assert len(seen) == 3


def test_retry_after_may_be_a_date(naps: list[float]) -> None:
    later = formatdate(time() + 20, usegmt=True)
    with scripted((503, {"Retry-After": later}, FULL), MODELS) as (url, _), Client(url) as client:
        client.models()
    assert naps == [pytest.approx(20, abs=3)]


def test_a_broken_connection_is_made_again(naps: list[float]) -> None:
    with scripted(MODELS, (0, {}, b""), MODELS) as (url, seen), Client(url) as client:
        assert client.models() == client.models()
    assert len(seen) == 3
    assert naps == []  # at once, as it may only have been idle for too long


def test_waits_grow_where_the_service_names_none(naps: list[float]) -> None:
    with scripted(*[(502, {}, b"<html>")] * 4, MODELS) as (url, _), Client(url) as client:
        client.models()
    assert naps == [pytest.approx(wait, abs=0.1) for wait in (0.25, 0.45, 0.85)]


def test_what_the_service_does_not_want_again_is_not_sent_again(naps: list[float]) -> None:
    late = {**FULL, "type": "/problems/deadline"}
    with (
        scripted((503, {"Content-Type": "application/problem+json"}, late)) as (url, seen),
        Client(url) as client,
        pytest.raises(ServiceError) as caught,
    ):
        client.models()
    assert (caught.value.kind, len(seen), naps) == ("deadline", 1, [])


def test_it_is_tried_so_many_times_and_waited_so_long(naps: list[float]) -> None:
    with (
        scripted(*[(503, {"Retry-After": "60"}, FULL)] * 3) as (url, seen),
        Client(url, retries=2, longest_wait=10) as client,
        pytest.raises(ServiceError, match=r"Overloaded \(503\)\. Full\.") as caught,
    ):
        client.models()
    assert caught.value.kind == "overloaded"
    assert len(seen) == 3
    assert naps == [10, 10]


def test_who_does_not_answer_in_time_is_not_asked_again(naps: list[float]) -> None:
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            with suppress(OSError):
                while True:
                    asked.append(server.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with Client(url, timeout=0.2) as client, pytest.raises(OSError, match="timed out"):
            client.predict(WAV)
        server.shutdown(socket.SHUT_RDWR)
    assert len(asked) == 1
    assert naps == []
    asked[0].close()


def test_threads_keep_their_connections(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: client.models(), range(16)))
    assert "Connection pool is full" not in caplog.text


def test_threads_share_a_client(client: Client) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(client.predict, [WAV] * 8))
    assert found == [client.predict(WAV)] * 8


def test_a_service_that_is_not_there_is_an_oserror() -> None:
    with pytest.raises(OSError, match=r"^http://127\.0\.0\.1:1 cannot be reached: .*refused"):
        Client("http://127.0.0.1:1", retries=0).models()


def test_what_does_not_pass_is_not_tried_again(naps: list[float]) -> None:
    for status in (400, 401, 413, 422, 500):
        with scripted((status, {"Retry-After": "1"}, FULL)) as (url, seen), Client(url) as client:
            with pytest.raises(ServiceError):
                client.models()
            assert len(seen) == 1
    assert naps == []


@pytest.mark.parametrize("status", [200, 404])
def test_a_proxys_page_is_an_error_without_details(status: int) -> None:
    with (
        scripted((status, {}, b"<html>Not here</html>")) as (url, _),
        Client(url) as client,
        pytest.raises(ServiceError, match=rf"No answer of the service \({status}\)") as caught,
    ):
        client.models()
    assert caught.value.kind == "about:blank"


def test_another_programs_answer_is_an_error_and_no_prediction() -> None:
    with scripted(*[(200, {}, {"message": "It works!"})] * 3) as (url, _), Client(url) as client:
        asks = (client.models, partial(client.predict, WAV), partial(client.predict_channels, WAV))
        for ask in asks:
            with pytest.raises(ServiceError, match=r"No answer of the service \(200\)"):
                ask()


@pytest.mark.parametrize("when", ["0.5", "soon", ""])
def test_a_wait_that_is_no_number_is_as_if_none_were_named(naps: list[float], when: str) -> None:
    with (
        scripted(*[(429, {"Retry-After": when}, FULL)] * 2, MODELS) as (url, _),
        Client(url) as one,
    ):
        assert one.models()
    assert naps == [pytest.approx(0.25, abs=0.1)]


def test_the_key_is_sent_and_the_service_may_be_below_a_path() -> None:
    with (
        scripted(MODELS, MODELS) as (url, seen),
        Client(f"{url}/speech/", key="k1") as below,
        Client(url) as client,
    ):
        below.models()
        client.models()
    (_, path, headers), (_, _, without) = seen
    assert path == "/speech/models"
    assert headers["Authorization"] == "Bearer k1"
    assert "Authorization" not in without


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", ""])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        Client(url)


def test_the_client_needs_nothing_but_urllib3() -> None:
    tree = ast.parse((ROOT / "client/ser_client/__init__.py").read_text())
    modules = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        (node.module or "").partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert modules - sys.stdlib_module_names == {"urllib3"}


def test_the_client_is_a_package_of_its_own(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT / "client",
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {"ser_client/__init__.py", "ser_client/py.typed"} <= set(names)
