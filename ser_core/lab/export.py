"""Keras -> LiteRT, each file checked against Keras."""

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from tensorflow.lite.python.convert_phase import ConverterError

# Registers the layers that a saved model is made of.
from ser_core.lab import operations, presets, relative  # noqa: F401

FLOAT, INT8, KERAS = "model.tflite", "model.int8.tflite", "model.keras"
"""Files of a bundle."""
FLOAT_TOLERANCE, INT8_TOLERANCE = 1e-3, 0.3
"""How far a probability may be from Keras's on a real recording; int8 is chosen by its UAR."""


class ExportError(RuntimeError):
    """A model cannot be written so, or the file does not do what the Keras model does."""


def load_keras(path: Path) -> keras.Model:
    """The Keras model of a bundle; see `ser_core.lab.presets` for what goes in and out."""
    return keras.models.load_model(path, compile=False)


def export_litert(model: keras.Model, path: Path, *, int8: bool = False) -> None:
    """Write `model` as one LiteRT file that judges one window at a time.

    Its signature `predict` has the model's inputs and outputs by their names, each with a batch
    of 1; length and count are `(1,)`. `int8` stores the weights in 8 bits (dynamic range).

    Raises:
        ExportError: LiteRT lacks an operation that the model needs.
    """
    with _saved(model) as saved:
        path.write_bytes(_litert(saved, int8))


def export_both(model: keras.Model, folder: Path) -> None:
    """Write both LiteRT files of a model, float and int8, as `export_litert` does."""
    with _saved(model) as saved:
        (folder / FLOAT).write_bytes(_litert(saved, int8=False))
        (folder / INT8).write_bytes(_litert(saved, int8=True))


@contextmanager
def _saved(model: keras.Model) -> Iterator[str]:
    """A folder with what converters read, which takes longer to write than to convert."""
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(name="predict", fn=endpoint(model), input_signature=signature(model))
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        yield folder


def _litert(saved: str, int8: bool) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=["predict"])
    if int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converted(converter)


def signature(model: keras.Model) -> list[tf.TensorSpec]:
    """What one window is, by the names of the model's inputs; a single number stands alone."""
    return [
        tf.TensorSpec((1, *_unboxed(each)), each.dtype, name=each.name) for each in model.inputs
    ]


def endpoint(model: keras.Model) -> Callable[..., dict[str, Any]]:
    """A function of one window, as `signature` has it -> the model's answers by name."""

    def predict(*inputs: Any) -> dict[str, Any]:
        shaped = [tf.reshape(x, (1, -1)) for x in inputs]
        answers: dict[str, Any] = model(shaped, training=False)
        return answers

    return predict


def converted(converter: Any) -> bytes:
    """What a `TFLiteConverter` makes.

    Raises:
        ExportError: LiteRT lacks an operation that the model needs; the message names it.
    """
    try:
        return bytes(converter.convert())
    except (RuntimeError, ValueError, ConverterError) as e:
        missing = sorted(set(re.findall(r"'(tfl?\.\w+)' op", str(e))))
        what = ", ".join(missing) or str(e).strip().splitlines()[0]
        raise ExportError(f"LiteRT cannot run this model: {what}. --to h5 can hold it.") from e


def rebuilt(model: keras.Model, change: Callable[[dict[str, Any]], bool]) -> keras.Model:
    """The same model and numbers with another configuration, or `model` where nothing changes.

    `change` is shown every dictionary in the configuration, may change it, and says whether it did.
    """
    config = keras.saving.serialize_keras_object(model)

    def changed(part: Any) -> int:
        inside = part.values() if isinstance(part, dict) else part
        if not isinstance(part, dict | list | tuple):
            return 0
        return (isinstance(part, dict) and change(part)) + sum(changed(each) for each in inside)

    if not changed(config):
        return model
    copy = keras.saving.deserialize_keras_object(config)
    copy.set_weights(model.get_weights())
    return copy


def _unboxed(symbol: Any) -> tuple[int, ...]:
    """The shape of one example; a single number stands alone."""
    shape = tuple(symbol.shape[1:])
    return () if shape == (1,) else shape


def agreement(model: keras.Model, path: Path, signals: list[NDArray[np.float32]]) -> float:
    """Largest difference in any probability between Keras and a LiteRT file on `signals`.

    For a model that takes a profile, that of the signal before serves.
    """
    samples = model.inputs[0].shape[1]
    run = Interpreter(str(path)).get_signature_runner("predict")
    worst, profile = 0.0, None
    for signal in signals:
        window = np.zeros((1, samples), np.float32)
        window[0, : len(signal)] = signal[:samples]
        values = {"waveform": window, "length": np.array([min(len(signal), samples)], np.int32)}
        if len(model.inputs) > 2:
            size = model.inputs[2].shape[1]
            values["profile"] = np.zeros((1, size), np.float32) if profile is None else profile
            values["count"] = np.array([profile is not None], np.float32)
        expected = model([values[each.name].reshape(1, -1) for each in model.inputs])
        got = run(**values)
        profile = got.get("functionals")
        difference = np.abs(_probabilities(expected) - _probabilities(got)).max()
        # Unlike max(), this keeps a NaN, which the check then refuses.
        worst = float(np.maximum(worst, difference))
    return worst


def _probabilities(answers: dict[str, Any]) -> NDArray[np.float32]:
    return np.asarray(keras.ops.softmax(answers["logits"]))


def check(
    model: keras.Model, path: Path, signals: list[NDArray[np.float32]], tolerance: float
) -> float:
    """The agreement, when it is within `tolerance`.

    Raises:
        ExportError: it is not.
    """
    worst = agreement(model, path, signals)
    if not worst <= tolerance:
        raise ExportError(f"{path.name} differs from Keras by {worst:.2g}, more than {tolerance:g}")
    return worst


def check_both(
    whole: keras.Model,
    folder: Path,
    samples: list[NDArray[np.float32]],
    int8: float = INT8_TOLERANCE,
) -> dict[str, float]:
    """How far a probability is from Keras's at most, on these signals, file by file.

    Raises:
        ExportError: further than rounding explains, in 8 bits than `int8`.
    """
    tolerances = {FLOAT: FLOAT_TOLERANCE, INT8: int8}
    return {file: check(whole, folder / file, samples, most) for file, most in tolerances.items()}
