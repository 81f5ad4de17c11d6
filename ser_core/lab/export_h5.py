"""Keras's older file, .h5: what it cannot hold of a model is said in other words first."""

import logging
from pathlib import Path
from typing import Any

import keras

from ser_core.lab.export import ExportError, rebuilt
from ser_core.lab.operations import FUNCTIONS


def export_h5(model: keras.Model, path: Path) -> None:
    """Write `model` so that `ser_core.lab.export.load_keras` reads it, which knows its layers.

    Raises:
        ExportError: there is an operation between its layers that has no layer here.
    """
    # Keras warns that the format is an old one, which is why it was asked for.
    logging.getLogger("absl").setLevel(logging.ERROR)
    rebuilt(model, _as_layer).save(path)


def _as_layer(entry: dict[str, Any]) -> bool:
    """Make a layer of an operation on one tensor; whether `entry` was one."""
    # A layer may have the same name: Add is one too.
    if not str(entry.get("module")).startswith("keras.src.ops"):
        return False
    name = entry["class_name"]
    (node,) = entry["inbound_nodes"]
    tensor, *constants = node["args"]
    if name not in FUNCTIONS or node["kwargs"] or "__keras_tensor__" in str(constants):
        raise ExportError(f"an .h5 cannot hold Keras's {name}; --to tflite or onnx may")
    entry |= {
        "module": None,
        "class_name": "Applied",
        "registered_name": "ser>Applied",
        "config": {**entry["config"], "operation": name, "constants": constants},
        "inbound_nodes": [{"args": [tensor], "kwargs": {}}],
    }
    return True
