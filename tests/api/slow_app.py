"""The app with a network that takes its time, as the environment says; for servers under test."""

import ctypes
import os
import time
from pathlib import Path

import numpy as np
from flask import Flask
from numpy.typing import NDArray

import api
from api import Settings
from api.models import Models
from tests.api.fakes import Network, recognizer


class SlowNetwork(Network):
    """Takes `SLOW_SECONDS` for each clip, and as long as there is the file `WAIT`.

    Hangs in C, once, if there is the file `HANG`.
    """

    def logits(
        self, windows: NDArray[np.float32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        time.sleep(float(os.environ.get("SLOW_SECONDS", "0")))
        while Path(os.environ.get("WAIT", "nowhere")).exists():
            time.sleep(0.01)
        hang = os.environ.get("HANG", "")
        if hang and Path(hang).exists():
            Path(hang).unlink()
            # ctypes.PyDLL keeps the interpreter's lock: nothing else in the process can run.
            library = ctypes.PyDLL if os.environ.get("HANG_WITH_LOCK") else ctypes.CDLL
            library(None).sleep(1_000)
        return super().logits(windows, lengths)


def create_app() -> Flask:
    return api.create_app(
        Settings.from_environment(), Models([recognizer("default", SlowNetwork())])
    )
