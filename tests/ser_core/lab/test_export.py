"""Keras to LiteRT: the same answers, whatever lies after the sound."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ser_core.lab import export
from ser_core.lab.export import ExportError, agreement, check, export_litert, load_keras
from ser_core.lab.relative import RelativeToProfile, head, relative_network
from ser_core.runtime import LiteRT, Runtime, TensorFlow
from tests.acting import act
from tests.ser_core.conftest import Trained
from tests.ser_core.lab.test_presets import SMALL
from tests.sounds import Signal, noise

SIGNALS = [act("b4", emotion, seconds) for emotion in ("angry", "sad") for seconds in (0.3, 1.7)]


@pytest.fixture(scope="module")
def model(trained: Trained) -> keras.Model:
    return load_keras(trained.bundle / "model.keras")


def logits_of(runtime: Runtime, signal: Signal, filling: float = 0.0) -> np.ndarray:
    window = np.full((1, 48_000), filling, np.float32)
    window[0, : len(signal)] = signal[:48_000]
    return runtime.logits(window, np.array([min(len(signal), 48_000)], np.int32))


def test_float_agrees_with_keras(model: keras.Model, trained: Trained) -> None:
    path = trained.bundle / "model.tflite"
    assert agreement(model, path, SIGNALS) < 1e-4
    litert, tensorflow = LiteRT(path), TensorFlow(trained.bundle / "model.keras")
    for signal in SIGNALS:
        np.testing.assert_allclose(
            logits_of(litert, signal), logits_of(tensorflow, signal), atol=1e-4
        )


def test_int8_is_near_and_less_than_half_the_size(model: keras.Model, trained: Trained) -> None:
    path = trained.bundle / "model.int8.tflite"
    assert 0 < agreement(model, path, SIGNALS) < 0.02
    assert path.stat().st_size < (trained.bundle / "model.tflite").stat().st_size / 2


@pytest.mark.parametrize("artefact", ["model.keras", "model.tflite", "model.int8.tflite"])
@pytest.mark.parametrize("filling", [0.5, -1.0, np.nan])
def test_what_lies_after_the_sound_is_not_heard(
    trained: Trained, artefact: str, filling: float
) -> None:
    path = trained.bundle / artefact
    runtime: Runtime = TensorFlow(path) if path.suffix == ".keras" else LiteRT(path)
    for signal in SIGNALS:
        plain = logits_of(runtime, signal)
        assert np.ptp(plain) > 0.01
        np.testing.assert_array_equal(logits_of(runtime, signal, filling), plain)


def test_the_length_tells_what_is_sound_and_silence_after_it_is_none(trained: Trained) -> None:
    runtime = LiteRT(trained.bundle / "model.tflite")
    window = np.zeros((1, 48_000), np.float32)
    window[0, :16_000] = act("b4", "sad", 1.0)
    followed = window.copy()
    followed[0, 16_000:] = act("b4", "angry", 2.0)
    told, silence, more = (
        runtime.logits(heard, np.array([length], np.int32))
        for heard, length in ((window, 16_000), (window, 48_000), (followed, 48_000))
    )
    assert np.abs(told - silence).max() < 0.01
    assert np.abs(told - more).max() > 0.02


def test_sounds_longer_than_the_window_are_compared_by_their_beginning(
    model: keras.Model, trained: Trained
) -> None:
    assert agreement(model, trained.bundle / "model.tflite", [noise(4.0)]) < 1e-4


@pytest.mark.parametrize("answer", [[np.nan] * 7, [9.0, 0, 0, 0, 0, 0, 0]])
def test_a_file_that_answers_otherwise_is_refused(
    monkeypatch: pytest.MonkeyPatch, answer: list[float]
) -> None:
    class Answers:
        """An interpreter with one answer."""

        def __init__(self, path: str) -> None:
            pass

        def get_signature_runner(self, name: str) -> Any:
            return lambda **inputs: {"logits": np.array([answer], np.float32)}

    monkeypatch.setattr(export, "Interpreter", Answers)
    whole = SMALL.whole(SMALL.build())
    with pytest.raises(ExportError, match=r"x\.tflite differs from Keras by (nan|0\.\d+), more"):
        check(whole, Path("x.tflite"), SIGNALS[:1], 0.3)


def test_a_model_that_answers_nan_is_refused(tmp_path: Path) -> None:
    whole = SMALL.whole(SMALL.build())
    whole.set_weights([np.full_like(weights, np.nan) for weights in whole.get_weights()])
    export_litert(whole, tmp_path / "nan.tflite")
    with pytest.raises(ExportError, match="differs from Keras by nan"):
        check(whole, tmp_path / "nan.tflite", SIGNALS[:1], 0.3)


@pytest.fixture(scope="module")
def relative() -> keras.Model:
    """A model, as its weights were drawn, that hears relative to a profile."""
    keras.utils.set_random_seed(0)
    describer = SMALL.describer(SMALL.build())
    size = describer.output_shape[-1]
    relation = RelativeToProfile([0.1] * size, [2.0] * size)
    narrow = head(9, 7, name="narrow")
    return SMALL.whole_relative(
        describer, relative_network(relation, [head(size, 7)], [narrow], [0.1] * 7)
    )


@pytest.mark.parametrize(("int8", "tolerance"), [(False, 1e-4), (True, 0.02)])
def test_a_model_relative_to_a_profile_answers_as_in_keras(
    relative: keras.Model, tmp_path: Path, int8: bool, tolerance: float
) -> None:
    path = tmp_path / "relative.tflite"
    export_litert(relative, path, int8=int8)
    assert agreement(relative, path, SIGNALS) < tolerance
    runtime, size = LiteRT(path), relative.inputs[2].shape[1]
    signal = SIGNALS[1][: SMALL.samples - 1000]
    length = np.array([len(signal)], np.int32)
    rng = np.random.default_rng(0)
    profile = rng.normal(0.1, 2, (1, size)).astype(np.float32)

    def ask(count: float, voice: Signal, filling: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        window = np.full((1, SMALL.samples), filling, np.float32)
        window[0, : len(signal)] = signal
        return runtime.relative(window, length, voice, np.array([count], np.float32))

    plain, functionals = ask(0, np.zeros_like(profile))
    assert functionals.shape == (1, size)
    assert np.isfinite(functionals).all()
    for unheeded in (profile, np.full_like(profile, np.nan)):
        np.testing.assert_array_equal(ask(0, unheeded)[0], plain)
    logits, same = ask(5, profile)
    assert np.abs(logits - plain).max() > 0.01
    np.testing.assert_array_equal(same, functionals)
    for filling in (0.5, np.nan):
        np.testing.assert_array_equal(ask(5, profile, filling)[0], logits)
        np.testing.assert_array_equal(ask(5, profile, filling)[1], functionals)
