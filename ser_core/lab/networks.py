"""Every architecture by name: features and their mask in, logits out."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from ser_core.lab.features import MeanOverTime
from ser_core.lab.pooling import AttentiveStatistics, DownsampleMask

NETWORK, EMBEDDING = "network", "embedding"
"""Names of a network, and of its layer that says in a few hundred numbers what it heard."""

Network = Callable[[tuple[int | None, int], int], keras.Model]


def residual_cnn(
    features: tuple[int | None, int],
    classes: int,
    *,
    channels: Sequence[int] = (16, 32, 64, 96, 128),
    strides: Sequence[int] | None = None,
    dropout: float = 0.3,
    embedding: int = 128,
) -> keras.Model:
    """Residual 2-D convolutions over log-mel, attentive pooling over time.

    Input `(batch, frames, bands)` and mask `(batch, frames)`, output logits `(batch, classes)`.
    After He et al. 2016 (arXiv:1512.03385) and Okabe et al. 2018 (arXiv:1803.10963). The first
    stage is a plain convolution. The first four halve time and frequency, unless `strides` says
    otherwise: most of the time goes where the spectrum is still fine.
    """
    if strides is None:
        strides = [2 if stage < 4 else 1 for stage in range(len(channels))]
    inputs = _inputs(features)
    spectrum, mask = inputs
    x = layers.Reshape((-1, spectrum.shape[2], 1))(spectrum)
    for stage, (width, stride) in enumerate(zip(channels, strides, strict=True)):
        if stride > 1:
            mask = DownsampleMask()(mask)
        if stage == 0:
            x = _masked(_convolution(x, width, stride), mask)
        else:
            x = _residual(x, width, stride, mask)
    x = layers.Reshape((-1, x.shape[2] * x.shape[3]))(x)
    x = layers.Dense(embedding, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = AttentiveStatistics(name=EMBEDDING)([x, mask])
    x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=NETWORK)


def _inputs(features: tuple[int | None, int]) -> list[Any]:
    frames, bands = features
    return [keras.Input((frames, bands), name="features"), keras.Input((frames,), name="mask")]


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
