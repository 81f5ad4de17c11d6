"""Pitch and functionals: right on sounds whose answer is known, the same in LiteRT."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from ser_core.lab.features import LogMel
from ser_core.lab.functionals import LOWEST, PERCENTILES, Functionals, VoiceFeatures
from ser_core.lab.pooling import FrameMask
from tests.sounds import noise, voice

RATE, SAMPLES, FRAMES = 16_000, 24_000, 94


def features(method: str) -> keras.Model:
    waveform = keras.Input((SAMPLES,), name="waveform")
    length = keras.Input((1,), dtype="int32", name="length")
    mask = FrameMask(FRAMES, 256)(length)
    decibels, pitch = VoiceFeatures(fmin=50.0, fmax=8000.0, method=method)(waveform)
    described = Functionals(64, FRAMES, RATE / 256)([decibels, pitch, mask])
    return keras.Model([waveform, length], {"pitch": pitch, "functionals": described})


MODEL = features("dft")


def heard(signal: np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
    window = np.zeros((1, SAMPLES), np.float32)
    window[0, : len(signal)] = signal[:SAMPLES]
    answer = MODEL([window, np.array([[length or min(len(signal), SAMPLES)]], np.int32)])
    return {name: np.asarray(value)[0] for name, value in answer.items()}


def harmonics(hertz: float) -> np.ndarray:
    time = np.arange(SAMPLES) / RATE
    waves = (np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 8))
    return (0.1 * sum(waves)).astype(np.float32)


@pytest.mark.parametrize("method", ["fft", "dft"])
@pytest.mark.parametrize("bands", [8, 64])
def test_the_log_mel_beside_the_pitch_is_that_without(method: str, bands: int) -> None:
    how = {"n_mels": bands, "fmin": 50.0, "fmax": 8000.0, "method": method}
    signal = (voice(1.5) + noise(1.5))[None, :SAMPLES]
    decibels, _ = VoiceFeatures(**how)(signal)
    np.testing.assert_allclose(decibels, LogMel(**how)(signal), atol=1e-3)


@pytest.mark.parametrize("hertz", [80.0, 120.0, 220.0, 400.0])
def test_pitch_is_the_fundamental_of_a_harmonic_sound(hertz: float) -> None:
    octaves, voicing = heard(harmonics(hertz))["pitch"][10:80].T
    np.testing.assert_allclose(LOWEST * 2**octaves, hertz, rtol=0.02)
    assert voicing.min() > 0.9


def test_noise_is_hardly_voiced() -> None:
    voicing = heard(noise(1.5))["pitch"][:, 1]
    assert np.median(voicing) < 0.45


def test_functionals_do_not_depend_on_the_level() -> None:
    signal = voice(1.2)
    loud, quiet = heard(signal)["functionals"], heard(0.1 * signal)["functionals"]
    np.testing.assert_allclose(loud, quiet, atol=2e-2)


def test_what_lies_after_the_sound_does_not_count() -> None:
    signal = voice(1.2)
    padded = np.concatenate([signal, np.zeros(SAMPLES - len(signal), np.float32)])
    both = heard(signal)["functionals"], heard(padded, len(signal))["functionals"]
    np.testing.assert_array_equal(*both)


def test_percentiles_are_those_of_numpy() -> None:
    layer = Functionals(64, FRAMES)
    x = np.random.default_rng(0).normal(size=(1, FRAMES, 2)).astype(np.float32)
    mask = np.zeros((1, FRAMES), np.float32)
    mask[0, 5:60] = 1
    expected = np.percentile(x[0, 5:60], [100 * share for share in PERCENTILES], axis=0)
    np.testing.assert_allclose(
        np.asarray(layer._percentiles(x, mask))[0], expected.ravel(), atol=1e-5
    )


def test_where_nothing_is_voiced_all_functionals_are_numbers() -> None:
    assert np.isfinite(heard(np.zeros(SAMPLES, np.float32))["functionals"]).all()


def test_fft_and_dft_give_the_same() -> None:
    window = np.zeros((1, SAMPLES), np.float32)
    window[0] = voice(1.5)[:SAMPLES]
    inputs = [window, np.array([[SAMPLES]], np.int32)]
    one, other = MODEL(inputs), features("fft")(inputs)
    np.testing.assert_allclose(one["functionals"], other["functionals"], rtol=1e-3, atol=1e-2)


def test_litert_gives_the_same(tmp_path: Path) -> None:
    archive = keras.export.ExportArchive()
    archive.track(MODEL)
    archive.add_endpoint(
        "predict",
        lambda waveform, length: MODEL([waveform, tf.reshape(length, (1, 1))]),
        input_signature=[
            tf.TensorSpec((1, SAMPLES), tf.float32, name="waveform"),
            tf.TensorSpec((1,), tf.int32, name="length"),
        ],
    )
    archive.write_out(tmp_path / "saved", verbose=False)
    saved = str(tmp_path / "saved")
    converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=["predict"])
    run = Interpreter(model_content=converter.convert()).get_signature_runner("predict")
    signal = voice(1.5)[:SAMPLES]
    got = run(waveform=signal[None], length=np.array([SAMPLES], np.int32))
    np.testing.assert_allclose(
        got["functionals"][0], heard(signal)["functionals"], rtol=1e-4, atol=1e-3
    )
