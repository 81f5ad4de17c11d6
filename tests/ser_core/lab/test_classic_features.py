"""What the classic designs hear, against librosa on whole windows and on short clips."""

from collections.abc import Callable
from pathlib import Path

import keras
import librosa
import numpy as np
import pytest
from numpy.typing import NDArray

from ser_core.lab import export
from ser_core.lab.classic_features import ChromaMfccMel, Standardised, SummedOverSexes
from ser_core.lab.classics import ANN_193, EDGE_CNN, MFCC_CNN1D, NIMBLE_CNN, Classic
from tests.sounds import Signal, voice

Values = NDArray[np.float64]


def means(*features: Values) -> Values:
    return np.concatenate([each.mean(axis=1) for each in features])


def edge(y: Signal, rate: int) -> Values:
    return means(
        librosa.feature.zero_crossing_rate(y),
        librosa.feature.chroma_stft(y=y, sr=rate, tuning=0),
        librosa.feature.mfcc(y=y, sr=rate, n_mfcc=20),
        librosa.feature.rms(y=y),
        librosa.feature.melspectrogram(y=y, sr=rate),
    )


def of_193(y: Signal, rate: int) -> Values:
    return means(
        librosa.feature.mfcc(y=y, sr=rate, n_mfcc=40),
        librosa.feature.chroma_stft(y=y, sr=rate, n_chroma=24, tuning=0),
        librosa.feature.melspectrogram(y=y, sr=rate),
        librosa.feature.zero_crossing_rate(y),
    )


def mfcc_means(y: Signal, rate: int) -> Values:
    return means(librosa.feature.mfcc(y=y, sr=rate, n_mfcc=40))


def contour(y: Signal, rate: int) -> Values:
    values = np.zeros(217)
    found = librosa.feature.mfcc(y=y, sr=rate, n_mfcc=13).mean(axis=0)
    values[: len(found)] = found
    return values


@pytest.mark.parametrize(
    ("classic", "by_librosa", "count"),
    [
        (EDGE_CNN, edge, 162),
        (ANN_193, of_193, 193),
        (MFCC_CNN1D, mfcc_means, 40),
        (NIMBLE_CNN, contour, 217),
    ],
    ids=lambda each: each.name if isinstance(each, Classic) else "",
)
def test_values_are_librosas_of_the_clip_alone_however_short(
    classic: Classic, by_librosa: Callable[[Signal, int], Values], count: int
) -> None:
    rate = classic.sampling_rate
    front = classic.front()
    assert front.output_shape == (None, classic.count) == (None, count)
    assert front.count_params() == 0
    whole = voice(classic.window, sampling_rate=rate)
    # A whole number of hops is where a frame more or less would be counted.
    for samples in (classic.samples, 512 * 60, 30_007):
        clip = whole[:samples]
        window = np.full((1, classic.samples), 0.3, np.float32)
        window[0, :samples] = clip
        actual = np.asarray(front([window, np.array([[samples]], np.int32)]))[0]
        expected = by_librosa(clip, rate)
        # The last frames see that the clip ends at zero, librosa goes on with its last sample.
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=2e-5 * abs(expected).max())


def test_the_layer_is_the_same_when_it_was_saved() -> None:
    layer = ChromaMfccMel(24, 40, 22_050)
    signal = voice(0.3, sampling_rate=22_050)[None]
    copy = ChromaMfccMel.from_config(layer.get_config())
    for one, other in zip(layer(signal), copy(signal), strict=True):
        np.testing.assert_array_equal(one, other)


def test_standardised_values_have_no_weights() -> None:
    layer = Standardised([1.0, -2.0], [2.0, 0.5])
    np.testing.assert_allclose(layer(np.array([[3.0, -1.0]], np.float32)), [[1.0, 2.0]])
    assert layer.count_params() == 0
    assert Standardised.from_config(layer.get_config()).scale == [2.0, 0.5]


def test_emotions_have_the_summed_probability_of_both_sexes() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (4, 16)).astype(np.float32)
    both = np.asarray(keras.ops.softmax(logits))
    answer = np.asarray(keras.ops.softmax(SummedOverSexes()(logits)))
    np.testing.assert_allclose(answer, both[:, :8] + both[:, 8:], rtol=1e-5)


def test_values_of_all_magnitudes_survive_weights_of_8_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scale = np.geomspace(1e-3, 1e3, 40)
    keras.utils.set_random_seed(0)
    values = keras.Input((40,), name="waveform")
    length = keras.Input((1,), dtype="int32", name="length")
    x = Standardised((5 * scale).tolist(), scale.tolist())(values)
    x = keras.layers.Dense(64, activation="relu")(x)
    x = keras.layers.Dense(3)(x) + keras.ops.cast(length, "float32") * 1e-6
    model = keras.Model([values, length], {"logits": x})
    export.export_litert(model, tmp_path / "int8.tflite", int8=True)
    heard = [(rng.normal(5, 1, 40) * scale).astype(np.float32) for _ in range(20)]
    assert export.agreement(model, tmp_path / "int8.tflite", heard) < 0.1
