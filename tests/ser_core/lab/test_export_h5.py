"""Keras to .h5, read again by Keras."""

from pathlib import Path

import keras
import numpy as np
import pytest

from ser_core.bundle import find_bundle
from ser_core.lab.classics import CLASSICS
from ser_core.lab.export import ExportError, load_keras
from ser_core.lab.export_h5 import export_h5

RNG = np.random.default_rng(0)


def classic(name: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    design = CLASSICS[name]
    values = np.zeros(design.count, np.float32)
    return design.whole(design.build(), values, values + 10)


def default() -> keras.Model:
    return load_keras(find_bundle("default") / "model.keras")


@pytest.mark.parametrize("name", ["default", "nimble-cnn", "mlp-193"])
def test_every_design_answers_as_before_when_it_is_read_again(name: str, tmp_path: Path) -> None:
    model = default() if name == "default" else classic(name)
    export_h5(model, tmp_path / "model.h5")
    values = {"length": np.array([[20_000]], np.int32), "count": np.ones((1, 1), np.float32)}
    inputs = [
        values.get(each.name, RNG.normal(0, 0.1, (1, *each.shape[1:])).astype(np.float32))
        for each in model.inputs
    ]
    expected = np.asarray(model(inputs)["logits"])
    np.testing.assert_array_equal(load_keras(tmp_path / "model.h5")(inputs)["logits"], expected)
    assert np.ptp(expected) > 0


def test_an_operation_that_it_cannot_hold_is_named(tmp_path: Path) -> None:
    waveform = keras.Input((8,), name="waveform")
    for output, name in ((keras.ops.erfinv(waveform), "Erfinv"), (waveform + waveform, "Add")):
        model = keras.Model([waveform], {"logits": output})
        with pytest.raises(ExportError, match=f"cannot hold Keras's {name}; --to tflite or onnx"):
            export_h5(model, tmp_path / "model.h5")
