"""A bundle's bias moves every answer, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from ser_core import Recognizer
from ser_core.prediction import Heard
from ser_core.recognizer import Span
from tests.api import fakes
from tests.sounds import voice


def biased(emotion: str, by: float) -> Recognizer:
    """The made-up model, with a bias on one emotion."""
    recognizer = fakes.recognizer()
    bias = tuple(by * (name == emotion) for name in fakes.PROBABILITIES)
    return Recognizer(replace(recognizer.bundle, bias=bias), recognizer._pool)


def test_a_bias_multiplies_the_odds_of_its_emotion_everywhere() -> None:
    prediction = biased("sad", float(np.log(83))).predict(voice(7.0), 16_000)
    # sad was .01 and is now as probable as happy, which was .83.
    assert prediction.probabilities["sad"] == pytest.approx(0.83 / (1 - 0.01 + 0.83), abs=1e-4)
    assert prediction.probabilities["sad"] == pytest.approx(prediction.probabilities["happy"])
    for segment in prediction.segments:
        assert segment.probabilities == pytest.approx(prediction.probabilities)


def test_marked_parts_and_speakers_are_biased_as_well() -> None:
    spans = [Span(0.0, 2.0, "A"), Span(2.0, 4.0, "B")]
    prediction = biased("sad", 9.0).predict(voice(4.0), 16_000, spans=spans)
    assert [segment.emotion for segment in prediction.segments] == ["sad", "sad"]
    assert {summary.emotion for summary in prediction.speakers.values()} == {"sad"}


def test_without_a_bias_nothing_changes() -> None:
    plain, unmoved = fakes.recognizer(), biased("sad", 0.0)
    expected = plain.predict(voice(4.0), 16_000)
    assert unmoved.predict(voice(4.0), 16_000).probabilities == pytest.approx(
        expected.probabilities, abs=1e-12
    )


def test_the_bias_comes_after_the_temperature() -> None:
    logits = np.log(np.array([[0.8, 0.2]], np.float32))
    heard = Heard(3.0, np.array([[0.0, 3.0]]), logits, np.ones(1))
    # Odds of 4 to 1 become 2 to 1 at a temperature of 2, then 1 to 1.
    assert heard.overall(2.0, bias=[0.0, np.log(2)]) == pytest.approx([0.5, 0.5], abs=1e-6)
