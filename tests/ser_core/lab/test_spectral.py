"""Augmentation of log-mel."""

from collections.abc import Callable
from dataclasses import fields

import librosa
import numpy as np
import pytest

from ser_core.lab.spectral import (
    SpectralAugmentation,
    add_noise,
    change_tempo,
    equalise,
    mask,
    overlay,
    shift_pitch,
    telephone,
)

FREQUENCIES = librosa.mel_frequencies(66, fmin=50, fmax=8000)[1:-1]
NOTHING = SpectralAugmentation(
    tempo=0, pitch=0, equaliser=0, noise=0, band_limit=0, time_masks=0, frequency_masks=0
)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def log_mel(frames: int = 100) -> np.ndarray:
    return (10 * generator(1).normal(size=(frames, 64)) - 30).astype(np.float32)


def peak_at(band: int, frames: int = 100) -> np.ndarray:
    """A hump 40 dB high over a floor of -80 dB."""
    hump = -80 + 40 * np.exp(-(((np.arange(64) - band) / 4) ** 2))
    return np.tile(hump.astype(np.float32), (frames, 1))


@pytest.mark.parametrize(("factor", "frames"), [(1.25, 80), (0.8, 125), (1.0, 100)])
def test_tempo_stretches_time(factor: float, frames: int) -> None:
    x = log_mel()
    x[40] = 50
    changed = change_tempo(x, factor)
    assert changed.shape == (frames, 64)
    assert changed.dtype == np.float32
    assert changed.mean(axis=1).argmax() == 40 / factor


def test_tempo_interpolates_between_frames() -> None:
    x = np.array([[0.0], [10.0], [20.0], [30.0]], np.float32)
    np.testing.assert_allclose(change_tempo(x, 0.5).ravel(), [0, 5, 10, 15, 20, 25, 30, 30])


@pytest.mark.parametrize("factor", [0.85, 0.93, 1.07, 1.15])
@pytest.mark.parametrize("band", [20, 40, 50])
def test_pitch_moves_a_peak_to_its_new_frequency(factor: float, band: int) -> None:
    changed = shift_pitch(peak_at(band), FREQUENCIES, factor)
    assert changed.shape == (100, 64)
    expected = np.abs(FREQUENCIES - FREQUENCIES[band] * factor).argmin()
    assert expected != band
    assert (changed.argmax(axis=1) == expected).all()
    assert changed.max() > -42


def test_no_shift_and_no_stretch_change_nothing() -> None:
    x = log_mel()
    np.testing.assert_allclose(shift_pitch(x, FREQUENCIES, 1.0), x, atol=1e-4)
    np.testing.assert_array_equal(change_tempo(x, 1.0), x)


def test_an_equaliser_is_the_same_smooth_curve_on_every_frame() -> None:
    x = log_mel()
    for seed in range(20):
        curve = equalise(x, 6.0, generator(seed)) - x
        np.testing.assert_allclose(curve, np.tile(curve[0], (100, 1)), atol=1e-4)
        assert 0 < np.abs(curve[0]).max() <= 12
        assert np.abs(np.diff(curve[0])).max() < 1.5


def test_noise_fills_the_gaps_and_leaves_the_peaks() -> None:
    x = peak_at(30)
    for seed in range(20):
        noisy = add_noise(x, generator(seed))
        assert noisy.shape == x.shape
        assert (noisy >= x - 1e-3).all()
        raised = noisy[:, 60] - x[:, 60]
        assert raised.min() >= 0
        assert np.median(noisy[:, 30]) - x[0, 30] < 1
    levels = [np.median(add_noise(x, generator(seed))) for seed in range(20)]
    assert np.ptp(levels) > 10


def test_noise_is_added_in_power() -> None:
    class Fixed:
        """Noise of 0 dB in every band."""

        def uniform(self, low: float, high: float) -> float:
            return -10.0 if (low, high) == (5, 45) else 0.0

        def exponential(self, scale: float, shape: tuple[int, ...]) -> np.ndarray:
            return np.full(shape, 1 - 1e-3)

    doubled = add_noise(np.zeros((5, 4), np.float32), Fixed())  # type: ignore[arg-type]
    np.testing.assert_allclose(doubled, 10 * np.log10(2), atol=1e-3)


def test_a_telephone_leaves_300_to_3400_hz() -> None:
    x = log_mel()
    heard = telephone(x, FREQUENCIES)
    inside = (FREQUENCIES >= 300) & (FREQUENCIES <= 3400)
    assert 20 < inside.sum() < 50
    np.testing.assert_array_equal(heard[:, inside], x[:, inside])
    assert heard[:, ~inside].max() <= x.max() - 70


def test_masks_are_narrow_and_filled_with_the_mean() -> None:
    x = log_mel()
    for seed in range(20):
        masked = mask(x, 2, 2, generator(seed))
        changed = masked != x
        np.testing.assert_allclose(masked[changed], x.mean(), rtol=1e-6)
        times = changed.mean(axis=1) > 0.9
        bands = changed.mean(axis=0) > 0.9
        assert times.sum() <= 40
        assert bands.sum() <= 16
        np.testing.assert_array_equal(changed, times[:, None] | bands[None])


def test_a_short_clip_keeps_most_of_its_frames() -> None:
    for seed in range(20):
        changed = mask(log_mel(8), 1, 0, generator(seed)) != log_mel(8)
        assert changed.any(axis=1).sum() <= 2


def test_all_switched_off_changes_nothing() -> None:
    x = log_mel()
    np.testing.assert_allclose(NOTHING(x, FREQUENCIES, generator()), x, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 7, 188, 375])
def test_clips_of_every_length_stay_finite(frames: int) -> None:
    augment = SpectralAugmentation(noise=1, band_limit=1)
    for seed in range(5):
        changed = augment(log_mel(frames), FREQUENCIES, generator(seed))
        assert changed.dtype == np.float32
        assert changed.shape[1] == 64
        assert abs(len(changed) - frames) <= max(1, 0.2 * frames)
        assert np.isfinite(changed).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda x, rng: equalise(x, 6.0, rng),
        add_noise,
        lambda x, rng: mask(x, 2, 2, rng),
        lambda x, rng: SpectralAugmentation()(x, FREQUENCIES, rng),
    ],
)
def test_the_same_seed_gives_the_same_and_another_another(change: Callable) -> None:
    x = log_mel()
    np.testing.assert_array_equal(change(x, generator(5)), change(x, generator(5)))
    other = change(x, generator(6))
    assert other.shape != change(x, generator(5)).shape or (other != change(x, generator(5))).any()
    np.testing.assert_array_equal(x, log_mel())


def test_other_voices_fill_pauses_and_leave_what_is_far_louder() -> None:
    x = np.full((50, 4), -80.0, np.float32)
    x[10:20] = 0.0
    other = np.full((7, 4), -25.0, np.float32)
    heard = overlay(x, [other], generator(0))
    pauses = np.delete(heard, np.s_[10:20], axis=0)
    np.testing.assert_allclose(pauses, pauses[0, 0], atol=1e-3)
    assert -30.1 < pauses[0, 0] < -2.9
    np.testing.assert_allclose(heard[10:20], 0.0, atol=3.0)
    assert heard.dtype == np.float32


def test_milder_is_weaker_in_everything() -> None:
    strong = SpectralAugmentation()
    milder = strong.milder()
    assert all(getattr(milder, f.name) < getattr(strong, f.name) for f in fields(strong))
    off = SpectralAugmentation(**{f.name: 0 for f in fields(strong)})
    assert off.milder() == off
