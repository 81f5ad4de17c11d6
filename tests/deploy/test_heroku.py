"""Heroku's files, and a dyno's ways: its port, its stop."""

import http.client
import signal
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.api.live import PATIENCE, serve
from tests.deploy import places
from tests.sounds import encode, silence, voice

ROUTER = 30
"""Seconds after which Heroku's router gives up on an answer."""
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
    from api import gunicorn_config

    longest = float(config()["SER_REQUEST_TIMEOUT"]) + float(config()["SER_HANG_TIMEOUT"])
    assert longest < ROUTER
    assert gunicorn_config.graceful_timeout < DYNO_STOPS


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
