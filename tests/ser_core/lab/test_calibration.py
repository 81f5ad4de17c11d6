"""How sure is sure."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ser_core.lab.calibration import (
    Windows,
    choose_threshold,
    expected_calibration_error,
    fit_temperature,
)
from ser_core.lab.corpora import Utterance
from ser_core.lab.evaluation import Outcome
from ser_core.recognizer import Heard


def outcome(logits: np.ndarray, labels: np.ndarray) -> Outcome:
    """Utterances of one window each."""
    heard = [
        Heard(3.0, np.array([[0.0, 3.0]]), row[None].astype(np.float32), np.ones(1))
        for row in logits
    ]
    emotions = tuple(f"e{index}" for index in range(logits.shape[1]))
    return Outcome(emotions, [Utterance(Path("x"), "e0")] * len(heard), labels, heard, [])


def of_confidence(confidence: list[float], right: list[bool]) -> Outcome:
    """Two classes, the first of which is answered with such confidence."""
    share = np.array(confidence)
    return outcome(np.log(np.stack([share, 1 - share], axis=1)), np.where(right, 0, 1))


def test_windows_in_one_array_give_what_each_recording_gives() -> None:
    rng = np.random.default_rng(0)
    heard = []
    for count in (1, 3, 2):
        logits = rng.normal(size=(count, 4)).astype(np.float32)
        if count == 3:
            logits[1] = np.nan  # nobody speaks there
        spans = np.zeros((count, 2))
        heard.append(Heard(3.0, spans, logits, rng.uniform(0.1, 1, count)))
    bias = [0.5, 0.0, -1.0, 0.2]
    expected = [each.overall(1.7, bias=bias) for each in heard]
    np.testing.assert_allclose(Windows.of(heard).probabilities(1.7, bias), expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [0.5, 2.5])
def test_the_temperature_undoes_a_known_scaling(scale: float) -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 1.5, (800, 4))
    shares = np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)
    labels = (shares.cumsum(axis=1) < rng.random((800, 1))).sum(axis=1)
    fitted = fit_temperature(outcome(scale * true, labels))
    assert fitted == pytest.approx(scale, rel=0.1)


GOOD, BAD = (0.8, 0.1), (1.6, 0.4)
"""Temperature that a speaker needs, and how often the answer is then wrong."""


def of_speakers(*speakers: tuple[float, float]) -> Outcome:
    """Twenty utterances of each, of two classes; as often right as the odds say if calibrated."""
    logits, labels, utterances = [], [], []
    for name, (temperature, wrong) in enumerate(speakers):
        logits += [[temperature * np.log((1 - wrong) / wrong), 0.0]] * 20
        labels += [int(index < round(20 * wrong)) for index in range(20)]
        utterances += [Utterance(Path("x"), "e0", speaker=f"s{name}")] * 20
    made = outcome(np.array(logits), np.array(labels))
    return replace(made, utterances=utterances)


def test_the_temperature_is_that_of_the_speakers_who_are_heard_worst() -> None:
    heard = of_speakers(*[GOOD] * 4, BAD, BAD)
    assert fit_temperature(heard) == pytest.approx(1.6, rel=0.05)
    assert 0.8 < fit_temperature(heard, worst=1.0) < 1.4


def test_where_speakers_are_alike_the_worst_need_what_all_need() -> None:
    heard = of_speakers(*[(1.3, 0.3)] * 6)
    assert fit_temperature(heard) == fit_temperature(heard, worst=1.0)
    assert fit_temperature(heard) == pytest.approx(1.3, rel=0.05)


def test_few_or_nameless_speakers_count_all_alike() -> None:
    few = of_speakers(*[GOOD] * 4, BAD)
    assert fit_temperature(few) == fit_temperature(few, worst=1.0)
    nameless = of_speakers(*[GOOD] * 4, BAD, BAD)
    nameless.utterances[0] = Utterance(Path("x"), "e0")
    assert fit_temperature(nameless) == fit_temperature(nameless, worst=1.0)


def test_the_error_is_zero_where_confidence_is_accuracy() -> None:
    probabilities = np.array([[0.75, 0.25]] * 4)
    assert expected_calibration_error(probabilities, np.array([0, 0, 0, 1])) == 0


def test_the_error_is_the_mean_gap_of_the_bins() -> None:
    confidence = np.array([0.95, 0.95, 0.65, 0.65, 0.65, 0.65, 0.65, 0.65])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    labels = np.array([0, 1, 0, 0, 0, 0, 0, 0])
    # A quarter is .95 sure and half right, the rest is .65 sure and always right.
    expected = 0.25 * abs(0.95 - 0.5) + 0.75 * abs(0.65 - 1)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(expected)


def test_full_confidence_belongs_to_the_last_bin() -> None:
    probabilities = np.array([[1.0, 0.0], [0.99, 0.01]])
    error = expected_calibration_error(probabilities, np.array([0, 1]))
    assert error == pytest.approx(0.995 - 0.5)


def test_the_threshold_leaves_answers_of_which_80_percent_are_right() -> None:
    confidence = [0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.52]
    right = [True, True, True, True, False, True, True, True, False, False]
    # Of the first eight 7 are right, of nine 7 (.78), of ten 7.
    assert choose_threshold(of_confidence(confidence, right), 1.0) == pytest.approx(0.6, abs=1e-3)


def test_forty_percent_are_answered_in_any_case() -> None:
    confidence = [0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.52]
    everything_wrong = of_confidence(confidence, [False] * 10)
    assert choose_threshold(everything_wrong, 1.0) == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("confidence", [0.6004, 0.6006, 0.6009])
def test_the_last_one_to_be_answered_is_not_under_the_threshold(confidence: float) -> None:
    threshold = choose_threshold(of_confidence([confidence] * 5, [True] * 5), 1.0)
    assert confidence - 0.001 < threshold <= confidence


def test_the_threshold_is_of_calibrated_confidence() -> None:
    heard = of_confidence([0.9, 0.9, 0.9], [True] * 3)  # odds of nine to one, and of three to one
    assert choose_threshold(heard, 2.0) == pytest.approx(0.75, abs=1e-3)
    even = choose_threshold(heard, 2.0, bias=[0.0, np.log(3)])
    assert even == pytest.approx(0.5, abs=1e-3)
