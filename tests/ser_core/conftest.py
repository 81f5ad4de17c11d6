import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from ser_core import Recognizer
from ser_core.cli import main
from tests.acting import write_corpus


@dataclass(frozen=True)
class Trained:
    """What `ser train` made of a made-up corpus."""

    bundle: Path
    manifest: Path
    output: str
    command: tuple[str, ...]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A bundle trained for one short epoch by the command line."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "data").mkdir()
    manifest = write_corpus(folder / "data")
    command = (
        "train", "--data", "data/manifest.csv", "--preset", "residual-cnn",
        "--epochs", "1", "--clips", "1024", "--out", "models/tiny",
    )  # fmt: skip
    output = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(output):
        assert main(command) == 0
    return Trained(folder / "models/tiny", manifest, output.getvalue(), command)


@pytest.fixture(scope="session")
def tiny(trained: Trained) -> Recognizer:
    """The bundle of `trained`, loaded."""
    return Recognizer.load(trained.bundle)
