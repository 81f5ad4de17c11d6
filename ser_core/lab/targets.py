"""What an utterance teaches: how likely each class is, and of which classes it says anything."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray


def told(corpora: Sequence[str], labels: NDArray[np.int64], classes: int) -> NDArray[np.bool_]:
    """Which classes each utterance teaches anything of, `(utterances, classes)`.

    Not those that its corpus has no example of, while others do: else a network that tells the
    corpora apart learns that voices like these are never surprised, and finds no surprise in
    the next corpus that sounds alike.
    """
    names, corpus = np.unique(corpora, return_inverse=True)
    present = np.zeros((len(names), classes), bool)
    present[corpus, labels] = True
    known: NDArray[np.bool_] = (present | ~present.any(axis=0))[corpus]
    return known


def targets(
    corpora: Sequence[str], labels: NDArray[np.int64], classes: int, smoothing: float
) -> NDArray[np.float32]:
    """What `AmongTold` takes as truth, `(utterances, 2, classes)`.

    `smoothing` is the share of the probability that is spread over all classes that are told of.
    """
    known = told(corpora, labels, classes)
    hot = (1 - smoothing) * np.eye(classes)[labels]
    probabilities = hot + smoothing * known / known.sum(axis=1, keepdims=True)
    return np.stack([probabilities, known], axis=1).astype(np.float32)


@keras.saving.register_keras_serializable(package="ser")
class AmongTold(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy among the classes that an utterance teaches of.

    The truth is `(batch, 2, classes)`: probabilities, and where there is anything to be learnt of
    a class (more than 0).
    """

    def call(self, truth: Any, logits: Any) -> Any:
        probabilities, known = truth[:, 0], ops.greater(truth[:, 1], 0)
        log = ops.log_softmax(ops.where(known, logits, -1e9))
        return -ops.sum(ops.where(known, probabilities * log, 0.0), axis=-1)
