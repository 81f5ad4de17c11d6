from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from numpy.typing import NDArray

from api import Settings, create_app
from api.models import Models
from ser_core.bundle import Bundle
from ser_core.recognizer import Recognizer

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
HEARD = (0.02, 0.01, 0.03, 0.83, 0.06, 0.01, 0.04)


class AlwaysTheSame:
    """Stands in for the network alone: decoding, windows and calibration are the real ones."""

    @contextmanager
    def borrow(self) -> Iterator["AlwaysTheSame"]:
        yield self

    def logits(
        self, windows: NDArray[np.float32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        return np.log(np.tile(np.array(HEARD, np.float32), (len(windows), 1)))


def recognizer(name: str = "default", version: str = "1.2.3", network: object = None) -> Recognizer:
    bundle = Bundle(
        path=Path("nowhere"),
        name=name,
        version=version,
        emotions=EMOTIONS,
        sampling_rate=16_000,
        window=3.0,
        hop=1.5,
        temperature=1.0,
        threshold=0.4,
        info={},
    )
    return Recognizer(bundle, network or AlwaysTheSame())  # type: ignore[arg-type]


@pytest.fixture
def app() -> Flask:
    return create_app(Settings(), Models([recognizer(), recognizer("second")]))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
