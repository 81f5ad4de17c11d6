"""Layers that know which frames of a padded window are sound."""

import math
from typing import Any

import keras
from keras import layers, ops

SPAN = 35.0
"""dB under the loudest frame within which a frame counts as speech."""
QUIETEST_PEAK = 1e-5
"""Under this a waveform is not made louder: 100 dB below full scale."""


@keras.saving.register_keras_serializable(package="ser")
class Trimmed(layers.Layer):  # type: ignore[misc]
    """Waveform `(batch, samples)` and lengths in samples `(batch, 1)` -> zeros from there on.

    The last frames reach past the end of the sound: whatever lies there must not be heard.
    """

    def call(self, inputs: Any) -> Any:
        waveform, lengths = inputs
        positions = ops.reshape(ops.arange(waveform.shape[1], dtype="int32"), (1, -1))
        inside = ops.less(positions, ops.cast(ops.reshape(lengths, (-1, 1)), "int32"))
        return ops.where(inside, waveform, 0.0)


@keras.saving.register_keras_serializable(package="ser")
class FrameMask(layers.Layer):  # type: ignore[misc]
    """Lengths in samples `(batch, 1)` -> 1 where a frame holds sound, else 0: `(batch, frames)`."""

    def __init__(self, frames: int, hop: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.frames, self.hop = frames, hop

    def call(self, lengths: Any) -> Any:
        starts = ops.arange(self.frames, dtype="float32") * float(self.hop)
        starts = ops.reshape(starts, (1, self.frames))
        # The first frame always counts: a mean over no frames at all is not a number.
        lengths = ops.maximum(ops.cast(ops.reshape(lengths, (-1, 1)), "float32"), 1.0)
        return ops.cast(ops.less(starts, lengths), "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "frames": self.frames, "hop": self.hop}


@keras.saving.register_keras_serializable(package="ser")
class PeakNormalised(layers.Layer):  # type: ignore[misc]
    """Waveform `(batch, samples)` -> the same, its largest absolute sample 1.

    The floor of a log-mel is absolute: a quiet recording would lose its weak bands to it.
    """

    def call(self, waveform: Any) -> Any:
        peak = ops.max(ops.abs(waveform), axis=1, keepdims=True)
        return waveform / ops.maximum(peak, QUIETEST_PEAK)


def frame_level(decibels: Any) -> Any:
    """Level of each frame, the log of the summed power of its bands.

    Log-mel in dB `(batch, frames, bands)` -> dB `(batch, frames)`.
    """
    loudest = ops.max(decibels, axis=-1, keepdims=True)
    power = ops.sum(ops.exp((decibels - loudest) * float(math.log(10) / 10)), axis=-1)
    return loudest[:, :, 0] + float(10 / math.log(10)) * ops.log(power)


def loud_frames(decibels: Any, mask: Any) -> Any:
    """1 where a frame is within `SPAN` dB of the loudest that `mask` holds, else 0."""
    level = ops.where(ops.greater(mask, 0), frame_level(decibels), -1e9)
    peak = ops.max(level, axis=1, keepdims=True)
    return mask * ops.cast(ops.greater(level, peak - SPAN), "float32")


@keras.saving.register_keras_serializable(package="ser")
class Sounding(layers.Layer):  # type: ignore[misc]
    """Log-mel in dB `(batch, frames, bands)` and mask -> mask `(batch, frames)`.

    1 from the first to the last frame within `SPAN` dB of the loudest. What surrounds a voice is
    room noise in one recording and digital silence in the next, and says nothing of the voice.
    """

    def call(self, inputs: Any) -> Any:
        loud = loud_frames(*inputs)
        before = ops.cumsum(loud, axis=1)
        after = ops.sum(loud, axis=1, keepdims=True) - before + loud
        return ops.cast(ops.logical_and(before > 0, after > 0), "float32")


@keras.saving.register_keras_serializable(package="ser")
class LevelNormalisation(layers.Layer):  # type: ignore[misc]
    """Log-mel in dB made independent of level, `(batch, frames, bands)` -> the same shape.

    The loudest point of the window becomes 0 dB, what lies `span` dB under it is cut off, then the
    mean over the frames within `SPAN` dB of the loudest is removed (of each band, if `per_band`)
    and dB become units of 20 dB. Frames without sound become 0.
    """

    def __init__(self, span: float = 70.0, per_band: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.span, self.per_band = span, per_band

    def call(self, inputs: Any) -> Any:
        decibels, mask = inputs
        loud = ops.expand_dims(loud_frames(decibels, mask), -1)
        mask = ops.expand_dims(mask, -1)
        heard = ops.where(ops.greater(mask, 0), decibels, -1e9)
        peak = ops.max(heard, axis=(1, 2), keepdims=True)
        relative = ops.maximum(decibels - peak, -self.span)
        # Pauses are left out of the mean: how silent they are is the room's and not the voice's.
        mean = ops.sum(relative * loud, axis=1, keepdims=True)
        mean = mean / ops.sum(loud, axis=1, keepdims=True)
        if not self.per_band:
            mean = ops.mean(mean, axis=2, keepdims=True)
        return (relative - mean) * mask / 20.0

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "span": self.span, "per_band": self.per_band}


@keras.saving.register_keras_serializable(package="ser")
class DownsampleMask(layers.Layer):  # type: ignore[misc]
    """Every second entry of a mask `(batch, frames)`, as a "same" convolution of stride 2 keeps."""

    def call(self, mask: Any) -> Any:
        return mask[:, ::2]


@keras.saving.register_keras_serializable(package="ser")
class AttentiveStatistics(layers.Layer):  # type: ignore[misc]
    """Weighted mean and spread over time: `(batch, frames, k)` and a mask -> `(batch, 2 k)`.

    Each feature has its own weights over time (Okabe et al. 2018, arXiv:1803.10963).
    """

    def build(self, shapes: Any) -> None:
        width = shapes[0][-1]
        self.hidden = layers.Dense(width // 2, activation="tanh")
        self.score = layers.Dense(width)
        self.hidden.build(shapes[0])
        self.score.build((*shapes[0][:-1], width // 2))

    def call(self, inputs: Any) -> Any:
        x, mask = inputs
        mask = ops.expand_dims(mask, -1)
        scores = self.score(self.hidden(x)) + (mask - 1.0) * 1e4
        weights = ops.softmax(scores, axis=1)
        mean = ops.sum(weights * x, axis=1)
        variance = ops.sum(weights * ops.square(x), axis=1) - ops.square(mean)
        return ops.concatenate([mean, ops.sqrt(ops.maximum(variance, 1e-6))], axis=-1)
