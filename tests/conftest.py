import os
import signal
from pathlib import Path

import pytest

# Before anything imports TensorFlow, which reads once what this chooses: as under `ser`.
import ser_core.lab  # noqa: F401

# Shells have what they begin in the background ignore Ctrl-C, which tests and their children send.
signal.signal(signal.SIGINT, signal.default_int_handler)

BESIDE_THE_PROJECT = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def ser_data() -> Path:
    """The folder of real recordings, where there is one: `SER_DATA`, or beside the project."""
    folder = Path(os.environ.get("SER_DATA") or BESIDE_THE_PROJECT)
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"no recordings: {folder} has no manifest.csv (set SER_DATA)")
    return folder
