"""What an utterance teaches, and what not."""

import numpy as np
import pytest

from ser_core.lab.targets import AmongTold, targets, told

CORPORA = ["a"] * 3 + ["b"] * 3
LABELS = np.array([0, 1, 0, 1, 2, 1])


def test_a_corpus_teaches_nothing_of_emotions_that_only_others_have() -> None:
    # Nobody has the fourth: everybody tells that it is not heard.
    known = told(CORPORA, LABELS, 4)
    assert known[[0, 3]].tolist() == [[True, True, False, True], [False, True, True, True]]


def test_targets_are_smoothed_over_what_is_told() -> None:
    truth = targets(CORPORA, LABELS, 4, smoothing=0.3)
    np.testing.assert_allclose(truth[1, 0], [0.1, 0.8, 0, 0.1], rtol=1e-6)
    assert truth[1, 1].tolist() == [1, 1, 0, 1]


def test_the_loss_is_cross_entropy_among_what_is_told() -> None:
    logits = np.array([[1.0, 2.0, 50.0]], np.float32)
    truth = np.array([[[0.25, 0.75, 0.0], [1.0, 1.0, 0.0]]], np.float32)
    normaliser = np.log(np.exp(1) + np.exp(2))
    loss = float(np.asarray(AmongTold()(truth, logits)))
    assert loss == pytest.approx(normaliser - 0.25 * 1 - 0.75 * 2, rel=1e-5)
