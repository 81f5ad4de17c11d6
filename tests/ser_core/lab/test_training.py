"""Fitting a preset: labels, resuming, averaging, figures."""

import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ser_core.lab import training
from ser_core.lab.checkpoint import CheckpointError, Checkpoints
from ser_core.lab.corpora import Utterance
from ser_core.lab.dataset import FeatureSet
from ser_core.lab.presets import Schedule
from ser_core.lab.sampling import said
from ser_core.lab.training import (
    Labelled,
    TrainingError,
    as_good,
    fit,
    prepare,
    uar,
    uar_by_corpus,
)
from tests.ser_core.lab.test_presets import SMALL
from tests.sounds import encode, silence, voice

TINY = replace(
    SMALL,
    options={"channels": (4, 8), "embedding": 8, "dropout": 0.0},
    schedule=Schedule(epochs=3, clips=32, batch=16),
)
"""Two steps an epoch; without dropout, whose draws no checkpoint holds."""


def made_up(count: int, seed: int) -> Labelled:
    """Utterances of 40 frames whose label is a ripple over the bands."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    ripples = 10 * np.sin(np.outer(np.arange(1, 4), np.arange(16)) / 2)
    frames = rng.normal(-40, 3, (count, 40, 16)) + ripples[labels][:, None]
    return Labelled(
        [Utterance(Path("x"), TINY.emotions[label], f"s{i}", corpus="ab"[i % 2])
         for i, label in enumerate(labels)],
        FeatureSet(
            frames.reshape(-1, 16).astype(np.float16),
            40 * np.arange(count + 1), np.arange(count), (),
        ),
        labels,
    )  # fmt: skip


TRAIN, VALID = made_up(60, 1), made_up(30, 2)


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are cached under the working folder."""
    monkeypatch.chdir(tmp_path)


@dataclass(frozen=True)
class Complete:
    """A training that nothing came between."""

    model: keras.Model
    history: list[dict[str, float]]
    folder: Path


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Complete:
    folder = tmp_path_factory.mktemp("complete")
    return Complete(*fit(TINY, TRAIN, VALID, folder, progress=False), folder)


def write(folder: Path, emotions: Sequence[str]) -> list[Utterance]:
    utterances = []
    for index, emotion in enumerate(emotions):
        path = folder / f"{index}.wav"
        path.write_bytes(encode(voice(0.4 + 0.1 * index)))
        utterances.append(Utterance(path, emotion))
    return utterances


def test_utterances_become_log_mel_and_class_numbers(tmp_path: Path) -> None:
    utterances = write(tmp_path, ["sad", "calm", "anger"])
    data = prepare(utterances, SMALL)
    assert data.labels.tolist() == [5, 4, 0]
    assert data.utterances == utterances
    assert [data.features[i].shape for i in range(3)] == [(25, 16), (32, 16), (38, 16)]
    signal = voice(0.5)
    in_graph = np.asarray(SMALL.log_mel()((signal / np.abs(signal).max())[None]))[0]
    np.testing.assert_allclose(data.features[1][:29], in_graph[:29], atol=0.3)


def test_labels_that_the_model_has_not_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    utterances = write(tmp_path, ["sad", "boredom", "angry", "boredom", "envy"])
    with caplog.at_level(logging.WARNING):
        data = prepare(utterances, SMALL)
    assert data.labels.tolist() == [5, 0]
    assert caplog.messages == [
        "training does without 2 x 'boredom', no label of the model",
        "training does without 1 x 'envy', no label of the model",
    ]


@pytest.mark.parametrize(
    ("emotions", "found"), [([], "none"), (["sad", "sad"], "only sad"), (["envy"], "none")]
)
def test_one_class_is_too_few_and_no_file_is_read_to_know(emotions: list[str], found: str) -> None:
    utterances = [Utterance(Path("nowhere.wav"), emotion) for emotion in emotions]
    with pytest.raises(TrainingError) as error:
        prepare(utterances, SMALL, "validation")
    assert str(error.value) == (
        "validation needs utterances of at least two of angry, disgust, fear, happy, neutral, "
        f"sad, surprise; here is {found}"
    )


def test_one_class_whose_recordings_can_be_read_is_too_few(tmp_path: Path) -> None:
    utterances = write(tmp_path, ["sad", "angry"])
    utterances[1].path.write_bytes(encode(silence(1.0)))
    with pytest.raises(TrainingError, match="here is only sad"):
        prepare(utterances, SMALL)


def last_good(history: list[dict[str, float]], clips: int) -> int:
    good = [e for e, row in enumerate(history) if as_good(row["uar"], history[:e], clips)]
    return good[-1]


def test_training_lowers_the_loss_and_keeps_a_good_epoch(complete: Complete) -> None:
    history = complete.history
    assert len(history) == 3
    assert all({*row} == {"loss", "uar", "a", "b"} for row in history)
    assert history[-1]["loss"] < history[0]["loss"]
    for row in history:
        assert row["uar"] == pytest.approx((row["a"] + row["b"]) / 2)
    predicted = training.logits(complete.model, TINY, VALID).argmax(axis=1)
    kept = history[last_good(history, len(VALID.labels))]
    by_corpus = uar_by_corpus(VALID.corpora, VALID.labels, predicted)
    assert by_corpus == {"a": kept["a"], "b": kept["b"]}


@pytest.mark.parametrize(
    ("uars", "clips", "kept"),
    [
        ([0.5, 0.6, 0.59], 100, 2),  # a standard error is .049
        ([0.5, 0.6, 0.55], 100, 1),
        ([0.5, 0.6, 0.59], 10_000, 1),  # ... and .0049
        ([0.6, 0.57, 0.54], 100, 1),  # from the best, and not from the last that was kept
        ([0.0, 0.0], 100, 1),
        ([1.0, 0.99], 100, 0),
    ],
)
def test_the_last_epoch_is_kept_that_few_clips_cannot_tell_from_the_best(
    uars: list[float], clips: int, kept: int
) -> None:
    assert last_good([{"uar": uar} for uar in uars], clips) == kept


def test_a_stopped_training_goes_on_to_the_same_end(
    complete: Complete, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_train_batch_end = training._Judge.on_train_batch_end

    def ctrl_c(judge: Any, batch: int, logs: Any = None) -> None:
        on_train_batch_end(judge, batch, logs)
        if (len(judge.so_far.history), batch) == (1, 1):
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(training._Judge, "on_train_batch_end", ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            fit(TINY, TRAIN, VALID, tmp_path / "work", progress=False)
    assert (tmp_path / "work/epoch-0001/model.keras").is_file()
    model, history = fit(TINY, TRAIN, VALID, tmp_path / "work", resume=True, progress=False)
    for row, expected in zip(history, complete.history, strict=True):
        assert row == pytest.approx(expected, abs=1e-3)
    pairs = zip(model.get_weights(), complete.model.get_weights(), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_finished_training_is_not_gone_on_with(complete: Complete) -> None:
    model, history = fit(TINY, TRAIN, VALID, complete.folder, resume=True, progress=False)
    assert history == complete.history
    for one, other in zip(model.get_weights(), complete.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def changed(data: Labelled, **fields: Any) -> Labelled:
    """The same features, of which the first utterance is told otherwise."""
    first, *others = data.utterances
    return replace(data, utterances=[replace(first, **fields), *others])


PARENT = {"name": "parent", "version": "1.0.0", "model.keras": "5eed"}


@pytest.mark.parametrize(
    ("train", "valid", "how", "differing"),
    [
        (TRAIN, VALID, {"seed": 1}, "seed"),
        (
            TRAIN,
            made_up(31, 2),
            {},
            "corpora, labels, number of utterances, recordings, sexes, speakers",
        ),
        (changed(TRAIN, emotion="sad"), VALID, {}, "labels"),
        (TRAIN, changed(VALID, emotion="sad"), {}, "labels"),
        (changed(TRAIN, path=Path("y")), VALID, {}, "recordings"),
        (changed(TRAIN, corpus="c", speaker="me"), VALID, {}, "corpora, speakers"),
        (TRAIN, VALID, {"init": PARENT}, "bundle to begin with"),
    ],
)
def test_a_training_with_other_data_or_another_beginning_is_not_gone_on_with(
    complete: Complete, train: Labelled, valid: Labelled, how: dict[str, Any], differing: str
) -> None:
    with pytest.raises(CheckpointError, match=f"differs in {differing}: give the same"):
        fit(TINY, train, valid, complete.folder, resume=True, progress=False, **how)


def test_a_training_with_other_settings_is_not_gone_on_with(complete: Complete) -> None:
    other = replace(TINY, per_band=True, schedule=replace(TINY.schedule, epochs=1))
    with pytest.raises(CheckpointError, match="differs in per_band, schedule: give the same"):
        fit(other, TRAIN, VALID, complete.folder, resume=True, progress=False)


def test_a_training_goes_on_where_its_recordings_were_moved_to(complete: Complete) -> None:
    moved = [replace(u, path=Path("elsewhere") / u.path) for u in TRAIN.utterances]
    train = replace(TRAIN, utterances=moved)
    _, history = fit(TINY, train, VALID, complete.folder, resume=True, progress=False)
    assert history == complete.history


def test_another_bundle_to_begin_with_is_another_training(tmp_path: Path) -> None:
    brief = replace(TINY, schedule=replace(TINY.schedule, epochs=1))
    fit(brief, TRAIN, VALID, tmp_path, progress=False, init=PARENT)
    fit(brief, TRAIN, VALID, tmp_path, resume=True, progress=False, init=PARENT)
    retrained = {**PARENT, "model.keras": "0dd"}
    with pytest.raises(CheckpointError, match="differs in bundle to begin with: give"):
        fit(brief, TRAIN, VALID, tmp_path, resume=True, progress=False, init=retrained)


def judge(folder: Path) -> training._Judge:
    """The judge of a training, as Keras calls it."""
    checkpoints = Checkpoints(folder, {})
    checkpoints.begin()
    judging = training._Judge(TINY, VALID, checkpoints, progress=False)
    judging.set_model(TINY.build())
    judging.on_train_begin()
    return judging


def test_a_loss_that_is_no_number_ends_the_training_and_is_not_kept(tmp_path: Path) -> None:
    judging = judge(tmp_path / "work")
    with pytest.raises(TrainingError, match="the loss is nan in epoch 4"):
        judging.on_epoch_end(3, {"loss": float("nan")})
    assert judging.checkpoints.last is None
    assert not judging.checkpoints.best.exists()


def test_the_average_starts_quickly(tmp_path: Path) -> None:
    judging = judge(tmp_path / "work")
    start = judging.model.get_weights()
    for batch, offset in enumerate((1.0, 2.0)):
        judging.model.set_weights([weights + offset for weights in start])
        judging.on_train_batch_end(batch)
    # The decays (1 + t) / (10 + t) of the first two steps are 2/11 and 3/12.
    expected = 3 / 12 * (9 / 11 * 1.0) + 9 / 12 * 2.0
    for average, weights in zip(judging.so_far.average, start, strict=True):
        np.testing.assert_allclose(average, weights + expected, atol=1e-5)


def test_uar_is_the_mean_recall_of_the_classes_present() -> None:
    labels = np.array([0, 0, 0, 0, 2, 2])
    predicted = np.array([0, 0, 0, 1, 2, 1])
    assert uar(labels, predicted) == pytest.approx((0.75 + 0.5) / 2)
    by_corpus = uar_by_corpus(["x", "x", "x", "y", "y", "y"], labels, predicted)
    assert by_corpus == {"x": 1.0, "y": pytest.approx((0 + 0.5) / 2)}


def test_validation_judges_the_first_window_of_each_utterance() -> None:
    model = TINY.build()
    data = made_up(3, 0)
    answers = training.logits(model, TINY, data)
    assert answers.shape == (3, 7)
    first = data.features[1][: TINY.frames].astype(np.float32)[None]
    alone = model([first, np.ones((1, TINY.frames), np.float32)])
    np.testing.assert_allclose(answers[1:2], alone, atol=1e-5)


def test_what_teachers_say_counts_and_not_the_labels(tmp_path: Path) -> None:
    longer = replace(TINY, schedule=replace(TINY.schedule, epochs=5, clips=640))
    teacher, _ = fit(longer, TRAIN, VALID, tmp_path / "teacher", progress=False)
    wrong = replace(TRAIN, labels=np.roll(TRAIN.labels, 1))
    unaware, _ = fit(longer, wrong, VALID, tmp_path / "unaware", progress=False)
    student, history = fit(
        longer, wrong, VALID, tmp_path, seed=1, teachers=[teacher, teacher], progress=False
    )
    right = [
        uar(VALID.labels, training.logits(model, longer, VALID).argmax(axis=1))
        for model in (teacher, unaware, student)
    ]
    assert right[0] > 0.9
    assert right[1] < 0.6
    assert right[2] > 0.8
    again, same = fit(
        longer, wrong, VALID, tmp_path, seed=1, teachers=[teacher] * 2, resume=True, progress=False
    )
    assert same == history
    np.testing.assert_allclose(
        training.logits(again, longer, VALID), training.logits(student, longer, VALID), atol=1e-5
    )


def test_teachers_are_averaged_before_they_are_softened() -> None:
    class Says:
        def __init__(self, logits: list[float]) -> None:
            self.logits = np.array([logits], np.float32)

        def predict_on_batch(self, inputs: Any) -> Any:
            return self.logits

    nothing = np.zeros((1, 4, 16), np.float32)
    heard = said([Says([4.0, 0.0]), Says([0.0, 2.0])], nothing, nothing[:, :, 0])
    np.testing.assert_allclose(heard, [[1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(0.5))]], rtol=1e-5)
