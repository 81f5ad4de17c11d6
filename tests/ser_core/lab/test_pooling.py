"""What a window is padded with is neither heard, nor counted, nor pooled."""

import keras
import numpy as np
import pytest

from ser_core.lab.pooling import (
    AttentiveStatistics,
    DownsampleMask,
    FrameMask,
    LevelNormalisation,
    PeakNormalised,
    Sounding,
    Trimmed,
)

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def test_samples_past_the_length_become_zero() -> None:
    waveform = np.array([[1, 2, 3, 4], [5, 6, np.nan, np.inf]], np.float32)
    trimmed = Trimmed()([waveform, np.array([[4], [2]], np.int32)])
    np.testing.assert_array_equal(trimmed, [[1, 2, 3, 4], [5, 6, 0, 0]])


@pytest.mark.parametrize(
    ("length", "sound"), [(0, 1), (1, 1), (256, 1), (257, 2), (1024, 4), (1025, 5), (9999, 5)]
)
def test_a_frame_counts_when_it_begins_within_the_sound(length: int, sound: int) -> None:
    mask = FrameMask(frames=5, hop=256)(np.array([[length]], np.int32))
    np.testing.assert_array_equal(mask, [[1] * sound + [0] * (5 - sound)])


def test_the_loudest_point_is_the_same_for_every_level() -> None:
    decibels = 20 * normal(2, 6, 4)
    mask = np.ones((2, 6), np.float32)
    plain = LevelNormalisation()([decibels, mask])
    louder = LevelNormalisation()([decibels + 20, mask])
    np.testing.assert_allclose(louder, plain, atol=1e-6)
    np.testing.assert_allclose(keras.ops.mean(plain, axis=(1, 2)), 0, atol=1e-6)


def test_what_lies_70_db_under_the_peak_is_cut_off() -> None:
    decibels = np.array([[[0.0, -60.0], [-30.0, -110.0]]], np.float32)
    normalised = LevelNormalisation()([decibels, np.ones((1, 2), np.float32)])
    # Relative to the mean of 0, -60, -30 and -70, which is -40, in units of 20 dB.
    np.testing.assert_allclose(normalised, [[[2.0, -1.0], [0.5, -1.5]]], atol=1e-6)


def test_how_silent_a_pause_is_changes_nothing_of_the_rest() -> None:
    speech = 5 * normal(1, 6, 4)
    noisy, silent = speech.copy(), speech.copy()
    noisy[:, 2:4] -= 50
    silent[:, 2:4] -= 90
    mask = np.ones((1, 6), np.float32)
    first, second = (np.asarray(LevelNormalisation()([x, mask])) for x in (noisy, silent))
    np.testing.assert_allclose(first[:, [0, 1, 4, 5]], second[:, [0, 1, 4, 5]], atol=1e-5)


def test_what_surrounds_the_voice_is_not_sound_and_pauses_are() -> None:
    levels = np.array([-50.0, -36.0, -20.0, -80.0, 0.0, -34.0, -90.0, 30.0], np.float32)
    decibels = np.repeat(levels[None, :, None], 3, axis=2)
    mask = np.array([[1, 1, 1, 1, 1, 1, 1, 0]], np.float32)
    np.testing.assert_array_equal(Sounding()([decibels, mask]), [[0, 0, 1, 1, 1, 1, 0, 0]])


def test_something_sounds_in_a_window_without_any_sound() -> None:
    decibels = np.full((1, 4, 3), -100.0, np.float32)
    mask = np.array([[1, 0, 0, 0]], np.float32)
    np.testing.assert_array_equal(Sounding()([decibels, mask]), mask)


def test_a_quiet_waveform_is_as_loud_as_any_and_silence_stays_silence() -> None:
    waveform = np.array([[0.002, -0.004, 0.0], [0.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(
        PeakNormalised()(waveform), [[0.5, -1.0, 0.0], [0.0, 0.0, 0.0]], atol=1e-6
    )


def test_the_mean_of_each_band_can_be_removed() -> None:
    normalised = LevelNormalisation(per_band=True)(
        [10 * normal(3, 8, 5), np.ones((3, 8), np.float32)]
    )
    np.testing.assert_allclose(keras.ops.mean(normalised, axis=1), 0, atol=1e-6)


@pytest.mark.parametrize("per_band", [False, True])
@pytest.mark.parametrize("filling", [-100.0, 0.0, 60.0])
def test_padding_does_not_move_the_normalisation(per_band: bool, filling: float) -> None:
    layer = LevelNormalisation(per_band=per_band)
    sound = 10 * normal(1, 20, 4)
    alone = layer([sound, np.ones((1, 20), np.float32)])
    window = np.concatenate([sound, np.full((1, 30, 4), filling, np.float32)], axis=1)
    padded = layer([window, np.repeat([1.0, 0.0], [20, 30])[None].astype(np.float32)])
    np.testing.assert_allclose(padded[:, :20], alone, atol=1e-6)
    np.testing.assert_array_equal(padded[:, 20:], 0)


def test_a_mask_is_halved_as_a_convolution_of_stride_2_halves_its_input() -> None:
    for frames in (7, 8):
        convolution = keras.layers.Conv1D(1, 3, 2, padding="same")
        mask = np.ones((1, frames), np.float32)
        mask[0, 5:] = 0
        halved = DownsampleMask()(mask)
        assert halved.shape == convolution(mask[..., None]).shape[:2]
        np.testing.assert_array_equal(halved[0], [1, 1, 1, 0])


def test_padding_does_not_move_the_pooling() -> None:
    layer = AttentiveStatistics()
    sound = normal(1, 12, 6)
    alone = layer([sound, np.ones((1, 12), np.float32)])
    assert alone.shape == (1, 12)
    window = np.concatenate([sound, 5 * normal(1, 9, 6)], axis=1)
    padded = layer([window, np.repeat([1.0, 0.0], [12, 9])[None].astype(np.float32)])
    np.testing.assert_allclose(padded, alone, atol=1e-5)


def test_even_weights_give_mean_and_standard_deviation() -> None:
    layer = AttentiveStatistics()
    x = normal(2, 40, 4)
    layer([x, np.ones((2, 40), np.float32)])
    layer.set_weights([np.zeros_like(weights) for weights in layer.get_weights()])
    pooled = layer([x, np.ones((2, 40), np.float32)])
    np.testing.assert_allclose(pooled[:, :4], x.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(pooled[:, 4:], x.std(axis=1), atol=1e-4)


def test_a_feature_that_never_moves_has_a_finite_spread() -> None:
    pooled = AttentiveStatistics()([np.ones((1, 10, 2), np.float32), np.ones((1, 10), np.float32)])
    np.testing.assert_allclose(pooled, [[1, 1, 1e-3, 1e-3]], atol=1e-5)
