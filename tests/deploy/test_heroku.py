"""Heroku's files, and a dyno's ways: its port, its stop, its Redis."""

import http.client
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from api import gunicorn_config
from tests.api.live import PATIENCE, serve
from tests.deploy import places
from tests.redis_server import redis_server
from tests.sounds import encode, silence, voice

ROUTER = 30
"""Seconds after which Heroku's router gives up on an answer."""
ROUTER_KEEPS = 90
"""Seconds for which it keeps a connection that nothing comes over."""
DYNO_STOPS = 30
"""Seconds from SIGTERM to SIGKILL."""


def config() -> dict[str, str]:
    read: dict[str, str] = places.heroku_yml()["setup"]["config"]
    return read


def test_both_files_set_the_same() -> None:
    said: dict[str, Any] = places.app_json()["env"]
    assert config() == {name: each["value"] for name, each in said.items() if "value" in each}
    assert {name for name, each in said.items() if each.get("required") is False} == {
        "SER_API_KEYS",
        "SER_RATE_LIMIT",
    }
    assert all(each["description"] for each in said.values())


def test_heroku_builds_the_service_in_a_container_on_a_standard_dyno() -> None:
    manifest = places.heroku_yml()
    assert manifest["build"]["docker"]["web"] == {"dockerfile": "Dockerfile", "target": "service"}
    # Without it the image's own ENTRYPOINT and CMD are run.
    assert "run" not in manifest
    app = places.app_json()
    assert app["stack"] == "container"
    assert app["formation"] == {"web": {"quantity": 1, "size": "standard-1x"}}


def test_every_answer_is_out_before_the_router_gives_up() -> None:
    longest = float(config()["SER_REQUEST_TIMEOUT"]) + float(config()["SER_HANG_TIMEOUT"])
    assert longest < ROUTER
    assert gunicorn_config.graceful_timeout < DYNO_STOPS


def test_a_connection_that_the_router_reuses_is_open() -> None:
    assert gunicorn_config.keepalive > ROUTER_KEEPS


def test_a_dyno_that_stops_loses_no_answer(tmp_path: Path) -> None:
    """Heroku sends SIGTERM to every process of the dyno at once, not to the first one alone."""
    # So many bytes fit no buffer: once sent, they are being read. Silence costs little to judge.
    recording = encode(np.concatenate([voice(1.0), silence(159.0)]))
    answers = []
    with serve(tmp_path, **config() | {"SER_REQUEST_TIMEOUT": "60"}) as server:
        connections = [
            http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE) for _ in range(2)
        ]
        for connection in connections:
            connection.request("POST", "/predict", recording, {"Content-Type": "audio/wav"})
        for process in (psutil.Process(server.process.pid), *server.workers):
            process.send_signal(signal.SIGTERM)
        for connection in connections:
            answer = connection.getresponse()
            answers.append((answer.status, answer.read()[:300]))
            connection.close()
        assert server.process.wait(PATIENCE) == 0
    assert [status for status, _ in answers] == [200] * 2, answers


@contextmanager
def redis_of_heroku(folder: Path) -> Iterator[str]:
    """Redis by TLS alone, with a certificate that it signed itself; its address."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("NO openssl: a Redis like Heroku's is not tested")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=redis"),
            *("-keyout", key, "-out", certificate),
        ],
        capture_output=True,
        check=True,
    )
    tls = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no")
    with redis_server(folder, "--port", "0", *tls, port_option="--tls-port") as (port, _):
        yield f"rediss://127.0.0.1:{port}"


def test_heroku_redis_counts_for_all_processes_with_what_the_page_adds_to_its_address(
    tmp_path: Path,
) -> None:
    page = (places.ROOT / "docs" / "deploy-heroku.md").read_text("utf-8")
    (added,) = re.findall(r"config:get REDIS_URL\)(\S+)\"", page)
    recording = encode(voice(0.5))
    with redis_of_heroku(tmp_path) as url:
        told = config() | {"SER_RATE_LIMIT": "6/hour", "SER_REDIS_URL": url + added}
        with serve(tmp_path, **told) as server:
            answers = [server.post("/predict", recording, "audio/wav") for _ in range(12)]
    assert [answer.status for answer in answers] == [200] * 6 + [429] * 6
