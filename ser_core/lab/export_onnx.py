"""Keras -> ONNX: one file that onnxruntime, and what else reads ONNX, can run."""

import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from ser_core.lab.export import ExportError, endpoint, rebuilt, signature

OPSET = 17
"""Old enough for runtimes of 2022, and new enough for every operation here."""


def export_onnx(model: keras.Model, path: Path) -> None:
    """Write `model` with the inputs and outputs of its LiteRT file, one window, in its own order.

    Spectra are computed by matrix products, since an FFT does not convert.

    Raises:
        ExportError: the model needs an operation that ONNX has not.
    """
    specs = signature(model)
    graph = tf.function(endpoint(without_fft(model)), input_signature=specs)
    # It tells of operations that it cannot convert here, and what to do about them below.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    try:
        proto, _ = tf2onnx.convert.from_function(
            graph, specs, opset=OPSET, custom_op_handlers={"Erfc": (_erfc, [])}
        )
    except (ValueError, RuntimeError, KeyError, AssertionError) as e:
        raise ExportError(f"no ONNX can be made of this model: {e}. --to tflite or h5 may.") from e
    strange = {n.op_type for n in proto.graph.node if not onnx.defs.has(n.op_type, n.domain)}
    if strange:
        raise ExportError(
            f"ONNX has nothing like TensorFlow's {', '.join(sorted(strange))}, which this model "
            "needs. --to tflite or h5 may hold it."
        )
    # As the model lists them, with the logits first: the converter sorts them by name.
    outputs = {each.name: each for each in proto.graph.output}
    del proto.graph.output[:]
    proto.graph.output.extend(outputs[name] for name in model.output)
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def without_fft(model: keras.Model) -> keras.Model:
    """The same model with the same numbers, every FFT done by products with cosines and sines."""
    return rebuilt(model, _by_products)


def _by_products(settings: dict[str, Any]) -> bool:
    found = settings.get("method") == "fft"
    if found:
        settings["method"] = "dft"
    return found


def _erfc(context: Any, node: Any, name: str, _: Any) -> None:
    """1 - erf(x), for which ONNX has no operation of its own: it is in the exact GELU."""
    one = context.make_const(tf2onnx.utils.make_name("one"), np.array(1.0, np.float32))
    erf = context.make_node("Erf", [node.input[0]], name=tf2onnx.utils.make_name("erf"))
    shapes, types = node.output_shapes, node.output_dtypes
    context.remove_node(node.name)
    context.make_node(
        "Sub",
        [one.output[0], erf.output[0]],
        outputs=node.output,
        name=name,
        shapes=shapes,
        dtypes=types,
    )
