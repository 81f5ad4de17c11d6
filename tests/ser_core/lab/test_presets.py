"""What can be trained, by name."""

from dataclasses import replace

import librosa
import numpy as np
import pytest

from ser_core.emotions import EMOTIONS_7, EMOTIONS_8
from ser_core.lab.presets import DEFAULT, PRESETS, SPECTRAL, preset
from tests.sounds import voice

SMALL = replace(
    DEFAULT, name="small", window=0.5, bands=16, options={"channels": (4, 8), "embedding": 8}
)


def test_presets_are_found_by_name() -> None:
    assert preset("residual-cnn").emotions == EMOTIONS_7
    assert preset("residual-cnn-8").emotions == EMOTIONS_8
    assert all(name == preset.name for name, preset in PRESETS.items())


def test_an_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no preset 'transformer'; there are .*residual-cnn"):
        preset("transformer")


@pytest.mark.parametrize("chosen", SPECTRAL, ids=lambda chosen: chosen.name)
def test_every_preset_is_small_enough_to_serve(chosen) -> None:
    model = chosen.build()
    assert model.output_shape == (None, len(chosen.emotions))
    assert model.count_params() <= 2_000_000


def test_a_teacher_is_larger_and_has_none_itself() -> None:
    taught = replace(DEFAULT, teachers=2)
    assert taught.teacher.teachers == 0
    assert taught.teacher.schedule.epochs == 40
    sizes = [design.build().count_params() for design in (taught.teacher, taught)]
    assert sizes == [1_309_671, 573_591]


def test_a_window_has_the_frames_of_its_log_mel() -> None:
    assert (DEFAULT.samples, DEFAULT.frames) == (48_000, 188)
    assert DEFAULT.log_mel()(np.zeros((1, 48_000), np.float32)).shape == (1, 188, 64)
    assert SMALL.log_mel()(np.zeros((1, SMALL.samples), np.float32)).shape[1] == SMALL.frames


def test_the_bands_lie_where_the_filters_peak() -> None:
    filters = librosa.filters.mel(sr=16_000, n_fft=16_384, n_mels=64, fmin=50, fmax=8000)
    peaks = filters.argmax(axis=1) * 16_000 / 16_384
    np.testing.assert_allclose(DEFAULT.frequencies, peaks, atol=1)


def test_the_whole_model_hears_what_the_network_was_trained_on() -> None:
    trained = SMALL.build()
    signal = voice(0.4)
    window = np.zeros((1, SMALL.samples), np.float32)
    window[0, : len(signal)] = signal
    decibels = np.asarray(SMALL.log_mel()(window))
    mask = np.zeros((1, SMALL.frames), np.float32)
    mask[0, : -(-len(signal) // 256)] = 1
    expected = trained([decibels, mask])
    answer = SMALL.whole(trained)([window, np.array([[len(signal)]], np.int32)])["logits"]
    np.testing.assert_allclose(answer, expected, atol=1e-6)


def test_what_lies_after_the_sound_does_not_count() -> None:
    whole = SMALL.whole(SMALL.build())
    signal = voice(0.3)
    answers = []
    for filling in (0.0, 0.5, np.nan):
        window = np.full((1, SMALL.samples), filling, np.float32)
        window[0, : len(signal)] = signal
        answers.append(np.asarray(whole([window, np.array([[len(signal)]], np.int32)])["logits"]))
    np.testing.assert_array_equal(answers[1], answers[0])
    np.testing.assert_array_equal(answers[2], answers[0])
