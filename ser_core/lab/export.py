"""Keras -> LiteRT, each file checked against Keras."""

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

# Registers the layers that a saved model is made of.
from ser_core.lab import features, pooling  # noqa: F401
from ser_core.runtime import LiteRT


class ExportError(RuntimeError):
    """An exported file does not do what the Keras model does."""


def load_keras(path: Path) -> keras.Model:
    """The Keras model of a bundle: waveform and length -> logits."""
    return keras.models.load_model(path, compile=False)


def export_litert(model: keras.Model, path: Path, *, int8: bool = False) -> None:
    """Write `model` (waveform `(1, samples)`, length `(1, 1)` -> logits) as one LiteRT file.

    Its signature `predict(waveform, length)` takes one window and its length `(1,)` in samples.
    `int8` stores the weights in 8 bits (dynamic range): a quarter of the size.
    """
    samples = model.inputs[0].shape[1]

    def predict(waveform: Any, length: Any) -> dict[str, Any]:
        return {"logits": model([waveform, tf.reshape(length, (1, 1))], training=False)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        name="predict",
        fn=predict,
        input_signature=[
            tf.TensorSpec((1, samples), tf.float32, name="waveform"),
            tf.TensorSpec((1,), tf.int32, name="length"),
        ],
    )
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["predict"])
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        path.write_bytes(converter.convert())


def agreement(model: keras.Model, path: Path, signals: list[NDArray[np.float32]]) -> float:
    """Largest difference in any probability between Keras and a LiteRT file on `signals`."""
    samples = model.inputs[0].shape[1]
    runtime = LiteRT(path)
    worst = 0.0
    for signal in signals:
        window = np.zeros((1, samples), np.float32)
        window[0, : len(signal)] = signal[:samples]
        length = np.array([min(len(signal), samples)], np.int32)
        expected = keras.ops.softmax(model([window, length[:, None]], training=False))
        got = keras.ops.softmax(runtime.logits(window, length))
        difference = float(np.abs(np.asarray(expected) - np.asarray(got)).max())
        # Unlike max(), this keeps a NaN, which the check then refuses.
        worst = float(np.maximum(worst, difference))
    return worst


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
