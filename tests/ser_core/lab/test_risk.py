"""When to trust an answer, on answers that can be counted by hand."""

import numpy as np
import pytest

from ser_core.lab.risk import log_loss, reliability, risk_coverage, trust

CONFIDENCE = np.array([0.6, 0.9, 0.7, 0.8])
RIGHT = np.array([False, True, True, False])


def test_risk_is_what_is_wrong_among_the_surest() -> None:
    curve = risk_coverage(CONFIDENCE, RIGHT)
    assert curve.threshold.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert curve.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_answers_as_sure_as_each_other_are_given_together() -> None:
    one = risk_coverage(np.array([0.9, 0.5, 0.5]), np.array([True, True, False]))
    other = risk_coverage(np.array([0.5, 0.9, 0.5]), np.array([False, True, True]))
    for curve in (one, other):
        assert curve.coverage == pytest.approx([1 / 3, 1])
        assert curve.risk == pytest.approx([0, 1 / 3])
        assert curve.area == pytest.approx(2 / 3 * 1 / 3)


@pytest.mark.parametrize(
    ("threshold", "coverage", "risk"),
    [(0.95, 0.0, None), (0.9, 0.25, 0.0), (0.75, 0.5, 0.5), (0.0, 1.0, 0.5)],
)
def test_a_threshold_has_a_coverage_and_a_risk(
    threshold: float, coverage: float, risk: float | None
) -> None:
    assert risk_coverage(CONFIDENCE, RIGHT).at(threshold) == (coverage, risk)


def test_the_order_of_right_before_wrong_has_the_least_area() -> None:
    best = risk_coverage(CONFIDENCE, CONFIDENCE > 0.75)
    worst = risk_coverage(CONFIDENCE, CONFIDENCE < 0.75)
    assert best.area == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)
    assert worst.area > best.area
    assert risk_coverage(CONFIDENCE, np.ones(4, bool)).area == 0


def test_the_diagram_has_the_means_of_each_bin_that_holds_something() -> None:
    confidence = np.array([0.95, 1.0, 0.61, 0.65])
    diagram = reliability(confidence, np.array([True, False, True, True]), bins=10)
    assert diagram.lower == pytest.approx([0.6, 0.9])
    assert diagram.upper == pytest.approx([0.7, 1.0])
    assert diagram.count.tolist() == [2, 2]
    assert diagram.confidence == pytest.approx([0.63, 0.975])
    assert diagram.accuracy == pytest.approx([1.0, 0.5])
    assert diagram.error == pytest.approx((0.37 + 0.475) / 2)


def test_the_figures_together_are_those_of_the_parts() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]])
    labels = np.array([0, 0, 0, 1])
    figures = trust(probabilities, labels, threshold=0.7)
    right = np.array([True, False, True, False])
    confidence = probabilities.max(axis=1)
    assert figures["ece"] == reliability(confidence, right).error
    assert figures["aurc"] == risk_coverage(confidence, right).area
    assert figures["coverage"] == 0.75
    assert figures["accuracy_when_certain"] == pytest.approx(2 / 3)
    expected = -np.log([0.9, 0.2, 0.7, 0.4]).mean()
    assert figures["log_loss"] == pytest.approx(expected, abs=1e-6)
    assert log_loss(probabilities, labels, np.array([1.0, 0, 0, 0])) == pytest.approx(-np.log(0.9))
    assert trust(probabilities, labels, threshold=0.95)["accuracy_when_certain"] is None


def test_no_answers_have_no_figures() -> None:
    nothing = np.zeros(0)
    assert risk_coverage(nothing, nothing.astype(bool)).area == 0
    assert reliability(nothing, nothing.astype(bool)).error == 0
    assert set(trust(np.zeros((0, 2)), np.zeros(0, np.int64), 0.5).values()) == {None}
