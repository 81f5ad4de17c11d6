"""The spectrogram that people are shown is the one that librosa, and the models, compute."""

import base64

import numpy as np
import pytest

from ser_core.spectrum import explain, log_mel, mel_filters
from tests.sounds import noise, tone, voice

librosa = pytest.importorskip("librosa")


def test_the_filters_are_librosas() -> None:
    expected = librosa.filters.mel(sr=16_000, n_fft=1024, n_mels=64, fmin=50, fmax=8_000)
    np.testing.assert_allclose(mel_filters(16_000), expected, atol=1e-8)


@pytest.mark.parametrize("signal", [voice(1.0), noise(0.5), tone(0.1)])
def test_log_mel_is_librosas(signal: np.ndarray) -> None:
    power = librosa.feature.melspectrogram(
        y=signal, sr=16_000, n_fft=1024, hop_length=256, n_mels=64, fmin=50, fmax=8_000,
        pad_mode="reflect",
    )  # fmt: skip
    expected = librosa.power_to_db(power, top_db=None)
    np.testing.assert_allclose(log_mel(signal, 16_000), expected, atol=0.02)


def test_the_models_layer_computes_the_same() -> None:
    from ser_core.lab.presets import PRESETS

    preset = PRESETS["residual-cnn"]
    signal = voice(3.0)
    layer = np.asarray(preset.log_mel()(signal[None]))[0].T
    ours = log_mel(signal, 16_000)
    loud = ours > ours.max() - 60
    np.testing.assert_allclose(layer[loud], ours[loud], atol=0.05)


def test_the_compact_form_holds_levels_in_steps_of_a_third_of_a_db() -> None:
    signal = voice(2.0)
    answer = explain(signal, 16_000, 1.5).to_dict()
    assert answer["shape"] == [64, 126]
    assert (answer["start"], answer["hop"]) == (1.5, 0.016)
    levels = np.frombuffer(base64.b64decode(answer["log_mel"]), np.uint8).reshape(answer["shape"])
    low, high = answer["decibels"]
    expected = log_mel(signal, 16_000)
    assert high == pytest.approx(expected.max(), abs=0.01)
    assert high - low == pytest.approx(80.0)
    shown = low + levels / 255 * 80
    np.testing.assert_allclose(shown, np.maximum(expected, low), atol=0.17)


def test_a_tone_lies_in_the_band_around_it() -> None:
    explanation = explain(tone(1.0, 1_000.0), 16_000, 0.0)
    band = int(explanation.levels[:, 30].argmax())
    assert explanation.edges[band] < 1_000 < explanation.edges[band + 2]
    assert len(explanation.to_dict()["edges"]) == 66
