"""Keras to a LiteRT file of integers alone, behind the log-mel."""

from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from ser_core.lab.export import ExportError, export_litert, load_keras
from ser_core.lab.export_int8 import cut, export_int8
from ser_core.lab.exported import Int8Runtime, quantised
from ser_core.lab.presets import FUNCTIONALS
from ser_core.lab.relative import RelativeToProfile, head, relative_network
from ser_core.runtime import TensorFlow
from tests.acting import EMOTIONS, SPEAKERS, act
from tests.ser_core.conftest import Trained
from tests.ser_core.lab.test_presets import SMALL

MICRO = {
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "FULLY_CONNECTED", "LOGISTIC",
    "LOG_SOFTMAX", "MAXIMUM", "MEAN", "MINIMUM", "MUL", "PAD", "QUANTIZE", "RELU", "RESHAPE",
    "RSQRT", "SOFTMAX", "SQUARED_DIFFERENCE", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TRANSPOSE",
}  # fmt: skip
"""Operations used here that TFLite Micro has for int8."""

SOUNDS = [act(speaker, emotion) for speaker in SPEAKERS for emotion in EMOTIONS]
WINDOWS = (
    np.array([np.pad(sound, (0, 48_000 - len(sound))) for sound in SOUNDS]),
    np.array([[len(sound)] for sound in SOUNDS], np.int32),
)


def operations(path: Path) -> set[str]:
    interpreter = Interpreter(str(path))
    return {each["op_name"] for each in interpreter._get_ops_details()} - {"DELEGATE"}


def test_the_network_alone_is_in_integers_and_answers_nearly_as_keras(
    trained: Trained, tmp_path: Path
) -> None:
    source, path = trained.bundle / "model.keras", tmp_path / "tiny.int8.tflite"
    parts = cut(load_keras(source))
    export_int8(parts, path, WINDOWS)
    runtime = Int8Runtime(path, parts)
    logits = runtime.logits(WINDOWS[0], WINDOWS[1][:, 0])
    expected = TensorFlow(source).logits(WINDOWS[0], WINDOWS[1][:, 0])
    scale, _ = runtime.scales["logits"]
    assert np.ptp(expected) > 10 * scale
    assert np.abs(logits - expected).mean() < 4 * scale
    assert operations(path) <= MICRO
    types = {str(each["dtype"]) for each in Interpreter(str(path)).get_tensor_details()}
    assert types == {"<class 'numpy.int8'>", "<class 'numpy.int32'>"}


@pytest.fixture(scope="module")
def relative(tmp_path_factory: pytest.TempPathFactory) -> keras.Model:
    """The design of the default model, small, as its weights were drawn, and loaded from a file."""
    keras.utils.set_random_seed(0)
    describer = SMALL.describer(SMALL.build())
    size = describer.output_shape[-1]
    statistics = describer.get_layer(FUNCTIONALS).output.shape[-1]
    relation = RelativeToProfile([0.1] * size, [2.0] * size, name="relation")
    wide = [head(size, 7, name=name) for name in ("wide", "wide_too")]
    narrow = head(statistics, 7, name="narrow")
    path = tmp_path_factory.mktemp("relative") / "model.keras"
    SMALL.whole_relative(describer, relative_network(relation, wide, [narrow], [0.1] * 7)).save(
        path
    )
    return load_keras(path)


def test_the_default_design_is_cut_where_its_network_gets_the_log_mel(
    relative: keras.Model, tmp_path: Path
) -> None:
    samples, size = SMALL.samples, relative.inputs[2].shape[1]
    windows = WINDOWS[0][:, :samples], np.minimum(WINDOWS[1], samples)
    parts = cut(relative)
    heard = parts.features(windows)
    count = len(heard[0])
    # The head that hears nothing but statistics has no say; those of the others are what they are.
    network = relative.get_layer("relative")
    statistics = np.asarray(relative.get_layer("describer")(list(windows)))
    nobody = [np.zeros((count, size), np.float32), np.zeros((count, 1), np.float32)]
    known = network.get_layer("relation")([statistics, *nobody])
    answers = [network.get_layer(name)(known) for name in ("wide", "wide_too")]
    expected = np.mean([keras.ops.log_softmax(each) for each in answers], axis=0)
    np.testing.assert_allclose(parts.core(heard)["logits"], expected, atol=0.06)
    path = tmp_path / "relative.int8.tflite"
    export_int8(parts, path, windows)
    without = [*heard[: parts.inputs], np.repeat(heard[2].mean(axis=0)[None], count, axis=0)]
    logits = Int8Runtime(path, parts).logits(windows[0], windows[1][:, 0])
    assert np.abs(logits - np.asarray(parts.core(without)["logits"])).mean() < 0.1
    assert operations(path) <= MICRO


def test_what_the_device_must_compute_is_named(trained: Trained) -> None:
    parts = cut(load_keras(trained.bundle / "model.keras"))
    names = [step["layer"] for step in parts.front_end]
    assert names[0] == "Trimmed"
    assert {"LogMel", "FrameMask", "LevelNormalisation"} < {*names}
    (log_mel,) = (step for step in parts.front_end if step["layer"] == "LogMel")
    assert (log_mel["n_fft"], log_mel["hop"], log_mel["n_mels"]) == (1024, 256, 64)


def test_numbers_out_of_range_are_cut_off() -> None:
    x = np.array([-20.0, -0.05, 0.0, 0.24, 20.0], np.float32)
    assert quantised(x, 0.1, 3).tolist() == [-128, 2, 3, 5, 127]


def test_a_model_without_a_network_on_log_mel_is_refused() -> None:
    waveform = keras.Input((8,), name="waveform")
    model = keras.Model([waveform], {"logits": keras.layers.Dense(2)(waveform)})
    with pytest.raises(ExportError, match=r"no network that hears a log-mel.* --to tflite or onnx"):
        cut(model)


def test_a_network_that_hears_more_than_the_log_mel_is_refused() -> None:
    waveform = keras.Input((64,), name="waveform")
    features = keras.Input((4, 16), name="features")
    network = keras.Model(features, keras.layers.Flatten()(features), name="network")
    both = keras.layers.Concatenate()([network(keras.layers.Reshape((4, 16))(waveform)), waveform])
    model = keras.Model([waveform], {"logits": keras.layers.Dense(2)(both)})
    with pytest.raises(ExportError, match="hears more than the log-mel"):
        cut(model)


def test_an_operation_that_litert_has_not_is_named(tmp_path: Path) -> None:
    waveform = keras.Input((8,), name="waveform")
    model = keras.Model([waveform], {"logits": keras.ops.erfinv(waveform)})
    with pytest.raises(ExportError, match=r"LiteRT cannot run this model: tf\.Erfinv\. --to h5"):
        export_litert(model, tmp_path / "never.tflite")
    assert not (tmp_path / "never.tflite").exists()


def test_relative_to_nobody_is_relative_to_the_mean() -> None:
    keras.utils.set_random_seed(0)
    waveform = keras.Input((6,), name="waveform")
    length = keras.Input((1,), dtype="int32", name="length")
    profile, count = keras.Input((3,), name="profile"), keras.Input((1,), name="count")
    features = keras.Input((2, 3), name="features")
    network = keras.Model(features, keras.layers.Dense(3)(keras.layers.Flatten()(features)))
    described = network(keras.layers.Reshape((2, 3))(waveform))
    relation = RelativeToProfile([1.0, 2.0, 3.0], [0.5, 1.0, 2.0])
    logits = keras.layers.Dense(2)(relation([described, profile, count]))
    model = keras.Model([waveform, length, profile, count], {"logits": logits})
    sound = np.linspace(-1, 1, 6, dtype=np.float32)[None]
    parts = cut(model)
    np.testing.assert_allclose(
        parts.core(parts.features((sound, np.array([[6]], np.int32))))["logits"],
        model([sound, np.array([[6]]), np.ones((1, 3), np.float32), np.zeros((1, 1))])["logits"],
        atol=1e-5,
    )
