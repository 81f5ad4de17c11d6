"""Keras -> full-integer int8 for microcontrollers: the network behind its log-mel.

TFLite Micro has no FFT, no sorting and no floats worth having, so the front end (the log-mel and
which of its frames are sound) is left to the device; `Parts.front_end` says what it is made of.
Statistics of the whole utterance (`Functionals`), which a network may hear beside the log-mel, are
held at their mean, a head that hears nothing else is left out, and there is no speaker profile.
"""

import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from numpy.typing import NDArray

from ser_core.lab.export import ExportError, converted
from ser_core.lab.functionals import Functionals
from ser_core.lab.pooling import AttentiveStatistics
from ser_core.lab.relative import FURTHEST, ByAcquaintance, RelativeToProfile

Floats = NDArray[np.float32]
Windows = tuple[Floats, NDArray[np.int32]]
"""Waveforms `(n, samples)` and their lengths in samples `(n, 1)`."""

UNHEARD = 16.0
"""What a frame without sound is marked down by before a softmax: e^-16, but still within int8."""
BATCH = 32


@dataclass(frozen=True)
class Parts:
    """A model from waveform to logits, cut where its network gets the log-mel."""

    front: keras.Model
    """Waveform `(n, samples)` and length `(n, 1)` -> log-mel as the network takes it, `(n, frames,
    bands)`, its mask `(n, frames)` if the network takes one, and functionals, if it hears any."""
    core: keras.Model
    """What the front gives -> a dict with `logits`."""
    inputs: int
    """How many of the front's outputs the int8 file takes: log-mel, or log-mel and mask."""

    @property
    def front_end(self) -> list[dict[str, Any]]:
        """The layers that the device has to stand in for, in their order, with their settings."""
        needed = keras.Model(self.front.inputs, self.front.outputs[: self.inputs])
        steps = (layer for layer in needed.layers if not isinstance(layer, layers.InputLayer))
        return [{"layer": type(step).__name__, **_settings(step)} for step in steps]

    def features(self, windows: Windows) -> list[Floats]:
        """The front's outputs for many windows."""
        answers = [
            keras.tree.flatten(self.front([part[row : row + BATCH] for part in windows]))
            for row in range(0, len(windows[0]), BATCH)
        ]
        return [
            np.concatenate([np.asarray(x) for x in each]) for each in zip(*answers, strict=True)
        ]


def cut(model: keras.Model) -> Parts:
    """The two halves of a model whose network, inside, has an input named `features`.

    They share the layers of `model`, some of which get another name.

    Raises:
        ExportError: there is no such network, or it hears something that only floats can hold.
    """
    unfolding = _Unfolding()
    inputs = [
        keras.Input(each.shape[1:], dtype=each.dtype, name=each.name) for each in model.inputs
    ]
    answers = unfolding.run(model, inputs)
    if not unfolding.heard:
        raise ExportError(
            "this model has no network that hears a log-mel, so there is nothing to put on a "
            "microcontroller. --to tflite or onnx can hold it whole."
        )
    heard = [*unfolding.heard, *unfolding.functionals]
    try:
        core = keras.Model(heard, {"logits": answers["logits"]})
    except ValueError as e:
        raise ExportError(
            "this model hears more than the log-mel, and that cannot be left out. --to tflite or "
            "onnx can hold it whole."
        ) from e
    return Parts(keras.Model(inputs[:2], heard), core, len(unfolding.heard))


def export_int8(parts: Parts, path: Path, windows: Windows) -> None:
    """Write the half behind the log-mel as a LiteRT file of integers alone.

    `windows` are real recordings that say how large the numbers inside get. The file's signature
    `predict` takes `features` `(1, frames, bands)` and, mostly, `mask` `(1, frames)`, and gives
    `logits` `(1, classes)`, all int8.

    Raises:
        ExportError: an operation has no integer form.
    """
    heard = parts.features(windows)
    # What the device does not compute is held at what is usual.
    fixed = [each.mean(axis=0, keepdims=True) for each in heard[parts.inputs :]]
    names = ("features", "mask")[: parts.inputs]

    def predict(*inputs: Any) -> dict[str, Any]:
        constants = [tf.constant(each) for each in fixed]
        answers: dict[str, Any] = parts.core([*inputs, *constants], training=False)
        return answers

    def examples() -> Iterator[dict[str, Floats]]:
        for row in range(len(heard[0])):
            yield {name: x[row : row + 1] for name, x in zip(names, heard, strict=False)}

    shapes = [(1, *x.shape[1:]) for x in heard[: parts.inputs]]
    archive = keras.export.ExportArchive()
    archive.track(parts.core)
    archive.add_endpoint(
        name="predict",
        fn=predict,
        input_signature=[
            tf.TensorSpec(shape, "float32", name=name)
            for shape, name in zip(shapes, names, strict=True)
        ],
    )
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["predict"])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        with warnings.catch_warnings():
            # It measures ranges with an interpreter that TensorFlow itself calls outdated.
            warnings.simplefilter("ignore", UserWarning)
            path.write_bytes(converted(converter))


class _Unfolding:
    """Runs a model on other inputs, unfolding the models in it, and remembers what is heard.

    What integers hold badly is exchanged for what they hold well.
    """

    def __init__(self) -> None:
        self.heard: list[Any] = []
        """What goes into the network: the log-mel, and its mask if it takes one."""
        self.functionals: list[Any] = []
        self._fixed: list[Any] = []
        """They, and what follows from them alone."""
        self._named: dict[str, Any] = {}

    def run(self, model: keras.Model, inputs: Any) -> Any:
        """The answers, in the graph of `inputs`."""
        # What keras.models.clone_model does, which cannot go on from another model's tensors.
        return model._run_through_graph(inputs, call_fn=self)

    def __call__(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.Model):
            if any(each.name == "features" for each in layer.inputs) and not self.heard:
                self.heard = keras.tree.flatten(args)
            return self.run(layer, args[0])
        if isinstance(layer, RelativeToProfile | ByAcquaintance):
            return self._without_profile(layer, args[0][0])
        if isinstance(layer, layers.Concatenate) and any(self._is_fixed(x) for x in args[0]):
            return _Beside(args[0])
        if isinstance(args[0], _Beside) and (first := args[0].first(args[1:])) is not None:
            return first
        args = keras.tree.map_structure(_joined, args)
        if isinstance(layer, layers.Average):
            # A head that hears nothing but what is left out would only say what is usual; those
            # that are left count the same.
            heard = [x for x in args[0] if not self._is_fixed(x)] or args[0]
            if len(heard) == 1:
                return heard[0]
            if len(heard) < len(args[0]):
                layer, args = layers.Average(name=layer.name), (heard,)
        return self._answer(_in_integers(layer), args, kwargs)

    def _answer(self, layer: Any, args: Any, kwargs: Any) -> Any:
        # Models side by side may each have a layer of one name; unfolded they are one model.
        while self._named.setdefault(layer.name, layer) is not layer:
            layer.name += "_"
        answer = layer(*args, **kwargs)
        tensors = [x for x in keras.tree.flatten(args) if isinstance(x, keras.KerasTensor)]
        if isinstance(layer, Functionals):
            self.functionals.append(answer)
        if isinstance(layer, Functionals) or all(self._is_fixed(x) for x in tensors):
            self._fixed.append(answer)
        return answer

    def _is_fixed(self, x: Any) -> bool:
        return any(x is y for y in self._fixed)

    def _without_profile(self, layer: RelativeToProfile | ByAcquaintance, described: Any) -> Any:
        """What `layer` gives without a profile, each part brought to one scale by itself."""
        if isinstance(layer, ByAcquaintance):
            return described
        parts = described.parts if isinstance(described, _Beside) else [described]
        scaled, start = [], 0
        for part in parts:
            end = start + part.shape[-1]
            own = _Standardised(layer.mean[start:end], layer.spread[start:end])
            scaled.append(self._answer(own, (part,), {}))
            start = end
        return _Beside(scaled) if len(scaled) > 1 else scaled[0]


class _Beside:
    """Vectors not yet concatenated: their numbers differ too much in size to share one scale."""

    def __init__(self, parts: Any) -> None:
        self.parts = list(parts)

    def first(self, key: Any) -> Any:
        """The first part, if `key` is the slice that cuts it out; else None."""
        cut_out = [slice(None), slice(None, self.parts[0].shape[-1])]
        # In a loaded model the key is a list, in a new one a tuple.
        return self.parts[0] if keras.tree.flatten(key) == cut_out else None


def _joined(x: Any) -> Any:
    return layers.Concatenate()(x.parts) if isinstance(x, _Beside) else x


def _in_integers(layer: Any) -> Any:
    """The layer, or what says the same with numbers that fit into 8 bits."""
    if isinstance(layer, AttentiveStatistics):
        return _Statistics(layer, name=f"int8_{layer.name}")
    if isinstance(layer, layers.Activation) and layer.activation is keras.activations.gelu:
        return _Gelu(name=f"int8_{layer.name}")
    return layer


class _Standardised(layers.Layer):  # type: ignore[misc]
    """`(batch, k)` in standard deviations from the mean, cut off as `RelativeToProfile` does."""

    def __init__(self, mean: Any, spread: Any) -> None:
        super().__init__()
        self._scale = 1 / np.asarray(spread, np.float32)
        self._offset = np.asarray(mean, np.float32) * self._scale

    def call(self, x: Any) -> Any:
        return ops.clip(x * self._scale - self._offset, -FURTHEST, FURTHEST)


class _Statistics(layers.Layer):  # type: ignore[misc]
    """`AttentiveStatistics` with its steps in another order, of which each fits into 8 bits."""

    def __init__(self, trained: AttentiveStatistics, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trained = trained

    def call(self, inputs: Any) -> Any:
        x, mask = inputs
        scores = self.trained.score(self.trained.hidden(x))
        scores = scores + (ops.expand_dims(mask, -1) - 1.0) * UNHEARD
        weights = ops.softmax(scores, axis=1)
        mean = ops.sum(weights * x, axis=1, keepdims=True)
        # A difference of two large means would leave nothing of a small variance.
        variance = ops.sum(weights * ops.square(x - mean), axis=1)
        spread = variance * ops.rsqrt(ops.maximum(variance, 1e-6))
        return ops.concatenate([ops.squeeze(mean, 1), spread], axis=-1)


class _Gelu(layers.Layer):  # type: ignore[misc]
    """GELU by the logistic function (Hendrycks & Gimpel 2016, arXiv:1606.08415), within .02.

    TFLite Micro knows no error function.
    """

    def call(self, x: Any) -> Any:
        return x * ops.sigmoid(1.702 * x)


def _settings(layer: Any) -> dict[str, Any]:
    config = layer.get_config()
    return {name: config[name] for name in config if name not in {"name", "trainable", "dtype"}}
