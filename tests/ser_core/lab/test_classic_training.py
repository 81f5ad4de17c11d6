"""Fitting a classic design: what is learnt, kept, carried over from scikit-learn, refused."""

import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from ser_core.lab import classic_training
from ser_core.lab.checkpoint import CheckpointError
from ser_core.lab.classic_features import Standardised
from ser_core.lab.classic_training import Clips, carry_over, fit, judge, kept, prepare
from ser_core.lab.classics import ANN_193, MFCC_CNN1D, MLP_193, Classic
from ser_core.lab.corpora import Utterance
from ser_core.lab.dataset import FeatureSet
from ser_core.lab.training import Labelled, TrainingError
from tests.sounds import encode, voice

EMOTIONS = ("angry", "sad", "happy")
SMALL = replace(
    ANN_193,
    emotions=EMOTIONS,
    standardised=True,
    options={"hidden": (16, 8)},
    schedule=replace(ANN_193.schedule, epochs=4, batch=16, learning_rate=0.01),
)
SMALL_MLP = replace(
    MLP_193,
    emotions=EMOTIONS,
    options={"hidden": (12, 6)},
    schedule=replace(MLP_193.schedule, epochs=30, batch=32),
)


def labelled(values: Any, labels: Any) -> Labelled:
    utterances = [
        Utterance(Path("x"), EMOTIONS[label], f"s{row}", corpus="ab"[row % 2])
        for row, label in enumerate(labels)
    ]
    count = len(labels)
    return Labelled(
        utterances, FeatureSet(values, np.arange(count + 1), np.arange(count), ()), labels
    )


def made_up(classic: Classic, count: int = 90) -> Clips:
    """Values on scales of their own, of which some tell the class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classic.classes, 2 * count)
    values = rng.normal(0, 1, (2 * count, 193))
    values[:, :30] += 1.5 * np.eye(classic.classes)[labels].repeat(10, axis=1)
    values = (values * np.geomspace(0.01, 100, 193) + 40).astype(np.float32)
    train = labelled(values[:count], labels[:count])
    valid = labelled(values[count:], labels[count:])
    return Clips(train, valid, values[:count], labels[:count], values[count:])


CLIPS = made_up(SMALL)


def answers(whole: keras.Model, values: Any) -> Any:
    """What the whole model says of values, past its front."""
    scaler = next(layer for layer in whole.layers if isinstance(layer, Standardised))
    after = keras.Model(scaler.input, whole.output)
    return np.asarray(keras.ops.softmax(after(values)["logits"]))


def test_a_design_learns_and_its_best_epoch_is_kept(tmp_path: Path) -> None:
    whole, history = fit(SMALL, CLIPS, tmp_path, progress=False)
    assert len(history) == 4
    assert history[-1]["loss"] < history[0]["loss"]
    assert all({*row} == {"loss", "uar", "a", "b"} for row in history)
    best = max(row["uar"] for row in history)
    assert best > 0.5
    figures = judge(SMALL, answers(whole, CLIPS.held_out), CLIPS.valid)
    assert figures["uar"] == kept(SMALL, history)["uar"] == best


def test_it_ends_when_validation_gets_no_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uars = iter([0.3, 0.5, 0.4, 0.5, 0.4, 0.9])
    monkeypatch.setattr(classic_training, "judge", lambda *_: {"uar": next(uars)})
    patient = replace(SMALL, schedule=replace(SMALL.schedule, epochs=50, patience=3))
    _, history = fit(patient, CLIPS, tmp_path, progress=False)
    assert [row["uar"] for row in history] == [0.3, 0.5, 0.4, 0.5, 0.4]


def test_a_stopped_training_goes_on_to_the_same_end(tmp_path: Path) -> None:
    expected, complete = fit(SMALL, CLIPS, tmp_path / "complete", progress=False)
    tells = 0

    def stop(*_: Any) -> dict[str, float]:
        nonlocal tells
        tells += 1
        if tells > 2:
            raise KeyboardInterrupt
        return judge(*_)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classic_training, "judge", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(SMALL, CLIPS, tmp_path / "work", progress=False)
    whole, history = fit(SMALL, CLIPS, tmp_path / "work", resume=True, progress=False)
    assert len(history) == len(complete) == 4
    for row, other in zip(history, complete, strict=True):
        assert row == pytest.approx(other, abs=1e-4)
    for one, other in zip(whole.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    with pytest.raises(CheckpointError, match="differs in seed: give"):
        fit(SMALL, CLIPS, tmp_path / "work", seed=1, resume=True, progress=False)
    one, *others = CLIPS.valid.utterances
    valid = replace(CLIPS.valid, utterances=[replace(one, emotion="calm"), *others])
    with pytest.raises(CheckpointError, match="differs in labels: give"):
        fit(SMALL, replace(CLIPS, valid=valid), tmp_path / "work", resume=True, progress=False)


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    wild = replace(SMALL, schedule=replace(SMALL.schedule, learning_rate=1e30))
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) in epoch 1"):
        fit(wild, CLIPS, tmp_path, progress=False)


def test_mlp_is_scikit_learns_epoch_by_epoch_and_answers_the_same(tmp_path: Path) -> None:
    whole, history = fit(SMALL_MLP, CLIPS, tmp_path, seed=3, progress=False)
    scaler = StandardScaler().fit(CLIPS.values.astype(np.float64))
    values = scaler.transform(CLIPS.values).astype(np.float32)

    def classifier() -> MLPClassifier:
        return MLPClassifier(
            (12, 6), alpha=0.01, learning_rate="adaptive", batch_size=32, max_iter=30,
            random_state=np.random.RandomState(3),
        )  # fmt: skip

    mlp = classifier()
    for _ in range(30):
        mlp.partial_fit(values, CLIPS.targets, classes=[0, 1, 2])
    np.testing.assert_allclose([row["loss"] for row in history], mlp.loss_curve_, rtol=1e-3)
    expected = mlp.predict_proba(scaler.transform(CLIPS.held_out))
    np.testing.assert_allclose(answers(whole, CLIPS.held_out), expected, atol=1e-3)
    assert history[-1]["uar"] > 0.5
    # In one go it differs in the order of the clips alone.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        at_once = classifier().fit(values, CLIPS.targets)
    np.testing.assert_allclose(mlp.loss_curve_, at_once.loss_curve_, rtol=0.1)


def test_mlp_ends_where_scikit_learn_would(tmp_path: Path) -> None:
    still = {"alpha": 0.01, "tol": 10.0}
    _, history = fit(replace(SMALL_MLP, mlp=still), CLIPS, tmp_path, progress=False)
    mlp = MLPClassifier((12, 6), max_iter=30, **still).fit(CLIPS.values, CLIPS.targets)
    assert len(history) == mlp.n_iter_ < 30


@pytest.mark.parametrize("classes", [2, 3])
def test_weights_are_carried_over_layer_by_layer(classes: int) -> None:
    mlp = MLPClassifier((12, 6), random_state=0)
    mlp.partial_fit(CLIPS.values, CLIPS.targets % classes, classes=range(classes))
    network = replace(SMALL_MLP, emotions=EMOTIONS[:classes]).build()
    carry_over(mlp, network)
    scaled = CLIPS.held_out / 100
    actual = np.asarray(keras.ops.softmax(network(scaled)))
    np.testing.assert_allclose(actual, mlp.predict_proba(scaled), atol=1e-5)


def test_values_are_standardised_as_scikit_learn_does_it() -> None:
    values = CLIPS.values.copy()
    values[:, 5] = 0.3
    mean, scale = classic_training._scaler(SMALL, values)
    scaler = StandardScaler().fit(values.astype(np.float64))
    np.testing.assert_allclose(mean, scaler.mean_, rtol=1e-5)
    np.testing.assert_allclose(scale, np.where(np.arange(193) == 5, 1, scaler.scale_), rtol=1e-5)
    plain = classic_training._scaler(replace(SMALL, standardised=False), values)
    assert (plain[0].max(), plain[1].min(), plain[1].max()) == (0, 1, 1)


def write(folder: Path, sexes: str) -> list[Utterance]:
    utterances = []
    for index, sex in enumerate(sexes):
        path = folder / f"{index}.wav"
        path.write_bytes(encode(voice(0.3, pitch=100 + 20 * index)))
        emotion = EMOTIONS[index % 2]
        utterances.append(Utterance(path, emotion, sex=sex.strip(), corpus="made"))
    return utterances


def test_sex_and_emotion_are_classes_together_and_copies_are_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    utterances = write(tmp_path, "FFMM ")
    classic = replace(MFCC_CNN1D, augmentation=("noise:20", "gain:-6"))
    with caplog.at_level(logging.WARNING):
        clips = prepare(classic, utterances, utterances[:2])
    assert "training does without 1 utterances of unknown sex" in caplog.messages
    # Of the eight emotions angry is the first and sad the seventh; women come first.
    assert clips.targets.tolist() == 3 * [0, 6, 8, 14]
    assert clips.values.shape == (12, 40)
    assert clips.held_out.shape == (2, 40)
    np.testing.assert_array_equal(clips.values[:2], clips.held_out)
    assert np.abs(clips.values[4:8] - clips.values[:4]).max() > 1
    # 6 dB less of everything is a lower first coefficient and nothing else.
    quieter = clips.values[8:] - clips.values[:4]
    np.testing.assert_allclose(quieter[:, 0], -6.0206 * np.sqrt(128), rtol=0.01)
    assert np.abs(quieter[:, 1:]).max() < 0.5


def test_without_any_sex_the_plain_head_is_recommended(tmp_path: Path) -> None:
    utterances = [Utterance(tmp_path / "none.wav", emotion) for emotion in EMOTIONS]
    with pytest.raises(TrainingError, match="fill the column sex with F or M, or train mfcc-cnn1d"):
        prepare(MFCC_CNN1D, utterances, utterances)
