"""How sure is sure: the temperature of the probabilities, and when to say "uncertain"."""

import math

import numpy as np
from numpy.typing import NDArray

from ser_core.lab.evaluation import Outcome

TARGET_ACCURACY = 0.8
"""Answers that are not called uncertain are to be right this often on validation speakers."""
LEAST_COVERAGE = 0.4
"""Share of the validation utterances that is answered without that word in any case."""

TEMPERATURES = np.geomspace(0.3, 4.0, 75)


def fit_temperature(outcome: Outcome) -> float:
    """The temperature under which the true labels are most probable (arXiv:1706.04599)."""
    rows = np.arange(len(outcome.labels))

    def surprise(temperature: float) -> float:
        chosen = outcome.probabilities(temperature)[rows, outcome.labels]
        return float(-np.log(chosen + 1e-9).mean())

    return float(min(TEMPERATURES, key=surprise))


def choose_threshold(outcome: Outcome, temperature: float) -> float:
    """The lowest confidence above which 80 % of the answers are right.

    Where that would leave fewer than 40 % of the answers, the confidence that leaves 40 %.
    """
    probabilities = outcome.probabilities(temperature)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == outcome.labels
    order = np.argsort(-confidence)
    accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    answered = np.flatnonzero(accuracy >= TARGET_ACCURACY)
    least = int(np.ceil(LEAST_COVERAGE * len(order)))
    count = max(least, int(answered[-1]) + 1 if len(answered) else 0)
    # Rounded down: the last one that is to be answered still is.
    return math.floor(float(confidence[order][count - 1]) * 1000) / 1000


def expected_calibration_error(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int = 15
) -> float:
    """Mean distance of confidence and accuracy over equal bins of confidence.

    After Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning".
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    error = 0.0
    for index in np.unique(bin_of):
        inside = bin_of == index
        error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return float(error)
