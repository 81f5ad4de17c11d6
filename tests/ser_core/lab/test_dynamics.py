"""How a voice moves: right on contours whose answer is known, blind to the channel."""

from typing import Any

import numpy as np
import pytest

from ser_core.lab.dynamics import CEPSTRA, FLOORS, LAG, PARTS, RATES, Contours, dynamics

RATE, FRAMES, BANDS = 62.5, 150, 64
PAIRS = len(FLOORS) * (len(FLOORS) - 1) // 2
LEVEL = CEPSTRA
"""Places of the level among the descriptors, and of what is found of it."""
WITH_ITSELF = PAIRS + len(FLOORS)
WITH_RISE = WITH_ITSELF + len(FLOORS)
MODULATION = WITH_RISE + len(FLOORS)
CONTOURS = 7
DURATIONS = slice(-3, None)


def contours(**changed: Any) -> Contours:
    """Of one recording: everything at rest but what is `changed`."""
    rest = np.zeros((1, FRAMES), np.float32)
    usual = {
        "relative": np.full((1, FRAMES, BANDS), -20, np.float32),
        "mfcc": np.zeros((1, FRAMES, 20), np.float32),
        **dict.fromkeys(("level", "octaves", "voicing", "flux"), rest),
        **dict.fromkeys(("speech", "voiced", "mask"), rest + 1),
    }
    given = {name: np.asarray(x, np.float32) for name, x in changed.items()}
    return Contours(**{**usual, **given})


def found(**changed: Any) -> np.ndarray:
    return np.asarray(dynamics(contours(**changed), RATE))[0]


def pair(first: int, second: int) -> int:
    rows, columns = np.triu_indices(len(FLOORS), 1)
    return int(np.flatnonzero((rows == first) & (columns == second))[0])


def cepstra(first: np.ndarray) -> np.ndarray:
    mfcc = np.zeros((1, FRAMES, 20), np.float32)
    mfcc[0, :, 0] = first
    return mfcc


WAVE = 10 * np.sin(2 * np.pi * 3 * np.arange(FRAMES) / RATE)


@pytest.mark.parametrize("sign", [1, -1])
def test_what_goes_together_is_correlated(sign: int) -> None:
    correlation = found(mfcc=cepstra(WAVE), level=sign * WAVE[None])[pair(0, LEVEL)]
    assert correlation == pytest.approx(sign, abs=0.03)


def test_a_constant_in_a_band_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    mfcc, octaves = rng.normal(0, 5, (1, FRAMES, 20)), rng.uniform(0, 2, (1, FRAMES))
    relative = rng.uniform(-40, -10, (1, FRAMES, BANDS))
    one = found(mfcc=mfcc, octaves=octaves, relative=relative)
    other = found(mfcc=mfcc + 7, octaves=octaves + 1, relative=relative - 6)
    np.testing.assert_allclose(one, other, atol=2e-3)


def test_what_is_outside_the_recording_does_not_count() -> None:
    rng = np.random.default_rng(0)
    mask = (np.arange(FRAMES) < 100)[None]
    inside = {"mask": mask, "speech": mask, "voiced": mask}
    mfcc, level = rng.normal(0, 5, (1, FRAMES, 20)), rng.uniform(-30, 0, (1, FRAMES))
    one = found(mfcc=mfcc, level=level, **inside)
    level[:, 110:], mfcc[:, 110:] = 0, 99
    np.testing.assert_allclose(one, found(mfcc=mfcc, level=level, **inside), atol=1e-4)


@pytest.mark.parametrize("hertz", [1.0, 3.0, RATE / 8])
def test_a_wave_resembles_itself_later_as_its_cosine_says(hertz: float) -> None:
    level = 10 * np.sin(2 * np.pi * hertz * np.arange(FRAMES) / RATE)
    cosine = np.cos(2 * np.pi * hertz * LAG / RATE)
    assert found(level=level[None])[WITH_ITSELF + LEVEL] == pytest.approx(cosine, abs=0.1)


@pytest.mark.parametrize(("hertz", "band"), [(1.25, 0), (2.9, 1), (5.8, 2), (12.5, 3), (25.0, 4)])
def test_modulation_is_found_in_its_band(hertz: float, band: int) -> None:
    level = 10 * np.sin(2 * np.pi * hertz * np.arange(FRAMES) / RATE)
    end = MODULATION + CONTOURS * (len(RATES) - 1)
    shares = np.exp(found(level=level[None])[MODULATION:end]).reshape(-1, CONTOURS)[:, 0]
    assert shares.argmax() == band
    assert shares[band] > 0.8


def test_a_wave_is_low_before_it_rises() -> None:
    radians = 2 * np.pi * 8 / RATE * (LAG / 4)  # to the middle of the rise, which takes half a lag
    level = 10 * np.sin(2 * np.pi * 8 * np.arange(FRAMES) / RATE)
    with_rise = found(level=level[None])[WITH_RISE + LEVEL]
    assert with_rise == pytest.approx(-np.sin(radians), abs=0.05)


def test_a_rise_shows_in_the_parts() -> None:
    rise = np.linspace(-30, 0, FRAMES)[None]
    end = MODULATION + CONTOURS * (len(RATES) - 1)
    levels = found(level=rise)[end:].tolist()[4 : 6 * PARTS : 6]
    assert levels == pytest.approx([-10, 0, 10], abs=0.5)


def test_durations_are_of_stretches_pauses_and_the_whole() -> None:
    speech = np.ones((1, FRAMES))
    speech[:, 40:60] = 0
    durations = found(speech=speech, voiced=speech)[DURATIONS]
    np.testing.assert_allclose(np.exp(durations) - 1, [65, 20, FRAMES], rtol=1e-3)


def test_where_nothing_is_said_all_are_numbers() -> None:
    silence = np.zeros((1, FRAMES))
    assert np.isfinite(found(mask=silence, speech=silence, voiced=silence)).all()
