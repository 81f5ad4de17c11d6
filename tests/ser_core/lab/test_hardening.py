"""A network that says of a bad recording what it said of the recording as it is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from ser_core.cli import main
from ser_core.lab import hardening, heads, presets
from ser_core.lab.corpora import read
from ser_core.lab.describe import varied
from ser_core.lab.hardening import harden
from ser_core.lab.presets import PRESETS, Schedule
from ser_core.lab.sampling import padded
from ser_core.lab.splits import from_manifest
from ser_core.lab.training import Labelled, fit, front_of, prepare
from tests.acting import write_corpus
from tests.ser_core.lab.test_presets import SMALL

TAUGHT = replace(
    SMALL,
    window=1.0,
    teachers=1,
    schedule=Schedule(epochs=1, clips=64, batch=16, relative_steps=20),
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def train(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Labelled:
    monkeypatch.chdir(tmp_path)
    return prepare(from_manifest(read(manifest).utterances).train, TAUGHT)


def embedded(model: keras.Model, train: Labelled, variant: int) -> NDArray[np.float32]:
    """What `model` says of one variant of all clips, `(clips, k)`."""
    front = front_of(TAUGHT)
    signals = varied(train.utterances, TAUGHT, [variant], progress=False)
    clips = [front(signal)[: TAUGHT.frames] for _, _, signal in signals]
    answers: Any = TAUGHT.embedder(model).predict_on_batch([*padded(clips, TAUGHT.frames)])
    return np.asarray(answers)


def test_bad_recordings_come_nearer_to_what_was_said_of_good_ones(
    train: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learning = replace(TAUGHT, schedule=Schedule(epochs=10, clips=128, batch=16))
    model, _ = fit(learning, train, train, tmp_path / "work", progress=False)
    monkeypatch.setattr(hardening, "SHARE", 1.0)
    hard = harden(TAUGHT, model, train, steps=150, progress=False)
    said = embedded(model, train, 0)
    spread = said.std(axis=0) + 0.05 * said.std(axis=0).mean()

    def distance(which: keras.Model, variant: int) -> float:
        return float(np.mean(((embedded(which, train, variant) - said) / spread) ** 2))

    bad = [2, 3, 5]  # noise, a bad line and a clean one; who talks along is a voice alike here
    before, after = (np.mean([distance(which, v) for v in bad]) for which in (model, hard))
    assert after < 0.5 * before
    # What it says of the recordings themselves changes less.
    assert distance(hard, 0) < 0.3 * before


def test_the_network_itself_and_its_statistics_stay_as_they_were(train: Labelled) -> None:
    model = TAUGHT.build()
    before = model.get_weights()
    hard = harden(TAUGHT, model, train, steps=2, progress=False)
    for old, kept in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, kept)
    statistics = [index for index, weight in enumerate(model.weights) if "moving" in weight.path]
    assert statistics
    for index in statistics:
        np.testing.assert_array_equal(before[index], hard.get_weights()[index])
    assert len(hard.trainable_variables) == len(model.trainable_variables)


def test_the_weights_go_half_of_the_way(train: Labelled, monkeypatch: pytest.MonkeyPatch) -> None:
    model = TAUGHT.build()
    half = harden(TAUGHT, model, train, steps=3, progress=False)
    monkeypatch.setattr(hardening, "SHARE", 1.0)
    whole = harden(TAUGHT, model, train, steps=3, progress=False)
    moved = 0.0
    weights = (each.get_weights() for each in (model, half, whole))
    for old, middle, new in zip(*weights, strict=True):
        np.testing.assert_allclose(middle, (old + new) / 2, rtol=1e-3, atol=1e-5)
        moved += float(np.abs(new - old).max())
    assert moved > 1e-3


def test_a_taught_design_is_hardened_and_an_interrupted_training_is_not_hardened_twice(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "TEACHER", SMALL.options)
    monkeypatch.setitem(PRESETS, "taught", replace(TAUGHT, name="taught"))
    steps = []

    def counted(*args: Any, **kwargs: Any) -> keras.Model:
        steps.append(kwargs["steps"])
        return harden(*args, **kwargs)

    def stopped(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hardening, "harden", counted)
    command = ["train", "--data", str(manifest), "--preset", "taught", "--out", "made"]
    monkeypatch.setattr(heads, "fit_relative", stopped)  # what comes next is as without it
    for _ in range(2):
        assert main(command) == 130
        assert steps == [20]
        command.append("--resume")
