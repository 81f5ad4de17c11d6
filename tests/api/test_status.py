import threading

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray

from api import Settings, create_app
from api.models import Models
from tests.api.fakes import PROBABILITIES, Network, recognizer
from tests.api.live import Server


class Held(Network):
    """Answers once it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def logits(
        self, windows: NDArray[np.float32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        self.let_go.wait()
        return super().logits(windows, lengths)


class Failing(Network):
    def logits(
        self, windows: NDArray[np.float32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        raise RuntimeError("cannot run")


def warmed_up() -> None:
    for thread in threading.enumerate():
        if thread.name == "warm-up":
            thread.join()


def test_health_is_ok_whatever_the_model_does() -> None:
    network = Held()
    client = create_app(Settings(), Models([recognizer(network=network)])).test_client()
    assert client.get("/health").get_json() == {"status": "ok"}
    network.let_go.set()


@pytest.mark.parametrize("path", ["/ready", "/ping"])
def test_ready_once_the_warm_up_clip_is_answered(path: str) -> None:
    network = Held()
    client = create_app(Settings(), Models([recognizer(network=network)])).test_client()
    answer = client.get(path)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.get_json()["type"] == "/problems/not-ready"
    network.let_go.set()
    warmed_up()
    answer = client.get(path)
    assert (answer.status_code, answer.get_json()) == (200, {"status": "ready"})


def test_never_ready_if_one_of_the_models_fails_its_warm_up() -> None:
    models = Models([recognizer(), recognizer("broken", Failing())])
    client = create_app(Settings(), models).test_client()
    warmed_up()
    assert client.get("/ready").status_code == 503
    assert client.get("/health").status_code == 200


def test_models_lists_the_bundles_default_first(client: FlaskClient) -> None:
    first, second = client.get("/models").get_json()["models"]
    assert first == {
        "default": True,
        "name": "default",
        "version": "1.2.3",
        "emotions": list(PROBABILITIES),
        "sampling_rate": 16_000,
        "window": 3.0,
        "hop": 1.5,
        "threshold": 0.4,
        "card": "",
    }
    assert (second["name"], second["default"]) == ("second", False)


def test_the_live_service_shows_the_card_of_its_model(live: Server) -> None:
    (model,) = live.get("/models").json["models"]
    assert model["default"] is True
    assert model["name"] == "default"
    assert model["card"].startswith("#")


class Broken(Network):
    def logits(
        self, windows: NDArray[np.float32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        return np.full((len(windows), len(PROBABILITIES)), np.nan, np.float32)


def test_a_model_whose_answers_are_not_finite_never_gets_ready() -> None:
    client = create_app(Settings(), Models([recognizer(network=Broken())])).test_client()
    warmed_up()
    assert client.get("/ready").status_code == 503
    assert client.get("/health").status_code == 200
