"""Changes to a waveform: what they move, and what they leave."""

import numpy as np
import pytest

from ser_core.lab import augment
from tests.sounds import tone, voice

RATE = 16_000


def peak(signal: np.ndarray) -> float:
    return float(np.fft.rfftfreq(len(signal), 1 / RATE)[np.abs(np.fft.rfft(signal)).argmax()])


def test_speed_moves_pitch_and_length_alike() -> None:
    signal = tone(1.0)
    changed = augment.change_speed(signal, RATE, np.random.default_rng(1))
    ratio = len(signal) / len(changed)
    assert ratio != 1
    assert peak(changed) == pytest.approx(peak(signal) * ratio, rel=0.02)


def test_noise_comes_at_the_signal_to_noise_ratio_asked_for() -> None:
    signal = voice(1.0)
    changed = augment.add_noise(signal, RATE, np.random.default_rng(0), snr=(10, 10))
    ratio = 20 * np.log10(np.std(signal) / np.std(changed - signal))
    assert ratio == pytest.approx(10, abs=0.1)


def test_other_voices_come_at_the_ratio_asked_for_whatever_their_length_and_level() -> None:
    signal, others = voice(1.0), [0.01 * voice(0.3, pitch=200), 3 * voice(2.0, pitch=90)]
    changed = augment.overlay(signal, others, np.random.default_rng(0), snr=(5, 5))
    assert changed.shape == signal.shape
    assert 20 * np.log10(np.std(signal) / np.std(changed - signal)) == pytest.approx(5, abs=0.1)


def test_the_telephone_keeps_its_band_only() -> None:
    signal = augment.telephone(
        np.random.default_rng(0).normal(size=RATE).astype(np.float32), RATE, np.random.default_rng()
    )
    frequencies = np.fft.rfftfreq(len(signal), 1 / RATE)
    power = np.abs(np.fft.rfft(signal)) ** 2
    inside = (frequencies >= 300) & (frequencies <= 3400)
    assert power[~inside].sum() < 1e-6 * power[inside].sum()


@pytest.mark.parametrize("change", [augment.equalise, augment.add_noise, augment.telephone])
def test_length_and_type_stay(change: object) -> None:
    signal = voice(0.5)
    changed = change(signal, RATE, np.random.default_rng(0))  # type: ignore[operator]
    assert changed.shape == signal.shape
    assert changed.dtype == np.float32
    assert not np.array_equal(changed, signal)
