"""The networks of the classic designs: values of a clip `(batch, k)` in, logits out."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers


def dense(
    values: int, classes: int, *, hidden: Sequence[int] = (120, 100, 80, 50, 30, 20)
) -> keras.Model:
    """Layers of `hidden` units with ReLU."""
    inputs = keras.Input((values,), name="values")
    x = inputs
    for units in hidden:
        x = layers.Dense(units, activation="relu")(x)
    return keras.Model(inputs, _logits(x, classes), name="dense")


def nimble_cnn(values: int, classes: int, *, dropout: float = 0.25) -> keras.Model:
    """Two convolutions along the values, each with a pool, and a dense layer."""
    inputs = keras.Input((values,), name="values")
    x = layers.Reshape((values, 1))(inputs)
    for channels in (32, 64):
        x = layers.Conv1D(channels, 5, padding="same", activation="relu")(x)
        x = layers.MaxPooling1D(2)(x)
    x = layers.Dropout(dropout)(x)
    x = layers.Dense(128, activation="relu")(layers.Flatten()(x))
    x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, _logits(x, classes), name="nimble_cnn")


def edge_cnn(
    values: int, classes: int, *, pools: tuple[int, int] = (8, 8), dropout: float = 0.25
) -> keras.Model:
    """Eight convolutions along the values, with batch normalisation after the 2nd and the 6th."""
    inputs = keras.Input((values,), name="values")
    x = layers.Reshape((values, 1))(inputs)
    for channels, count, pool in ((256, 2, pools[0]), (128, 4, pools[1])):
        for _ in range(count - 1):
            x = _convolution(x, channels)
        x = layers.Conv1D(channels, 8, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling1D(pool)(layers.Dropout(dropout)(x))
    for _ in range(2):
        x = _convolution(x, 64)
    return keras.Model(inputs, _logits(layers.Flatten()(x), classes), name="edge_cnn")


def _convolution(x: Any, channels: int) -> Any:
    return layers.Conv1D(channels, 8, padding="same", activation="relu")(x)


def _logits(x: Any, classes: int) -> Any:
    return layers.Dense(classes, name="logits")(x)
