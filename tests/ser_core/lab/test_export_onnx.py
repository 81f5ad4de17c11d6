"""Keras to ONNX, run in onnxruntime."""

from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest

from ser_core.bundle import find_bundle
from ser_core.lab.classics import CLASSICS
from ser_core.lab.export import ExportError, load_keras
from ser_core.lab.export_onnx import export_onnx, without_fft
from ser_core.lab.exported import OnnxRuntime
from ser_core.runtime import TensorFlow
from tests.acting import act
from tests.ser_core.conftest import Trained
from tests.sounds import Signal, noise

SOUNDS = [act("b4", "angry", 1.7), act("b4", "sad", 0.4), noise(4.0)]


def windowed(signal: Signal, samples: int) -> tuple[np.ndarray, np.ndarray]:
    window = np.zeros((1, samples), np.float32)
    window[0, : len(signal)] = signal[:samples]
    return window, np.array([min(len(signal), samples)], np.int32)


def test_the_default_model_answers_in_onnxruntime_as_in_keras(tmp_path: Path) -> None:
    source = find_bundle("default") / "model.keras"
    model = load_keras(source)
    export_onnx(model, tmp_path / "default.onnx")
    runtime, expected = OnnxRuntime(tmp_path / "default.onnx"), TensorFlow(source)
    session = onnxruntime.InferenceSession(tmp_path / "default.onnx")
    assert [each.name for each in session.get_outputs()] == ["logits", "functionals"]
    assert [each.name for each in session.get_inputs()] == [each.name for each in model.inputs]
    samples, size = model.inputs[0].shape[1], model.inputs[2].shape[1]
    profile, count = np.zeros((1, size), np.float32), np.zeros(1, np.float32)
    for sound in SOUNDS:
        window, length = windowed(sound, samples)
        logits, functionals = runtime.relative(window, length, profile, count)
        told, described = expected.relative(window, length, profile, count)
        np.testing.assert_allclose(logits, told, atol=1e-3)
        np.testing.assert_allclose(functionals, described, rtol=1e-3, atol=2e-2)
        np.testing.assert_allclose(
            runtime.logits(window, length), expected.logits(window, length), atol=1e-3
        )
        # The next sound is heard relative to this one.
        profile, count = functionals, count + 1


def test_a_model_with_an_fft_gets_products_with_the_same_answers(
    trained: Trained, tmp_path: Path
) -> None:
    source = trained.bundle / "model.keras"
    model = load_keras(source)
    assert '"method": "fft"' in model.to_json()
    assert '"method": "fft"' not in without_fft(model).to_json()
    export_onnx(model, tmp_path / "tiny.onnx")
    runtime, expected = OnnxRuntime(tmp_path / "tiny.onnx"), TensorFlow(source)
    for sound in SOUNDS:
        window = windowed(sound, 48_000)
        np.testing.assert_allclose(runtime.logits(*window), expected.logits(*window), atol=1e-4)


def test_the_edge_design_answers_in_onnxruntime_as_in_keras(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    design = CLASSICS["edge-cnn"]
    values = np.zeros(design.count, np.float32)
    model = design.whole(design.build(), values, values + 10)
    export_onnx(model, tmp_path / "edge.onnx")
    runtime = OnnxRuntime(tmp_path / "edge.onnx")
    answers = []
    for sound in SOUNDS:
        window, length = windowed(sound, design.samples)
        expected = np.asarray(model([window, length[:, None]])["logits"])
        answers.append(runtime.logits(window, length))
        np.testing.assert_allclose(answers[-1], expected, atol=1e-3 * np.abs(expected).max())
    assert np.ptp(np.concatenate(answers), axis=0).max() > 1e-2


def test_an_operation_that_onnx_has_not_is_named(tmp_path: Path) -> None:
    waveform = keras.Input((8,), name="waveform")
    model = keras.Model([waveform], {"logits": keras.ops.erfinv(waveform)})
    with pytest.raises(ExportError, match=r"nothing like TensorFlow's Erfinv.*tflite or h5"):
        export_onnx(model, tmp_path / "never.onnx")
    assert not (tmp_path / "never.onnx").exists()
