"""What the classic designs hear: a clip as a fixed number of values, computed by Keras layers.

librosa's features with librosa's defaults, frames of 2048 samples every 512. Only the frames that a
clip of so many samples has count, however long the window around it is.
"""

from typing import Any

import librosa
import numpy as np
from keras import layers, ops

from ser_core.lab.features import (
    MFCC,
    RMS,
    MeanOverTime,
    ZeroCrossingRate,
    divided,
    frames_first,
    register,
    to_decibels,
)
from ser_core.lab.pooling import FrameMask

N_FFT, HOP = 2048, 512
"""Samples of a frame, and from one to the next."""


@register
class ChromaMfccMel(MFCC):
    """Chroma, MFCC and mel spectrogram of one spectrum, librosa's functions of these names.

    `(batch, samples)` -> `(batch, frames, n_chroma)`, `(batch, frames, n_mfcc)` and
    `(batch, frames, n_mels)`. Tuned to A = 440 Hz; `top_db` as in `MFCC`.
    """

    settings = (*MFCC.settings, "n_chroma")

    def __init__(self, n_chroma: int, n_mfcc: int, sampling_rate: int, **kwargs: Any) -> None:
        kwargs = {"n_fft": N_FFT, "hop": HOP, **kwargs}
        super().__init__(n_mfcc, sampling_rate, **kwargs)
        self.n_chroma = n_chroma
        chroma = librosa.filters.chroma(
            sr=sampling_rate, n_fft=self.n_fft, n_chroma=n_chroma, tuning=0.0
        )
        self._both = np.concatenate([chroma, self._filters])

    def call(self, signal: Any) -> tuple[Any, Any, Any]:
        powers = self.weighted(self._both, signal)
        chroma, mel = powers[:, : self.n_chroma], powers[:, self.n_chroma :]
        chroma = divided(chroma, ops.max(chroma, axis=1, keepdims=True))
        mfcc = ops.matmul(self._cosines, to_decibels(mel, self.top_db))
        return frames_first(chroma), frames_first(mfcc), frames_first(mel)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> Any:
        shape = super().compute_output_shape(input_shape)
        return tuple((*shape[:2], width) for width in (self.n_chroma, self.n_mfcc, self.n_mels))


@register
class MeanOverCoefficients(layers.Layer):  # type: ignore[misc]
    """Mean of each frame, `(batch, frames, k)` and a mask -> `(batch, length)`, zeros at the end.

    Frames that the mask leaves out are zero too.
    """

    def __init__(self, length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = length

    def call(self, inputs: Any) -> Any:
        frames, mask = inputs
        means = ops.mean(frames, axis=-1) * mask
        return ops.pad(means, ((0, 0), (0, self.length - frames.shape[1])))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "length": self.length}


@register
class Standardised(layers.Layer):  # type: ignore[misc]
    """`(x - mean) / scale` of each value, `(batch, k)`: scikit-learn's `StandardScaler`.

    Constants and no weights, so that a network's parameter count stays its own.
    """

    def __init__(self, mean: list[float], scale: list[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean, self.scale = list(mean), list(scale)

    def call(self, values: Any) -> Any:
        mean, scale = np.array(self.mean, np.float32), np.array(self.scale, np.float32)
        # Changes nothing, but keeps LiteRT from multiplying 1 / scale into the weights of the next
        # layer: values of all magnitudes would then share 8 bits.
        return ops.maximum((values - mean) / scale, -1e6)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "scale": self.scale}


@register
class SummedOverSexes(layers.Layer):  # type: ignore[misc]
    """Logits of sex and emotion, `(batch, 2 k)`, all of one sex first -> of emotion `(batch, k)`.

    Their softmax is the sum of the two probabilities of each emotion.
    """

    def call(self, logits: Any) -> Any:
        return ops.logsumexp(ops.reshape(logits, (-1, 2, logits.shape[-1] // 2)), axis=1)


def edge_values(waveform: Any, length: Any, sampling_rate: int) -> Any:
    """162 means over time: zero crossings 1, chroma 12, MFCC 20, RMS 1, mel 128."""
    chroma, mfcc, mel = ChromaMfccMel(12, 20, sampling_rate)(waveform)
    crossings, level = ZeroCrossingRate(hop=HOP)(waveform), RMS(hop=HOP)(waveform)
    return _means([crossings, chroma, mfcc, level, mel], waveform, length)


def values_193(waveform: Any, length: Any, sampling_rate: int) -> Any:
    """193 means over time: MFCC 40, chroma 24, mel 128, zero crossings 1."""
    chroma, mfcc, mel = ChromaMfccMel(24, 40, sampling_rate)(waveform)
    return _means([mfcc, chroma, mel, ZeroCrossingRate(hop=HOP)(waveform)], waveform, length)


def mfcc_means(waveform: Any, length: Any, sampling_rate: int) -> Any:
    """40 MFCC, means over time."""
    return _means([MFCC(40, sampling_rate, N_FFT, HOP)(waveform)], waveform, length)


def mfcc_contour(waveform: Any, length: Any, sampling_rate: int) -> Any:
    """The mean of 13 MFCC of each frame, and a zero after them: 217 values of 2.5 s at 44.1 kHz."""
    mfcc = MFCC(13, sampling_rate, N_FFT, HOP)(waveform)
    mask = _mask(waveform, length)
    return MeanOverCoefficients(mfcc.shape[1] + 1)([mfcc, mask])


def _means(features: list[Any], waveform: Any, length: Any) -> Any:
    mask = _mask(waveform, length)
    return layers.Concatenate()([MeanOverTime()(each, mask=mask) for each in features])


def _mask(waveform: Any, length: Any) -> Any:
    # A frame that is centred on the end is librosa's last one.
    return FrameMask(1 + waveform.shape[1] // HOP, HOP)(length + 1)
