"""When to trust an answer: risk over coverage, and confidence beside accuracy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rights = NDArray[np.bool_]
"""Whether each answer is right, `(answers,)`."""


@dataclass(frozen=True)
class RiskCoverage:
    """What is wrong among the surest answers, from the surest alone to all of them.

    Answers of the same confidence are given together or not at all: one point for each confidence.
    After El-Yaniv & Wiener 2010, "On the Foundations of Noise-free Selective Classification".
    """

    coverage: Floats
    """Share of the recordings that get an answer, rising, `(points,)`."""
    risk: Floats
    """Share of these answers that are wrong, `(points,)`."""
    threshold: Floats
    """The confidence from which on an answer is given, falling, `(points,)`."""

    @property
    def area(self) -> float:
        """Area under the curve (AURC): the mean risk over all coverages, 0 at best.

        Each step of coverage has the risk of the point it leads to (Geifman et al. 2019,
        arXiv:1805.08206).
        """
        return float(np.sum(np.diff(self.coverage, prepend=0.0) * self.risk))

    def at(self, threshold: float) -> tuple[float, float | None]:
        """Coverage, and risk (None where nothing is answered), from that confidence on."""
        answered = np.flatnonzero(self.threshold >= threshold)
        if not len(answered):
            return 0.0, None
        return float(self.coverage[answered[-1]]), float(self.risk[answered[-1]])


def risk_coverage(confidence: Floats, right: Rights) -> RiskCoverage:
    """The curve of some answers, whose confidence and rightness have shape `(answers,)`."""
    if not len(confidence):
        return RiskCoverage(*np.zeros((3, 0)))
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    wrong = np.cumsum(~right[order])
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return RiskCoverage((last + 1) / len(order), wrong[last] / (last + 1), ordered[last])


@dataclass(frozen=True)
class Reliability:
    """Confidence beside accuracy, in bins of the same width from 0 to 1; empty ones left out."""

    lower: Floats
    """Where each bin begins, `(bins,)`."""
    upper: Floats
    """Where each ends; 1 belongs to the last."""
    count: NDArray[np.int64]
    """Answers in each."""
    confidence: Floats
    """Their mean confidence."""
    accuracy: Floats
    """The share of them that is right."""

    @property
    def error(self) -> float:
        """Expected calibration error: the mean gap of confidence and accuracy over the answers.

        After Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning".
        """
        if not len(self.count):
            return 0.0
        return float(np.average(np.abs(self.confidence - self.accuracy), weights=self.count))


def reliability(confidence: Floats, right: Rights, bins: int = 15) -> Reliability:
    """The diagram of some answers, whose confidence and rightness have shape `(answers,)`."""
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    found = np.unique(bin_of)
    inside = bin_of == found[:, None]
    count = inside.sum(axis=1)
    return Reliability(
        lower=found / bins,
        upper=(found + 1) / bins,
        count=count,
        confidence=(inside @ confidence) / count,
        accuracy=(inside @ right.astype(np.float64)) / count,
    )


def trust(
    probabilities: Floats, labels: NDArray[np.int64], threshold: float, bins: int = 15
) -> dict[str, Any]:
    """Calibration and selective figures of answers `(answers, classes)` in a few numbers.

    `coverage` and `accuracy_when_certain` (None where nothing is certain) are at `threshold`;
    `log_loss` is in nats.
    """
    if not len(labels):
        return dict.fromkeys(("ece", "log_loss", "aurc", "coverage", "accuracy_when_certain"))
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    curve = risk_coverage(confidence, right)
    coverage, risk = curve.at(threshold)
    return {
        "ece": reliability(confidence, right, bins).error,
        "log_loss": log_loss(probabilities, labels),
        "aurc": curve.area,
        "coverage": coverage,
        "accuracy_when_certain": None if risk is None else 1 - risk,
    }


def log_loss(
    probabilities: Floats, labels: NDArray[np.int64], weights: Floats | None = None
) -> float:
    """Mean surprise at the true label in nats; `weights` `(answers,)` make it a weighted mean."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(np.average(-np.log(chosen + 1e-9), weights=weights))
