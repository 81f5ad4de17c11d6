"""What a training leaves on disk, whenever it is stopped."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ser_core.lab.checkpoint import CheckpointError, Checkpoints, Progress

SETTINGS = {"epochs": 3, "options": {"channels": (4, 8)}, "seed": 0}


def model() -> keras.Model:
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    network.compile(keras.optimizers.AdamW(0.01), "mse")
    network.optimizer.build(network.trainable_variables)
    network.optimizer.apply([np.ones((4, 2), np.float32), np.ones(2, np.float32)])
    return network


def begin(folder: Path, settings: Mapping[str, Any] = SETTINGS) -> Checkpoints:
    checkpoints = Checkpoints(folder, settings)
    checkpoints.begin()
    return checkpoints


def progress(epochs: int) -> Progress:
    average = [np.full((4, 2), 0.5, np.float32), np.arange(2, dtype=np.float32)]
    history = [{"loss": 2.0 - epoch, "uar": 0.1 * epoch} for epoch in range(epochs)]
    return Progress(history, average, steps=10 * epochs)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    trained = model()
    begin(tmp_path).save(trained, progress(2))
    loaded = Checkpoints(tmp_path, SETTINGS).load()
    assert loaded is not None
    again, so_far = loaded
    assert so_far.history == progress(2).history
    assert so_far.steps == 20
    for mean, expected in zip(so_far.average, progress(2).average, strict=True):
        np.testing.assert_array_equal(mean, expected)
    for one, other in zip(again.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert int(again.optimizer.iterations.numpy()) == 1


def test_only_the_last_epoch_is_kept(tmp_path: Path) -> None:
    checkpoints, trained = begin(tmp_path), model()
    for epoch in (1, 2, 3):
        checkpoints.save(trained, progress(epoch))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0003", "settings.json"]
    assert checkpoints.last == tmp_path / "epoch-0003"


def test_a_kill_while_saving_leaves_the_epoch_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, trained = begin(tmp_path), model()
    checkpoints.save(trained, progress(1))

    def killed(path: Path, **arrays: Any) -> None:
        path.write_bytes(b"half of")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(trained, progress(2))
    loaded = checkpoints.load()
    assert loaded is not None
    assert len(loaded[1].history) == 1
    checkpoints.save(trained, progress(2))
    assert checkpoints.last == tmp_path / "epoch-0002"


def test_the_best_weights_are_replaced_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, trained = begin(tmp_path), model()
    checkpoints.save_best(trained)
    before = checkpoints.best.read_bytes()

    def killed(path: Path) -> None:
        path.write_bytes(b"half of")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trained, "save_weights", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save_best(trained)
    assert checkpoints.best.read_bytes() == before


def test_a_new_training_forgets_the_old_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints, trained = begin(tmp_path), model()
    checkpoints.save(trained, progress(1))
    checkpoints.save_best(trained)
    checkpoints.begin()
    assert not checkpoints.best.exists()
    with caplog.at_level(logging.WARNING):
        assert checkpoints.load() is None
    assert caplog.messages == [f"{tmp_path} holds no checkpoint: the training begins anew"]


def test_another_training_is_not_gone_on_with(tmp_path: Path) -> None:
    begin(tmp_path).save(model(), progress(1))
    other = Checkpoints(tmp_path, {"epochs": 5, "options": {"channels": (4, 9)}, "seed": 0})
    with pytest.raises(CheckpointError) as error:
        other.load()
    assert str(error.value) == (
        f"{tmp_path} holds a training that differs in epochs, options: give the same, "
        "or train anew without --resume"
    )


def test_settings_are_compared_as_they_are_written(tmp_path: Path) -> None:
    begin(tmp_path).save(model(), progress(1))
    written = json.loads((tmp_path / "settings.json").read_text("utf-8"))
    assert written["options"] == {"channels": [4, 8]}
    assert Checkpoints(tmp_path, SETTINGS).load() is not None
