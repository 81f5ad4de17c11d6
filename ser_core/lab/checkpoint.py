"""What a training leaves on disk after every epoch, so that it can be stopped and go on."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ser_core.lab.corpora import Utterance

logger = logging.getLogger(__name__)

MODEL, AVERAGE, HISTORY = "model.keras", "average.npz", "history.json"


def begun(folder: Path) -> bool:
    """Whether a training there, or one of its teachers, has finished epochs to go on from."""
    return any(folder.rglob("epoch-*"))


def fingerprint(*parts: Sequence[Utterance]) -> dict[str, str]:
    """What tells the utterances of a training from others: a digest of all they can differ in.

    A file is known by its name alone: the folder may have been moved.
    """
    utterances = [u for part in parts for u in part]
    told = {
        "recordings": [u.path.name for u in utterances],
        "labels": [u.emotion for u in utterances],
        "speakers": [u.speaker for u in utterances],
        "sexes": [u.sex for u in utterances],
        "corpora": [u.corpus for u in utterances],
    }
    return {
        name: hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
        for name, values in told.items()
    }


class CheckpointError(ValueError):
    """The training in a folder is another one; the message says how they differ."""


@dataclass
class Progress:
    """How far a training has come, beside the model and its optimizer."""

    history: list[dict[str, float]] = field(default_factory=list)
    """Figures of every epoch."""
    average: list[NDArray[np.float32]] = field(default_factory=list)
    """The averaged weights."""
    steps: int = 0
    """Batches seen."""


class Checkpoints:
    """The folder of one training: the weights of the epoch that is kept, and all of its last one.

    Whatever moment the process is killed at, the last complete epoch can be loaded.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.settings = json.loads(json.dumps(settings, default=str))

    @property
    def best(self) -> Path:
        """Weights of the epoch that is kept."""
        return self.folder / "best.weights.h5"

    @property
    def last(self) -> Path | None:
        """The folder of the last epoch, where there is one."""
        return max(self.folder.glob("epoch-*"), default=None)

    def begin(self) -> None:
        """Make room for a new training."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for epoch in self.folder.glob("epoch-*"):
            shutil.rmtree(epoch)
        self.best.unlink(missing_ok=True)
        self._settings.write_text(json.dumps(self.settings), encoding="utf-8")

    def save_best(self, model: keras.Model) -> None:
        """Keep the weights of `model`."""
        partial = self.best.with_name(f"partial.{self.best.name}")
        model.save_weights(partial)
        partial.replace(self.best)

    def save(self, model: keras.Model, progress: Progress) -> None:
        """Keep what `load` needs, in place of the epoch before."""
        earlier = self.last
        partial = self.folder / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        model.save(partial / MODEL)
        average: dict[str, Any] = {f"w{i}": mean for i, mean in enumerate(progress.average)}
        np.savez(partial / AVERAGE, steps=progress.steps, **average)
        (partial / HISTORY).write_text(json.dumps(progress.history), encoding="utf-8")
        partial.rename(self.folder / f"epoch-{len(progress.history):04}")
        if earlier is not None:
            shutil.rmtree(earlier)

    def load(self) -> tuple[keras.Model, Progress] | None:
        """The compiled model and the progress of the last epoch; None where none was finished.

        Raises:
            CheckpointError: it is of a training with other settings or data.
        """
        last = self.last
        if last is None:
            logger.warning("%s holds no checkpoint: the training begins anew", self.folder)
            return None
        earlier = json.loads(self._settings.read_text(encoding="utf-8"))
        names = {*earlier, *self.settings}
        differing = sorted(n for n in names if earlier.get(n) != self.settings.get(n))
        if differing:
            raise CheckpointError(
                f"{self.folder} holds a training that differs in {', '.join(differing)}: give "
                f"the same, or train anew without --resume"
            )
        with np.load(last / AVERAGE) as saved:
            average = [saved[f"w{index}"] for index in range(len(saved.files) - 1)]
            steps = int(saved["steps"])
        history = json.loads((last / HISTORY).read_text(encoding="utf-8"))
        return keras.models.load_model(last / MODEL), Progress(history, average, steps)

    @property
    def _settings(self) -> Path:
        return self.folder / "settings.json"
