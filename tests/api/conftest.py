import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import Settings, create_app
from api.models import Models
from tests.api.fakes import recognizer
from tests.api.live import PATIENCE, Server, serve


@pytest.fixture
def app() -> Flask:
    """The app with two made-up models, `default` and `second`."""
    return create_app(Settings(), Models([recognizer(), recognizer("second")]))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="session")
def temp_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for temporary files that `live` is given."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory, temp_folder: Path) -> Iterator[Server]:
    """A running gunicorn with two workers and the default model."""
    folder = tmp_path_factory.mktemp("live")
    with serve(folder, SER_WORKERS="2", TMPDIR=str(temp_folder)) as server:
        deadline = time.monotonic() + PATIENCE
        while b"ser_workers 2.0\n" not in server.get("/metrics").body:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield server
