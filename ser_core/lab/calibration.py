"""How sure is sure: the temperature of the probabilities, and when to say "uncertain"."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ser_core.lab.evaluation import Outcome, speaker_key
from ser_core.lab.risk import reliability
from ser_core.prediction import Bias, Heard, softmax

TARGET_ACCURACY = 0.8
"""Answers that are not called uncertain are to be right this often on validation speakers."""
LEAST_COVERAGE = 0.4
"""Share of the validation utterances that is answered without that word in any case."""

TEMPERATURES = np.geomspace(0.3, 4.0, 75)
WORST = 1 / 3
"""Share of the validation speakers that the temperature is fitted to: those heard worst."""
FEWEST_SPEAKERS = 6
"""Speakers from which on there is a worst third; with fewer all utterances count the same."""


@dataclass(frozen=True)
class Windows:
    """The judged windows of some recordings in one array, to be calibrated many times over."""

    logits: NDArray[np.float64]
    """`(windows, classes)`."""
    first: NDArray[np.int64]
    """The first window of each recording, `(recordings,)`."""
    weights: NDArray[np.float64]
    """Of each window in its recording; those of a recording sum to 1."""

    @classmethod
    def of(cls, heard: Sequence[Heard]) -> "Windows":
        """Of at least one recording."""
        counts = [int(each.judged.sum()) for each in heard]
        return cls(
            np.concatenate([each.logits[each.judged] for each in heard]).astype(np.float64),
            np.cumsum([0, *counts[:-1]]),
            np.concatenate(
                [each.speech[each.judged] / each.speech[each.judged].sum() for each in heard]
            ),
        )

    def probabilities(self, temperature: float, bias: Bias = ()) -> NDArray[np.float64]:
        """Of each recording, `(recordings, classes)`, as `Heard.overall` gives them."""
        calibrated = self.logits / temperature + (np.asarray(bias) if len(bias) else 0.0)
        weighted = softmax(calibrated) * self.weights[:, None]
        overall: NDArray[np.float64] = np.add.reduceat(weighted, self.first, axis=0)
        return overall


def fit_temperature(outcome: Outcome, worst: float = WORST) -> float:
    """The temperature under which the true labels are most probable (arXiv:1706.04599).

    Not those of everybody, but of the `worst` share of the speakers, whichever these are at that
    temperature: the conditional value at risk (Rockafellar & Uryasev 2000) of the speakers' mean
    surprise. Speakers differ in the temperature that they need by a factor of 1.3, the few that
    there are to validate on had a say in choosing the model, and to be surer than right is the
    worse mistake. 1 takes the mean of all.
    """
    rows, windows = np.arange(len(outcome.labels)), Windows.of(outcome.heard)
    speakers = np.unique([speaker_key(u) for u in outcome.utterances], return_inverse=True)[1]
    named = all(utterance.speaker for utterance in outcome.utterances)
    count = int(speakers.max(initial=-1)) + 1
    share = max(1, math.ceil(worst * count - 1e-9))
    by_speaker = worst < 1 and named and count >= FEWEST_SPEAKERS

    def surprise(temperature: float) -> float:
        of_each = -np.log(windows.probabilities(temperature)[rows, outcome.labels] + 1e-9)
        if not by_speaker:
            return float(of_each.mean())
        of_speakers = np.bincount(speakers, of_each) / np.bincount(speakers)
        return float(np.sort(of_speakers)[-share:].mean())

    return float(min(TEMPERATURES, key=surprise))


def choose_threshold(outcome: Outcome, temperature: float, bias: Bias = ()) -> float:
    """The lowest confidence above which 80 % of the answers are right.

    Where that would leave fewer than 40 % of the answers, the confidence that leaves 40 %.
    """
    return threshold_of(outcome.probabilities(temperature, bias), outcome.labels)


def threshold_of(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """`choose_threshold` of probabilities `(answers, classes)`."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
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
    """Mean distance of confidence and accuracy over equal bins of confidence."""
    right = probabilities.argmax(axis=1) == labels
    return reliability(probabilities.max(axis=1), right, bins).error
