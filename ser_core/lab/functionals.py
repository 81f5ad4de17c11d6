"""What a whole utterance sounds like, in a few hundred numbers: functionals in the graph.

Statistics over time of acoustic descriptors, in the tradition of openSMILE's feature sets (Eyben
et al. 2016, "The Geneva Minimalistic Acoustic Parameter Set", doi:10.1109/TAFFC.2015.2457417).
Everything is computed from the log-mel and the power spectrum with operations that LiteRT has.
"""

import math
from typing import Any

import keras
import librosa
import numpy as np
from keras import ops

from ser_core.lab.dynamics import Contours, dynamics, following
from ser_core.lab.features import SMALLEST_POWER, LogMel
from ser_core.lab.pooling import frame_level, loud_frames

LOWEST, HIGHEST = 60.0, 500.0
"""Hz between which the fundamental frequency of a voice is looked for."""
PITCH_BAND = 2000.0
"""Hz up to which harmonics are used to find it."""
VOICED = 0.45
"""Normalised autocorrelation above which a frame counts as voiced (as in Boersma 1993)."""
MFCC = 20
PERCENTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

register = keras.saving.register_keras_serializable(package="ser")


@register
class VoiceFeatures(LogMel):
    """Log-mel in dB, fundamental frequency and voicing of each frame, from one spectrum.

    `(batch, samples)` -> log-mel `(batch, frames, n_mels)` and pitch `(batch, frames, 2)`.
    The autocorrelation is the power spectrum times a matrix of cosines (Wiener-Khinchin); divided
    by that of the window (Boersma 1993, "Accurate short-term analysis of the fundamental
    frequency"), its highest peak between 60 and 500 Hz gives octaves above 60 Hz, and its height
    the voicing, 0 to 1.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rate = self.sampling_rate
        lags = np.arange(int(rate / HIGHEST), int(rate / LOWEST) + 1)
        bins = np.arange(1 + self.n_fft // 2) if self._dft is None else self._dft.bins
        used = np.flatnonzero(bins * rate / self.n_fft <= PITCH_BAND)
        angles = 2 * np.pi * np.outer(np.append(lags, 0), bins[used]) / self.n_fft
        window = np.asarray(self._window, np.float64)
        own = np.fft.irfft(np.abs(np.fft.rfft(window, 2 * self.n_fft)) ** 2)
        window_share = np.append(own[lags] / own[0], 1)[:, None]
        cosines = (np.cos(angles) / window_share).astype(np.float32)
        self._octaves = np.log2(rate / lags / LOWEST).astype(np.float32)[:, None]
        filters = self._filters if self._dft is None else self._filters[:, bins]
        # Bands that lie among the bins of the pitch need no others: two fifths of their products.
        higher = np.delete(filters, used, axis=1).any(axis=1)
        self._used, self._lower = used, int(np.argmax(np.append(higher, True)))
        self._low = np.concatenate([filters[: self._lower, used], cosines])
        self._high = np.ascontiguousarray(filters[self._lower :])

    def call(self, signal: Any) -> tuple[Any, Any]:
        spectrum = self._power(signal)
        low = ops.matmul(self._low, ops.take(spectrum, self._used, axis=1))
        high = ops.matmul(self._high, spectrum)
        bands = ops.concatenate([low[:, : self._lower], high], axis=1)
        decibels = 10.0 / math.log(10.0) * ops.log(ops.maximum(bands, SMALLEST_POWER))
        return ops.transpose(decibels, (0, 2, 1)), self._pitch(low[:, self._lower :])

    def _pitch(self, correlation: Any) -> Any:
        relative = correlation[:, :-1, :] / ops.maximum(correlation[:, -1:, :], 1e-9)
        # Multiples of the period repeat its peak: of two equals the shorter is meant.
        preferred = relative + 0.02 * self._octaves
        best = ops.max(preferred, axis=1, keepdims=True)
        # A sum over the peak instead of an argmax, which LiteRT lacks here.
        peak = ops.cast(ops.greater_equal(preferred, best), "float32")
        both = np.concatenate([self._octaves, np.ones_like(self._octaves)], axis=1).T
        sums = ops.matmul(both, peak)
        octaves = sums[:, 0] / sums[:, 1]
        voicing = ops.clip(ops.squeeze(best, 1) - 0.02 * octaves, 0.0, 1.0)
        return ops.stack([octaves, voicing], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, frames, bands = super().compute_output_shape(input_shape)
        return (batch, frames, bands), (batch, frames, 2)


@register
class Functionals(keras.layers.Layer):  # type: ignore[misc]
    """Log-mel in dB `(batch, frames, bands)`, pitch `(batch, frames, 2)` and mask
    `(batch, frames)` -> functionals `(batch, size)`.

    None depends on the level of the recording. With a `frame_rate`, the frames of a second, those
    of `ser_core.lab.dynamics` come last.
    """

    def __init__(
        self, bands: int = 64, frames: int = 188, frame_rate: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.bands, self.frames, self.frame_rate = bands, frames, frame_rate
        self._cosines = librosa.feature.mfcc(
            S=np.eye(bands, dtype=np.float32), n_mfcc=MFCC + 1, norm="ortho"
        )[1:]
        self._positions = np.arange(frames, dtype=np.float32)

    def call(self, inputs: Any) -> Any:
        decibels, pitch, mask = inputs
        level, speech = frame_level(decibels), loud_frames(decibels, mask)
        peak = ops.max(ops.where(ops.greater(mask, 0), level, -1e9), axis=1, keepdims=True)
        relative = ops.maximum(decibels - ops.expand_dims(peak, -1), -80.0)
        mfcc = ops.transpose(
            ops.matmul(self._cosines, ops.transpose(relative, (0, 2, 1))), (0, 2, 1)
        )
        octaves, voicing = pitch[:, :, 0], pitch[:, :, 1]
        voiced = speech * ops.cast(ops.greater(voicing, VOICED), "float32")
        level = ops.maximum(level - peak, -60.0)
        shape = _shape(relative, self.bands)
        descriptors = ops.concatenate([mfcc, shape, ops.stack([level, voicing], axis=-1)], axis=-1)
        moving, both = _delta(descriptors), speech * following(speech)
        flux = ops.mean(ops.abs(_delta(relative)), axis=-1)
        gliding = voiced * following(voiced)
        narrow = ops.concatenate(
            [mfcc[:, :, :6], shape, ops.stack([level, voicing, flux], axis=-1)], axis=-1
        )
        melody = ops.expand_dims(octaves, -1)
        share = ops.sum(mask, axis=1, keepdims=True)
        contours = Contours(relative, mfcc, level, octaves, voicing, flux, speech, voiced, mask)
        return ops.concatenate(
            [
                *_moments(descriptors, speech),
                _moments(moving, both)[1],
                _mean(ops.abs(moving), both),
                *_moments(ops.expand_dims(flux, -1), both),
                self._percentiles(narrow, speech),
                *_moments(melody, voiced),
                self._percentiles(melody, voiced),
                _moments(_delta(melody), gliding)[1],
                _mean(ops.abs(_delta(melody)), gliding),
                ops.sum(voiced, axis=1, keepdims=True) / share,
                ops.sum(speech, axis=1, keepdims=True) / share,
                # Changes between voiced and not, and in and out of speech: how fast one speaks.
                ops.sum(ops.abs(_delta(ops.expand_dims(voiced, -1)))[:, :, 0], 1, keepdims=True)
                / share,
                *([dynamics(contours, self.frame_rate)] if self.frame_rate else []),
            ],
            axis=-1,
        )

    def _percentiles(self, x: Any, mask: Any) -> Any:
        """`(batch, frames, k)` -> `(batch, 5 k)`, interpolated linearly, over the masked frames."""
        count = ops.sum(mask, axis=1, keepdims=True)
        kept = ops.where(ops.expand_dims(mask, 1) > 0, ops.transpose(x, (0, 2, 1)), -1e4)
        ordered = ops.top_k(kept, self.frames)[0]
        results = []
        for share in PERCENTILES:
            place = (1.0 - share) * ops.maximum(count - 1.0, 0.0)
            weights = ops.maximum(1.0 - ops.abs(self._positions[None] - place), 0.0)
            chosen = ops.sum(ordered * ops.expand_dims(weights, 1), axis=-1)
            # Where nothing counts there is no percentile: 0 stands for it, as for the mean.
            results.append(ops.where(count > 0, chosen, 0.0))
        return ops.concatenate(results, axis=-1)

    def get_config(self) -> dict[str, Any]:
        sizes = {"bands": self.bands, "frames": self.frames, "frame_rate": self.frame_rate}
        return {**super().get_config(), **sizes}


def _shape(relative: Any, bands: int) -> Any:
    """Spectral slope, balance of high and low, and centroid of each frame, `(..., 3)`."""
    position = np.linspace(-1, 1, bands, dtype=np.float32)
    high = (position > 0).astype(np.float32)
    power = ops.exp(relative * float(np.log(10) / 20))
    centroid = ops.sum(power * position, axis=-1) / (ops.sum(power, axis=-1) + 1e-6)
    balance = ops.sum(relative * (2 * high - 1), axis=-1) / (bands / 2)
    slope = ops.sum(relative * position, axis=-1) / float(np.sum(position**2))
    return ops.stack([slope, balance, 20 * centroid], axis=-1)


def _delta(x: Any) -> Any:
    """Difference to the next frame; 0 at the last."""
    return ops.concatenate([x[:, 1:] - x[:, :-1], ops.zeros_like(x[:, :1])], axis=1)


def _mean(x: Any, mask: Any) -> Any:
    weights = ops.expand_dims(mask, -1)
    return ops.sum(x * weights, axis=1) / (ops.sum(weights, axis=1) + 1e-6)


def _moments(x: Any, mask: Any) -> tuple[Any, Any]:
    """Mean and standard deviation over the masked frames, each `(batch, k)`."""
    mean = _mean(x, mask)
    variance = _mean(ops.square(x - ops.expand_dims(mean, 1)), mask)
    return mean, ops.sqrt(variance + 1e-6)
