import contextlib
import http.client
import json
import platform
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from ser_core.bundle import find_bundle
from tests.api.live import PATIENCE, Server, form, padded, run_to_its_end, serve, start
from tests.sounds import encode, voice

WAV = encode(voice(2.0))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the default bundle to spoil."""
    return Path(shutil.copytree(find_bundle("default"), tmp_path / "bundle"))


def test_a_request_in_flight_is_answered_after_the_stop(tmp_path: Path) -> None:
    with serve(tmp_path, SER_WORKERS="1") as server:
        body, content_type = form(("file", "clip.wav", WAV))
        head = (
            f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(head.encode() + body[:20_000])
            # Requests are taken in the order in which they come, so the one before is in flight.
            assert server.get("/health").status == 200
            server.process.terminate()
            _wait_for_log(server, "Handling signal: term")
            time.sleep(0.5)
            connection.sendall(body[20_000:])
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["duration"] == 2.0
        assert server.process.wait(30) == 0


def _wait_for_log(server: Server, words: str) -> None:
    deadline = time.monotonic() + 30
    while words not in server.log.read_text():
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.05)


def test_a_bad_setting_stops_the_start_with_one_line(tmp_path: Path) -> None:
    status, output = run_to_its_end(tmp_path, SER_MAX_BYTES="25MB")
    assert status == 1
    assert output == "ser: SER_MAX_BYTES='25MB': must be a whole number\n"


def test_a_missing_bundle_stops_the_start_with_one_line(tmp_path: Path) -> None:
    status, output = run_to_its_end(tmp_path, SER_MODEL="missing")
    assert status == 1
    assert _last_line(output).startswith("ser: no bundle 'missing'")


def test_a_runtime_that_is_not_installed_stops_the_start_with_one_line(tmp_path: Path) -> None:
    blocked = "import importlib.util as u; find = u.find_spec\n"
    blocked += "u.find_spec = lambda name, *p: None if name == 'tensorflow' else find(name, *p)\n"
    (tmp_path / "sitecustomize.py").write_text(blocked)
    status, output = run_to_its_end(tmp_path, SER_RUNTIME="tensorflow", PYTHONPATH=str(tmp_path))
    assert status == 1
    assert _last_line(output) == (
        "ser: the runtime tensorflow needs tensorflow: pip install '.[train]' in the project's "
        "folder"
    )
    assert "Traceback" not in output


def test_a_damaged_bundle_stops_the_start_with_one_line(tmp_path: Path, bundle: Path) -> None:
    (model,) = bundle.glob("model.tflite")
    model.write_bytes(model.read_bytes()[:1000])
    status, output = run_to_its_end(tmp_path, SER_MODEL=str(bundle))
    assert status == 1
    assert "model.tflite is damaged" in _last_line(output)
    assert "Traceback" not in output


def test_two_bundles_of_one_name_stop_the_start_with_one_line(tmp_path: Path) -> None:
    status, output = run_to_its_end(tmp_path, SER_MODEL="default,default")
    assert status == 1
    assert _last_line(output) == "ser: SER_MODEL: two bundles of the same name in default, default"
    assert "Traceback" not in output


def test_a_damaged_profile_stops_the_start_with_one_line(tmp_path: Path, bundle: Path) -> None:
    info = json.loads((bundle / "bundle.json").read_text())
    info["profile"]["spread"].pop()
    (bundle / "bundle.json").write_text(json.dumps(info))
    status, output = run_to_its_end(tmp_path, SER_MODEL=str(bundle))
    assert status == 1
    what = "the profile in its bundle.json is damaged"
    why = "mean and spread must be lists of the same length"
    assert _last_line(output) == f"ser: {bundle}: {what}: {why}"
    assert "Traceback" not in output


def test_a_model_that_cannot_run_stops_the_server_instead_of_looping(
    tmp_path: Path, bundle: Path
) -> None:
    info = json.loads((bundle / "bundle.json").read_text())
    nonsense = b"this is no model" * 100
    (bundle / info["serve"]).write_bytes(nonsense)
    info["artefacts"][info["serve"]] = sha256(nonsense).hexdigest()
    (bundle / "bundle.json").write_text(json.dumps(info))
    status, output = run_to_its_end(tmp_path, SER_MODEL=str(bundle), SER_WORKERS="1")
    assert status == 3
    assert output.count("Booting worker") == 1
    assert "is not a model that LiteRT can run" in output


def test_a_model_that_its_bundle_does_not_describe_stops_the_server_too(
    tmp_path: Path, bundle: Path
) -> None:
    info = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps(info | {"window": 2.0}))
    status, output = run_to_its_end(tmp_path, SER_MODEL=str(bundle), SER_WORKERS="1")
    assert status == 3
    assert output.count("Booting worker") == 1
    why = "it takes 48000 samples, window and sampling_rate make 32000"
    assert f"{bundle / info['serve']} does not fit bundle.json: {why}" in output


def _counters(server: Server) -> list[Path]:
    folder = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())
    return list(folder.glob(f"ser-metrics-{server.process.pid}-*"))


def test_what_happens_to_a_bundle_s_folder_changes_no_model_until_it_is_read_anew(
    tmp_path: Path, bundle: Path
) -> None:
    def served() -> tuple[str, str]:
        (model,) = server.get("/models").json["models"]
        return model["name"], model["card"].partition("\n")[0]

    with serve(tmp_path, SER_WORKERS="1", SER_MODEL=str(bundle)) as server:
        first = served()
        with (bundle / "model.int8.tflite").open("ab") as file:
            file.write(b"x")
        (bundle / "MODEL_CARD.md").write_bytes(b"# Another \xff\n")
        _replace(server, server.workers[0].kill)
        assert (first[0], served()) == ("default", first)
        assert server.post("/predict", WAV, "audio/wav").status == 200

        _replace(server, lambda: server.process.send_signal(signal.SIGHUP))
        assert served() == first
        assert "is damaged: its SHA-256 is not the one in bundle.json: the models stay" in (
            server.log.read_text()
        )
        shutil.rmtree(bundle)
        shutil.copytree(find_bundle("ravdess8"), bundle)
        _replace(server, lambda: server.process.send_signal(signal.SIGHUP))
        assert served()[0] == "ravdess8"
        assert served()[1] != first[1]


def _replace(server: Server, end: Callable[[], object]) -> None:
    """Have the one worker ended, and wait for another that is ready and alone."""
    (before,) = server.workers
    end()
    deadline = time.monotonic() + PATIENCE
    while True:
        assert time.monotonic() < deadline, server.log.read_text()
        workers = server.workers
        with contextlib.suppress(OSError, http.client.HTTPException):
            if len(workers) == 1 and before not in workers and server.get("/ready").status == 200:
                return
        time.sleep(0.05)


@pytest.mark.parametrize(
    "headers",
    [
        {"SCRIPT_NAME": "/abc"},
        {"SCRIPT_NAME": "/hea"},
        {"X-Forwarded-Proto": "https"},
        {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off"},
    ],
    ids=["another root", "a part of the path", "https", "https and not"],
)
def test_nobody_on_this_machine_is_believed_to_be_a_proxy(
    live: Server, headers: dict[str, str]
) -> None:
    answer = live.request("GET", "/health", headers=headers)
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert "Strict-Transport-Security" not in answer.headers


def test_the_counters_go_with_the_service_and_not_with_a_worker(tmp_path: Path) -> None:
    with serve(tmp_path, SER_WORKERS="2") as server:
        server.workers[0].terminate()
        _wait_for_log(server, "Worker exiting")
        while len(server.workers) < 2:
            time.sleep(0.05)
        assert len(_counters(server)) == 1
    assert _counters(server) == []


def test_a_start_that_fails_leaves_no_counters(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = start(tmp_path, PORT=str(taken.getsockname()[1]))
        while not _counters(server):
            assert server.process.poll() is None
        assert server.process.wait(30) == 1
    assert _counters(server) == []


def test_port_and_workers_come_from_the_environment(live: Server) -> None:
    assert live.get("/health").json == {"status": "ok"}
    assert len(live.workers) == 2


def test_no_socket_or_file_is_made_beside_the_service(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with serve(tmp_path, HOME=str(home), XDG_RUNTIME_DIR=str(home), TMPDIR=str(home)) as server:
        assert server.post("/predict", WAV, "audio/wav").status == 200
        assert list(home.iterdir()) == []


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's malloc")
def test_the_memory_of_large_uploads_is_given_back(tmp_path: Path) -> None:
    body, content_type = form(("file", "clip.wav", padded(WAV, 24_000_000)))

    def upload(server: Server) -> None:
        for _ in range(3):
            assert server.post("/predict", body, content_type).status == 200

    with serve(tmp_path, SER_WORKERS="1") as server:
        assert server.post("/predict", WAV, "audio/wav").status == 200
        (worker,) = server.workers
        before = worker.memory_info().rss
        clients = [threading.Thread(target=upload, args=[server]) for _ in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert worker.memory_info().rss - before < 30_000_000


def _last_line(output: str) -> str:
    return output.strip().splitlines()[-1]
