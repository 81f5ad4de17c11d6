"""Augmentations by name: what each does, how far, and that a seed decides."""

import random

import numpy as np
import pytest

from ser_core.lab.augmentations import (
    AUGMENTATIONS,
    AugmentationError,
    change,
    drawn_strength,
    parse_list,
)
from tests.sounds import Signal, noise, tone, voice

RATE = 16_000


def power(signal: Signal, low: float, high: float) -> float:
    """Between two frequencies."""
    spectrum = np.abs(np.fft.rfft(signal)) ** 2
    hertz = np.fft.rfftfreq(len(signal), 1 / RATE)
    return float(spectrum[(hertz >= low) & (hertz < high)].sum()) / len(signal) ** 2


def strongest(signal: Signal) -> float:
    """Hz of the strongest partial."""
    return float(np.abs(np.fft.rfft(signal)).argmax() / len(signal) * RATE)


def decibels(ratio: float) -> float:
    return float(10 * np.log10(ratio))


@pytest.mark.parametrize("sampling_rate", [16_000, 44_100])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_seed_decides_what_is_heard(name: str, sampling_rate: int) -> None:
    signal = voice(0.5, sampling_rate=sampling_rate)
    before = signal.copy()
    once, again, other = (change(name)(signal, sampling_rate, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert once.shape != other.shape or not np.array_equal(once, other)
    assert once.dtype == np.float32
    assert np.isfinite(once).all()
    assert name == "stretch" or once.shape == signal.shape
    np.testing.assert_array_equal(signal, before)


def test_the_generators_of_others_are_left_as_they_were() -> None:
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.random()
    random.seed(5)
    np.random.seed(5)
    change("noise")(voice(0.2), RATE, 1)
    assert (random.random(), np.random.random()) == expected


def test_noise_lies_as_far_under_the_voice_as_asked() -> None:
    signal = voice(1.0)
    added = change("noise:12")(signal, RATE, 0) - signal
    assert decibels(np.mean(signal**2) / np.mean(added**2)) == pytest.approx(12, abs=0.3)


def test_another_tempo_leaves_the_pitch() -> None:
    changed = change("stretch:2")(tone(1.0, 440.0), RATE, 0)
    assert len(changed) == pytest.approx(RATE / 2, rel=0.01)
    assert strongest(changed) == pytest.approx(440, rel=0.02)


def test_another_pitch_leaves_the_tempo() -> None:
    changed = change("pitch:12")(tone(1.0, 440.0), RATE, 0)
    assert len(changed) == RATE
    assert strongest(changed) == pytest.approx(880, rel=0.02)


def test_a_shift_moves_the_end_to_the_beginning() -> None:
    signal = noise(1.0)
    changed = change("shift:0.25")(signal, RATE, 0)
    # Where the ends meet it fades for 5 ms.
    np.testing.assert_array_equal(changed[4_200:15_800], signal[200:11_800])
    np.testing.assert_array_equal(changed[100:3_900], signal[12_100:15_900])


def test_gain_is_in_decibels() -> None:
    signal = voice(0.5)
    np.testing.assert_allclose(change("gain:-20")(signal, RATE, 0), signal / 10, rtol=1e-4)


def test_the_telephone_leaves_300_to_3400_hz() -> None:
    signal = noise(1.0)
    changed = change("telephone:24")(signal, RATE, 0)
    kept = power(changed, 600, 3000) / power(signal, 600, 3000)
    assert decibels(kept) == pytest.approx(0, abs=1)
    for low, high in ((0, 100), (7000, 8000)):
        assert decibels(power(changed, low, high) / power(signal, low, high)) < -20


def test_a_codec_keeps_the_voice_and_loses_detail() -> None:
    signal = voice(1.0)
    coarse, fine = (change(f"codec:{rate}")(signal, RATE, 0) for rate in (8, 128))
    for changed in (coarse, fine):
        level = decibels(power(changed, 100, 2000) / power(signal, 100, 2000))
        assert level == pytest.approx(0, abs=3)
        assert not np.array_equal(changed, signal)


def test_every_codec_can_be_written() -> None:
    # Which of the three is drawn, the seed decides.
    spectra = [power(change("codec:16")(noise(0.5), RATE, seed), 0, 8000) for seed in range(12)]
    assert len({round(value, 9) for value in spectra}) == 3


def test_a_room_goes_on_sounding() -> None:
    signal = noise(1.0)
    signal[RATE // 2 :] = 0
    changed = change("room:0.6")(signal, RATE, 0)
    before, after = changed[: RATE // 2], changed[RATE // 2 + 1600 :]
    assert -25 < decibels(np.mean(after**2) / np.mean(before**2)) < -5


def test_equalising_changes_the_colour_within_its_range() -> None:
    signal = noise(1.0)
    changed = change("eq:6")(signal, RATE, 1)
    bands = [(100, 300), (300, 800), (800, 2000), (2000, 6000)]
    gains = [decibels(power(changed, *band) / power(signal, *band)) for band in bands]
    assert max(gains) - min(gains) > 1
    assert max(np.abs(gains)) < 9


def test_what_is_drawn_can_be_asked() -> None:
    signal = voice(0.5)
    drawn = [drawn_strength("gain", seed) for seed in range(20)]
    assert min(drawn) < -6 < 6 < max(drawn)
    for seed in range(3):
        expected = signal * 10 ** (drawn[seed] / 20)
        np.testing.assert_allclose(change("gain")(signal, RATE, seed), expected, rtol=1e-4)
    # Filters are of whole poles.
    assert {drawn_strength("telephone", seed) for seed in range(20)} == {12, 18, 24}


def test_a_list_is_checked_part_by_part() -> None:
    assert parse_list("noise,pitch:-2..2, gain:3") == ("noise", "pitch:-2..2", "gain:3")
    assert parse_list("") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("echo", "no augmentation is called 'echo'; there are noise, stretch, .*as in pitch:-2..2"),
        ("noise,pitch:up", "'pitch:up'"),
        ("pitch:2..-2", "must rise and lie in -12..12 semitones"),
        ("pitch:0..40", "'pitch:0..40' must rise"),
        ("noise:1.2.3", "no augmentation is called 'noise:1.2.3'"),
        ("noise,noise", "twice"),
    ],
)
def test_what_is_no_augmentation_is_refused_with_what_would_work(text: str, message: str) -> None:
    with pytest.raises(AugmentationError, match=message):
        parse_list(text)
