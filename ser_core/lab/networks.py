"""Every architecture by name: features and their mask in, logits out."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from ser_core.lab.features import MeanOverTime
from ser_core.lab.pooling import AttentiveStatistics, DownsampleMask

NETWORK, EMBEDDING, TOWER = "network", "embedding", "tower_"
"""Names of a network, of its layer that says in a few hundred numbers what it heard, and, with a
number behind it, of each of several networks side by side."""

Network = Callable[[tuple[int | None, int], int], keras.Model]


def residual_cnn(
    features: tuple[int | None, int],
    classes: int,
    *,
    channels: Sequence[int] = (16, 24, 48, 96, 128),
    dropout: float = 0.3,
    embedding: int = 128,
    towers: int = 1,
) -> keras.Model:
    """Residual 2-D convolutions over log-mel, attentive pooling over time.

    Input `(batch, frames, bands)` and mask `(batch, frames)`, output logits `(batch, classes)`.
    After He et al. 2016 (arXiv:1512.03385) and Okabe et al. 2018 (arXiv:1803.10963). With several
    `towers`, as many of these networks side by side, whose embeddings are put together; `joined`
    makes one of networks that were fitted alone.
    """
    inputs = _inputs(features)
    if towers == 1:
        x = _residual_tower(inputs, channels, embedding)
    else:
        heard = []
        for number in range(1, towers + 1):
            own = _inputs(features)
            answer = _residual_tower(own, channels, embedding)
            heard.append(keras.Model(own, answer, name=f"{TOWER}{number}")(inputs))
        x = layers.Concatenate(name=EMBEDDING)(heard)
    x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=NETWORK)


def joined(together: keras.Model, alone: Sequence[keras.Model]) -> None:
    """Give a network of several towers the weights of as many that were fitted alone.

    Its logits are then the mean of theirs.
    """
    for number, network in enumerate(alone, 1):
        tower = keras.Model(network.inputs, network.get_layer(EMBEDDING).output)
        together.get_layer(f"{TOWER}{number}").set_weights(tower.get_weights())
    kernels, biases = zip(*(n.get_layer("logits").get_weights() for n in alone), strict=True)
    kernel = np.concatenate(kernels) / len(alone)
    together.get_layer("logits").set_weights([kernel, np.mean(biases, axis=0)])


def _inputs(features: tuple[int | None, int]) -> list[Any]:
    frames, bands = features
    return [keras.Input((frames, bands), name="features"), keras.Input((frames,), name="mask")]


def _residual_tower(inputs: Sequence[Any], channels: Sequence[int], embedding: int) -> Any:
    """What one such network heard, `(batch, 2 embedding)`."""
    spectrum, mask = inputs
    x = layers.Reshape((-1, spectrum.shape[2], 1))(spectrum)
    step = DownsampleMask()(mask)
    x = _masked(_convolution(x, channels[0], strides=2), step)
    for index, width in enumerate(channels[1:]):
        strides = 1 if index == 0 else 2
        if strides == 2:
            step = DownsampleMask()(step)
        x = _residual(x, width, strides, step)
    x = layers.Reshape((-1, x.shape[2] * x.shape[3]))(x)
    x = layers.Dense(embedding, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    return AttentiveStatistics(name=EMBEDDING)([x, step])


def plain_cnn(
    features: tuple[int | None, int],
    classes: int,
    *,
    channels: Sequence[int] = (16, 32, 64, 128),
    dropout: float = 0.3,
) -> keras.Model:
    """The usual 2-D CNN on log-mel: convolution and pool, again and again; mean over time.

    Input and output as of `residual_cnn`.
    """
    spectrum, mask = _inputs(features)
    x, step = _pooled(spectrum, mask, channels)
    x = layers.Reshape((-1, x.shape[2] * x.shape[3]))(x)
    x = MeanOverTime(name=EMBEDDING)(x, mask=step)
    x = layers.Dropout(dropout)(x)
    return keras.Model([spectrum, mask], layers.Dense(classes, name="logits")(x), name=NETWORK)


def crnn(
    features: tuple[int, int],
    classes: int,
    *,
    channels: Sequence[int] = (16, 32, 64, 96),
    units: int = 64,
    dropout: float = 0.3,
) -> keras.Model:
    """Convolutions over log-mel, then a recurrent layer in each direction, as they end.

    Input and output as of `residual_cnn`, with a number of frames that is known: the recurrence
    (GRU, Cho et al. 2014, arXiv:1406.1078) is unrolled, since LiteRT knows no loops without it.
    """
    spectrum, mask = _inputs(features)
    x, step = _pooled(spectrum, mask, channels)
    x = layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]))(x)
    x = layers.Dense(units, activation="relu")(x)
    # Not Bidirectional: unrolled, that hears the padding in Keras 3.15.
    ends = [
        layers.GRU(units, unroll=True, go_backwards=backwards)(x, mask=step)
        for backwards in (False, True)
    ]
    x = layers.Concatenate(name=EMBEDDING)(ends)
    x = layers.Dropout(dropout)(x)
    return keras.Model([spectrum, mask], layers.Dense(classes, name="logits")(x), name=NETWORK)


def _pooled(x: Any, mask: Any, channels: Sequence[int]) -> tuple[Any, Any]:
    """Convolutions, each followed by a pool of 2 by 2, and the mask of what is left of time."""
    x = layers.Reshape((-1, x.shape[2], 1))(x)
    for width in channels:
        x = layers.MaxPooling2D(2, padding="same")(_convolution(x, width))
        mask = DownsampleMask()(mask)
        x = _masked(x, mask)
    return x, mask


def _convolution(x: Any, width: int, strides: int = 1) -> Any:
    x = layers.Conv2D(width, 3, strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def _residual(x: Any, width: int, strides: int, mask: Any) -> Any:
    y = _masked(_convolution(x, width, strides), mask)
    y = layers.Conv2D(width, 3, padding="same", use_bias=False)(y)
    y = layers.BatchNormalization()(y)
    if strides > 1:
        x = layers.AveragePooling2D(strides, padding="same")(x)
    if x.shape[-1] != width:
        x = layers.Conv2D(width, 1, use_bias=False)(x)
    x = layers.ReLU()(layers.add([x, y]))
    return _masked(x, mask)


def _masked(x: Any, mask: Any) -> Any:
    """Zero where the sound has ended, so that padding is no other than the window's edge."""
    return layers.multiply([x, layers.Reshape((-1, 1, 1))(mask)])
