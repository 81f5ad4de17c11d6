"""Features over time: right for what is known, and comparable between clips."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from ser_core.lab import explore_panels, plots
from tests.sounds import Signal, silence, tone, voice


def test_what_is_measured_over_time_is_right_for_a_tone() -> None:
    measured = explore_panels.measure(tone(1.0, hertz=1000, level=0.5))
    middle = slice(5, -5)
    np.testing.assert_allclose(measured["centroid"][middle], 1000, atol=15)
    np.testing.assert_allclose(measured["ZCR"][middle], 2000 / 16_000, atol=0.003)
    np.testing.assert_allclose(measured["RMS"][middle], 0.5 / np.sqrt(2), rtol=0.01)
    np.testing.assert_allclose(measured["envelope"][middle], 0.5, rtol=0.01)
    assert measured["BER"][middle].min() > 40
    assert measured["flux"][middle].max() < 0.01


def test_where_nobody_speaks_there_is_no_spectrum_to_measure() -> None:
    sound = np.concatenate([silence(0.5), voice(0.5), silence(0.5)])
    hiss = np.random.default_rng(0).normal(0, 1e-4, len(sound)).astype(np.float32)
    measured = explore_panels.measure(sound + hiss)
    for name in ("centroid", "flux", "BER"):
        values = measured[name]
        assert np.isnan(values[:25]).all()
        assert np.isfinite(values[40:55]).all()
        assert np.isnan(values[-25:]).all()


def test_the_first_frame_has_changed_from_nothing() -> None:
    flux = explore_panels.measure(tone(1.0, hertz=1000, level=0.5))["flux"]
    assert np.isnan(flux).tolist() == [True] + [False] * (len(flux) - 1)


@pytest.fixture
def clips() -> dict[str, Signal]:
    """One voice, and the same a tenth as loud."""
    loud = voice(1.0)
    return {"angry": loud, "sad": loud / 10}


def test_colours_stand_for_the_same_in_every_clip(clips: dict[str, Signal]) -> None:
    loud, quiet = explore_panels.images(clips).values()
    for one, other in zip(loud, quiet, strict=True):
        assert (one.darkest, one.brightest) == (other.darkest, other.brightest)
    for place in (0, 1, 4):
        assert loud[place].values.max() == pytest.approx(loud[place].brightest)
        assert quiet[place].values.max() == pytest.approx(loud[place].brightest - 20, abs=0.1)


def test_a_quiet_clip_is_drawn_smaller(
    clips: dict[str, Signal], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "picture", lambda figure, _: drawn.append(figure) or "")
    explore_panels.panels(clips)
    for place in (0, 11):
        loud, quiet = (
            max(float(np.max(line.get_ydata())) for line in figure.axes[place].lines)
            for figure in drawn
        )
        assert loud == pytest.approx(1)
        assert quiet == pytest.approx(0.1)
