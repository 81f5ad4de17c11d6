"""Architectures by name."""

import keras
import numpy as np
import pytest

from ser_core.lab.networks import crnn, plain_cnn, residual_cnn

SMALL = {"channels": (4, 8, 8), "embedding": 8}


@pytest.mark.parametrize("frames", [63, 188])
def test_features_and_mask_give_a_logit_for_each_class(frames: int) -> None:
    model = residual_cnn((frames, 64), 7, **SMALL)
    x = np.random.default_rng(0).normal(size=(3, frames, 64)).astype(np.float32)
    logits = np.asarray(model([x, np.ones((3, frames), np.float32)]))
    assert logits.shape == (3, 7)
    assert np.isfinite(logits).all()
    assert np.ptp(logits, axis=0).min() > 0


def test_the_network_of_the_default_has_at_most_a_million_parameters() -> None:
    assert residual_cnn((188, 64), 7).count_params() == 573_591


def test_no_frame_of_sound_at_all_still_has_an_answer() -> None:
    model = residual_cnn((32, 16), 3, **SMALL)
    mask = np.zeros((1, 32), np.float32)
    mask[:, 0] = 1
    assert np.isfinite(np.asarray(model([np.zeros((1, 32, 16), np.float32), mask]))).all()


def test_the_network_can_learn() -> None:
    keras.utils.set_random_seed(0)
    model = residual_cnn((24, 16), 2, **SMALL, dropout=0.0)
    rng = np.random.default_rng(0)
    labels = np.arange(32) % 2
    x = rng.normal(size=(32, 24, 16)).astype(np.float32)
    x[labels == 1, :, 4:8] += 2
    mask = np.ones((32, 24), np.float32)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit([x, mask], labels, epochs=15, verbose=0)
    predicted = np.asarray(model([x, mask], training=True)).argmax(axis=1)
    assert (predicted == labels).mean() > 0.9


@pytest.mark.parametrize(("network", "count"), [(plain_cnn, 101_976), (crnn, 154_904)])
def test_the_usual_networks_on_log_mel_are_small(network, count: int) -> None:
    assert network((188, 64), 8).count_params() == count


@pytest.mark.parametrize("network", [plain_cnn, crnn])
def test_padding_moves_no_answer_of_the_usual_networks(network) -> None:
    rng = np.random.default_rng(0)
    short, long = (network((frames, 16), 3, channels=(4, 8)) for frames in (20, 32))
    weights = [
        rng.normal(0, 0.3, weight.shape) if weight.ndim > 1 else rng.uniform(0.2, 1, weight.shape)
        for weight in short.get_weights()
    ]
    for model in (short, long):
        model.set_weights(weights)
    x = np.zeros((2, 32, 16), np.float32)
    x[:, :20] = rng.normal(size=(2, 20, 16))
    mask = np.zeros((2, 32), np.float32)
    mask[:, :20] = 1
    expected = np.asarray(short([x[:, :20], mask[:, :20]]))
    np.testing.assert_allclose(long([x, mask]), expected, rtol=1e-4)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
