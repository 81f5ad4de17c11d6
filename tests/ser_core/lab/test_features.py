"""Each layer against librosa, in Keras and through LiteRT, on made sounds and on recordings."""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import librosa
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from ser_core import audio
from ser_core.lab import features
from tests import sounds

Features = NDArray[np.float32]

WINDOW = 48_000
BATCH = 4
SPECTRAL = {"sr": 16_000, "n_fft": 1024, "hop_length": 256}

LAYERS: dict[str, keras.layers.Layer] = {
    "power": features.PowerSpectrogram(),
    "mel": features.MelSpectrogram(),
    "log_mel": features.LogMel(),
    "log_mel_dft": features.LogMel(method="dft"),
    "mfcc": features.MFCC(),
    "chroma": features.Chroma(),
    "zero_crossing_rate": features.ZeroCrossingRate(),
    "rms": features.RMS(),
    "centroid": features.SpectralCentroid(),
    "bandwidth": features.SpectralBandwidth(),
    "rolloff": features.SpectralRolloff(),
    "contrast": features.SpectralContrast(),
}


def librosa_log_mel(y: Features) -> Features:
    mel = librosa.feature.melspectrogram(y=y, n_mels=64, pad_mode="reflect", **SPECTRAL)
    return librosa.power_to_db(mel, top_db=None)


LIBROSA: dict[str, Callable[[Features], Features]] = {
    "power": lambda y: abs(librosa.stft(y, n_fft=1024, hop_length=256, pad_mode="reflect")) ** 2,
    "mel": lambda y: librosa.feature.melspectrogram(y=y, **SPECTRAL),
    "log_mel": librosa_log_mel,
    "log_mel_dft": librosa_log_mel,
    "mfcc": lambda y: librosa.feature.mfcc(y=y, n_mfcc=13, **SPECTRAL),
    "chroma": lambda y: librosa.feature.chroma_stft(y=y, tuning=0, **SPECTRAL),
    "zero_crossing_rate": lambda y: librosa.feature.zero_crossing_rate(y, hop_length=256),
    "rms": lambda y: librosa.feature.rms(y=y, hop_length=256),
    "centroid": lambda y: librosa.feature.spectral_centroid(y=y, **SPECTRAL),
    "bandwidth": lambda y: librosa.feature.spectral_bandwidth(y=y, **SPECTRAL),
    "rolloff": lambda y: librosa.feature.spectral_rolloff(y=y, **SPECTRAL),
    "contrast": lambda y: librosa.feature.spectral_contrast(y=y, **SPECTRAL),
}


# Rounding, librosa's or ours, decides single values of these: the valley of an octave is one bin,
# a sum meets its share in this bin or the next, the spread around a mere offset is that of noise.
ILL_CONDITIONED = ("bandwidth", "contrast", "rolloff")


def by_librosa(name: str, signals: Features) -> Features:
    return np.stack([LIBROSA[name](signal).T for signal in signals])


def assert_equal_to_librosa(name: str, actual: Features, signals: Features) -> None:
    assert_equal(name, actual, by_librosa(name, signals))


def assert_equal(name: str, actual: Features, expected: Features) -> None:
    """Within 1e-4 of each value, or 3e-5 of the largest where a value is nearly zero.

    Of what is ill-conditioned, 95 % of the values are, and all within 2 % of the largest.
    """
    assert actual.shape == expected.shape
    largest = np.abs(expected).max()
    if name.startswith(ILL_CONDITIONED):
        close = np.isclose(actual, expected, rtol=1e-4, atol=3e-5 * largest)
        assert close.mean() >= 0.95, name
        np.testing.assert_allclose(actual, expected, rtol=0, atol=0.02 * largest, err_msg=name)
    else:
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=3e-5 * largest, err_msg=name)


@pytest.fixture(scope="module")
def made() -> Features:
    """Voice, noise, a tone over faint noise, and noise that stops."""
    stops = sounds.noise(3.0, level=0.3)
    stops[WINDOW // 2 :] = 0
    tone = sounds.tone(3.0) + sounds.noise(3.0, level=1e-3, seed=1)
    return np.stack([sounds.voice(3.0), sounds.noise(3.0), tone, stops])


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every layer in one exported model."""
    folder = tmp_path_factory.mktemp("exported")
    waveform = keras.Input((WINDOW,), batch_size=BATCH, name="waveform")
    outputs = {name: layer(waveform) for name, layer in LAYERS.items()}
    outputs["mean_mfcc"] = features.MeanOverTime()(outputs["mfcc"])
    model = keras.Model(waveform, outputs)
    assert model.count_params() == 0
    archive = keras.export.ExportArchive()
    archive.track(model)
    fixed = tf.TensorSpec((BATCH, WINDOW), tf.float32, name="waveform")
    archive.add_endpoint("features", model.call, input_signature=[fixed])
    archive.write_out(folder, verbose=False)
    return folder


Runner = Callable[[Features], dict[str, Features]]


def converted(saved_model: Path, *, int8: bool) -> tuple[Interpreter, Runner]:
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved_model), signature_keys=["features"]
    )
    if int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    interpreter = Interpreter(model_content=converter.convert(), num_threads=1)
    signature = interpreter.get_signature_runner()
    ((argument, details),) = signature.get_input_details().items()
    assert details["shape"].tolist() == [BATCH, WINDOW]
    return interpreter, lambda signals: signature(**{argument: signals})


@pytest.fixture(scope="module")
def lite(saved_model: Path) -> Runner:
    return converted(saved_model, int8=False)[1]


@pytest.mark.parametrize("name", LAYERS)
def test_keras_equals_librosa_on_made_sounds(name: str, made: Features) -> None:
    assert_equal_to_librosa(name, np.asarray(LAYERS[name](made)), made)


def test_litert_equals_librosa_on_made_sounds(lite: Runner, made: Features) -> None:
    outputs = lite(made)
    for name in LAYERS:
        assert_equal_to_librosa(name, outputs[name], made)
    np.testing.assert_allclose(outputs["mean_mfcc"], outputs["mfcc"].mean(axis=1), rtol=1e-4)


def recordings(ser_data: Path, count: int) -> Iterator[tuple[str, Features]]:
    """`count` windows of each corpus, evenly spread over its recordings."""
    corpora = defaultdict(list)
    with (ser_data / "manifest.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            corpora[row["corpus"]].append(ser_data / row["path"])
    for corpus, paths in corpora.items():
        chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, count).astype(int)]
        signals = [audio.load(path)[:WINDOW] for path in chosen]
        yield corpus, np.stack([np.pad(signal, (0, WINDOW - len(signal))) for signal in signals])


def test_keras_and_litert_equal_librosa_on_20_recordings_of_each_corpus(
    ser_data: Path, lite: Runner
) -> None:
    for corpus, signals in recordings(ser_data, count=20):
        expected = {name: by_librosa(name, signals) for name in LAYERS if name != "log_mel_dft"}
        expected["log_mel_dft"] = expected["log_mel"]
        batches = [lite(signals[start : start + BATCH]) for start in range(0, 20, BATCH)]
        for name, layer in LAYERS.items():
            outputs = np.concatenate([batch[name] for batch in batches])
            assert_equal(f"{name} of {corpus} in LiteRT", outputs, expected[name])
            assert_equal(f"{name} of {corpus} in Keras", np.asarray(layer(signals)), expected[name])


def test_int8_weights_leave_the_features_as_they_are(saved_model: Path, made: Features) -> None:
    _, quantised = converted(saved_model, int8=True)
    outputs = quantised(made)
    for name in LAYERS:
        assert_equal_to_librosa(name, outputs[name], made)


def test_silence_is_the_floor_and_nothing_is_divided_by_zero() -> None:
    silent = sounds.silence(1.0)[None]
    for name, layer in LAYERS.items():
        assert_equal_to_librosa(name, np.asarray(layer(silent)), silent)
    np.testing.assert_allclose(LAYERS["log_mel"](silent), -100, rtol=1e-6)


def test_a_sound_has_the_same_mfcc_beside_a_loud_one_as_alone() -> None:
    quiet, loud = 1e-3 * sounds.voice(1.0), sounds.noise(1.0, level=0.9)
    together = np.asarray(LAYERS["mfcc"](np.stack([quiet, loud])))
    np.testing.assert_allclose(together[0], np.asarray(LAYERS["mfcc"](quiet[None]))[0], atol=1e-3)


@pytest.mark.parametrize("samples", [1_600, 16_001, 30_007])
def test_any_length_gives_as_many_frames_as_librosa(samples: int) -> None:
    signal = sounds.voice(3.0)[None, :samples]
    for name, layer in LAYERS.items():
        assert_equal_to_librosa(name, np.asarray(layer(signal)), signal)


@pytest.mark.parametrize(
    ("n_fft", "hop", "method"),
    [
        (2048, 512, "fft"),
        (512, 160, "fft"),
        (512, 160, "dft"),
        (400, 160, "dft"),
        (441, 147, "dft"),
        (1024, 441, "fft"),
    ],
)
@pytest.mark.parametrize("center", [True, False])
def test_any_frame_length_and_hop_equal_librosa(
    n_fft: int, hop: int, method: str, center: bool
) -> None:
    signal = sounds.voice(1.0)
    layer = features.PowerSpectrogram(n_fft, hop, method=method, center=center, window="hamming")
    actual = np.asarray(layer(signal[None]))[0]
    expected = librosa.stft(
        signal, n_fft=n_fft, hop_length=hop, center=center, window="hamming", pad_mode="reflect"
    )
    expected = abs(expected.T) ** 2
    assert layer.compute_output_shape((1, signal.size)) == (1, *actual.shape)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * expected.max())


@pytest.mark.parametrize("pad_mode", ["reflect", "constant", "edge"])
def test_ends_are_padded_as_asked(pad_mode: str) -> None:
    signal = sounds.voice(0.5)
    signal += 0.2
    layer = features.LogMel(n_mels=40, fmin=50, fmax=7000, pad_mode=pad_mode)
    mel = librosa.feature.melspectrogram(
        y=signal, n_mels=40, fmin=50, fmax=7000, pad_mode=pad_mode, **SPECTRAL
    )
    expected = librosa.power_to_db(mel, top_db=None).T
    np.testing.assert_allclose(np.asarray(layer(signal[None]))[0], expected, rtol=1e-4, atol=1e-3)


def test_options_equal_those_of_librosa() -> None:
    signal = sounds.voice(1.0)
    expected: Any
    pairs = [
        (
            features.MFCC(20, n_mels=40, top_db=None),
            librosa.feature.mfcc(S=librosa_mel_in_db(signal, n_mels=40), n_mfcc=20),
        ),
        (
            features.Chroma(24),
            librosa.feature.chroma_stft(y=signal, tuning=0, n_chroma=24, **SPECTRAL),
        ),
        (
            features.SpectralRolloff(share=0.5),
            librosa.feature.spectral_rolloff(y=signal, roll_percent=0.5, **SPECTRAL),
        ),
        (
            features.SpectralContrast(n_bands=4, fmin=300.0, quantile=0.1),
            librosa.feature.spectral_contrast(
                y=signal, n_bands=4, fmin=300.0, quantile=0.1, **SPECTRAL
            ),
        ),
        (
            features.RMS(512, 128),
            librosa.feature.rms(y=signal, frame_length=512, hop_length=128),
        ),
        (
            features.ZeroCrossingRate(400, 160, center=False),
            librosa.feature.zero_crossing_rate(
                signal, frame_length=400, hop_length=160, center=False
            ),
        ),
    ]
    for layer, expected in pairs:
        actual = np.asarray(layer(signal[None]))[0]
        np.testing.assert_allclose(
            actual, expected.T, rtol=1e-4, atol=1e-5 * abs(expected).max(), err_msg=layer.name
        )


def librosa_mel_in_db(signal: Features, n_mels: int) -> Features:
    mel = librosa.feature.melspectrogram(y=signal, n_mels=n_mels, **SPECTRAL)
    return librosa.power_to_db(mel, top_db=None)


def test_a_saved_model_gives_the_same_features_when_loaded(tmp_path: Path, made: Features) -> None:
    waveform = keras.Input((None,))
    outputs = {
        "mfcc": features.MFCC(20, n_fft=512, top_db=None, pad_mode="edge")(waveform),
        "chroma": features.Chroma(24, method="dft")(waveform),
        "rolloff": features.SpectralRolloff(share=0.5)(waveform),
        "contrast": features.SpectralContrast(n_bands=4, fmin=300.0)(waveform),
        "rate": features.ZeroCrossingRate(512, 128)(waveform),
        "mel": features.MeanOverTime()(features.LogMel(fmin=60.0, fmax=7600.0)(waveform)),
    }
    model = keras.Model(waveform, outputs)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected, actual = model(made), loaded(made)
    for name in outputs:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


def test_features_stay_in_single_precision_under_a_mixed_policy(made: Features) -> None:
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        layer = features.LogMel()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert_equal_to_librosa("log_mel", np.asarray(layer(made)), made)


def test_mean_over_time_leaves_masked_frames_out() -> None:
    frames = np.array([[[1.0, 10.0], [3.0, 30.0], [99.0, 99.0]]], np.float32)
    mean = features.MeanOverTime()
    np.testing.assert_allclose(mean(frames[:, :2]), [[2, 20]])
    np.testing.assert_allclose(mean(frames, mask=np.array([[True, True, False]])), [[2, 20]])
    np.testing.assert_allclose(mean(frames, mask=np.array([[False, False, False]])), [[0, 0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: features.LogMel(n_fft=400), "not a power of two: that takes method='dft'"),
        (lambda: features.LogMel(method="wavelet"), "'wavelet'"),
        (lambda: features.LogMel(pad_mode="wrap"), "'wrap'"),
        (lambda: features.RMS(hop=0), "at least 1"),
        (lambda: features.MFCC(200, n_mels=128), "n_mfcc=200"),
        (lambda: features.SpectralRolloff(share=1.5), "share=1.5"),
        (lambda: features.SpectralContrast(8_000), "6400 Hz, past half the rate"),
        (lambda: features.LogMel()(np.zeros((1, 512), np.float32)), "at least 513 samples"),
        (lambda: features.LogMel()(np.zeros((1, 9, 9), np.float32)), "ndim=2"),
    ],
)
def test_what_cannot_be_computed_is_refused_by_name(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()
