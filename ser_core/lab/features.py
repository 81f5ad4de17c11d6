"""Acoustic features as Keras layers: waveform `(batch, samples)` -> `(batch, frames, k)`.

Written with `keras.ops` alone, so that one model trains on TensorFlow, JAX or PyTorch, and
converts to LiteRT with builtin operations. The numbers are librosa's (McFee et al. 2015,
doi:10.25080/Majora-7b98e3ed-003): filters and windows come from `librosa.filters`, and tests hold
each layer against the function of `librosa.feature` that it is named after. Constants are plain
arrays and not weights, so a network's parameter count stays its own.

Two defaults differ from librosa's: frames are 1024 samples every 256 (64 ms every 16 ms at
16 kHz) where librosa, made for music at 22,050 Hz, has 2048 every 512; and `PowerSpectrogram` and
`LogMel` mirror the signal at its ends where librosa pads with zeros.
"""

import math
from typing import Any

import keras
import librosa
import numpy as np
from keras import ops

from ser_core.lab.stft import Framewise, PadMode, PowerSpectrogram, Spectral, frame_sums

__all__ = [
    "MFCC",
    "RMS",
    "Chroma",
    "LogMel",
    "MeanOverTime",
    "MelSpectrogram",
    "PowerSpectrogram",
    "SpectralBandwidth",
    "SpectralCentroid",
    "SpectralContrast",
    "SpectralRolloff",
    "ZeroCrossingRate",
]

SMALLEST_POWER = 1e-10
"""`amin` of `librosa.power_to_db`: -100 dB."""

SMALLEST_NORM = float(np.finfo(np.float32).tiny)
"""Below this, as in `librosa.util.normalize`, nothing is divided by the norm."""

ZERO = 1e-10
"""`threshold` of `librosa.zero_crossings`: samples this near zero are zero, hence not negative."""

register = keras.saving.register_keras_serializable(package="ser")


@register
class MelSpectrogram(Spectral):
    """Power in the bands of Slaney's mel scale, `librosa.feature.melspectrogram`.

    `(batch, samples)` -> `(batch, frames, n_mels)`. Bands lie between `fmin` and `fmax` Hz, half
    the sampling rate by default; other arguments are those of `Spectral`.
    """

    settings = (*Spectral.settings, "sampling_rate", "n_mels", "fmin", "fmax")

    def __init__(
        self,
        sampling_rate: int = 16_000,
        n_fft: int = 1024,
        hop: int = 256,
        n_mels: int = 128,
        *,
        fmin: float = 0.0,
        fmax: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_fft, hop, **kwargs)
        self.sampling_rate, self.n_mels, self.fmin, self.fmax = sampling_rate, n_mels, fmin, fmax
        self.width = n_mels
        self._filters = librosa.filters.mel(
            sr=sampling_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax
        )

    def mel(self, signal: Any) -> Any:
        """`(batch, n_mels, frames)`."""
        return self.weighted(self._filters, signal)

    def call(self, signal: Any) -> Any:
        return frames_first(self.mel(signal))


@register
class LogMel(MelSpectrogram):
    """Mel spectrogram in dB, `10 log10(max(mel, 1e-10))`, without the floor `top_db`.

    Equals `librosa.power_to_db(mel, top_db=None)`: a frame depends on its own samples alone, never
    on the loudest frame of the signal. Ends are mirrored by default, since zeros would put a click
    there.
    """

    def __init__(
        self,
        sampling_rate: int = 16_000,
        n_fft: int = 1024,
        hop: int = 256,
        n_mels: int = 64,
        *,
        pad_mode: PadMode = "reflect",
        **kwargs: Any,
    ) -> None:
        super().__init__(sampling_rate, n_fft, hop, n_mels, pad_mode=pad_mode, **kwargs)

    def call(self, signal: Any) -> Any:
        return frames_first(to_decibels(self.mel(signal), None))


@register
class MFCC(MelSpectrogram):
    """Mel-frequency cepstral coefficients, `librosa.feature.mfcc`.

    `(batch, samples)` -> `(batch, frames, n_mfcc)`. Bands more than `top_db` below the loudest one
    of the whole signal are raised to that level (None: they are not).
    """

    settings = (*MelSpectrogram.settings, "n_mfcc", "top_db")

    def __init__(
        self,
        n_mfcc: int = 13,
        sampling_rate: int = 16_000,
        n_fft: int = 1024,
        hop: int = 256,
        n_mels: int = 128,
        *,
        top_db: float | None = 80.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(sampling_rate, n_fft, hop, n_mels, **kwargs)
        if not 1 <= n_mfcc <= n_mels:
            raise ValueError(f"n_mfcc={n_mfcc} of n_mels={n_mels}: between 1 and n_mels can be had")
        self.n_mfcc, self.top_db = n_mfcc, top_db
        self.width = n_mfcc
        self._cosines = librosa.feature.mfcc(S=np.eye(n_mels, dtype=np.float32), n_mfcc=n_mfcc)

    def call(self, signal: Any) -> Any:
        decibels = to_decibels(self.mel(signal), self.top_db)
        return frames_first(ops.matmul(self._cosines, decibels))


@register
class Chroma(Spectral):
    """Power in the pitch classes, the strongest of each frame 1: `librosa.feature.chroma_stft`.

    `(batch, samples)` -> `(batch, frames, n_chroma)`. Tuned to A = 440 Hz (`tuning=0`, where
    librosa by default estimates the tuning of the recording).
    """

    settings = (*Spectral.settings, "n_chroma", "sampling_rate")

    def __init__(
        self,
        n_chroma: int = 12,
        sampling_rate: int = 16_000,
        n_fft: int = 1024,
        hop: int = 256,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_fft, hop, **kwargs)
        self.n_chroma, self.sampling_rate = n_chroma, sampling_rate
        self.width = n_chroma
        self._filters = librosa.filters.chroma(
            sr=sampling_rate, n_fft=n_fft, n_chroma=n_chroma, tuning=0.0
        )

    def call(self, signal: Any) -> Any:
        chroma = self.weighted(self._filters, signal)
        return frames_first(divided(chroma, ops.max(chroma, axis=1, keepdims=True)))


class _SpectralShape(Spectral):
    """One number a frame, in Hz, that does not depend on level."""

    settings = (*Spectral.settings, "sampling_rate")
    width = 1

    def __init__(
        self, sampling_rate: int = 16_000, n_fft: int = 1024, hop: int = 256, **kwargs: Any
    ) -> None:
        super().__init__(n_fft, hop, **kwargs)
        self.sampling_rate = sampling_rate
        self._hertz = librosa.fft_frequencies(sr=sampling_rate, n_fft=n_fft).astype(np.float32)

    def windowed(self, signal: Any, *, frames_last: bool = False) -> Any:
        # Decoders leave samples of 1e-34 before a voice: librosa hears those, but single precision
        # does not hold their power.
        frames = super().windowed(signal, frames_last=frames_last)
        axis = 1 if frames_last else -1
        return divided(frames, ops.max(ops.abs(frames), axis=axis, keepdims=True))

    def centroid(self, magnitude: Any) -> Any:
        """`(batch, bins, frames)` -> `(batch, 1, frames)`, in Hz."""
        moment = ops.matmul(self._hertz.reshape(1, -1), magnitude)
        return divided(moment, ops.sum(magnitude, axis=1, keepdims=True))


@register
class SpectralCentroid(_SpectralShape):
    """Mean frequency of the magnitude spectrum in Hz, `librosa.feature.spectral_centroid`.

    `(batch, samples)` -> `(batch, frames, 1)`; 0 where the frame is silent.
    """

    def call(self, signal: Any) -> Any:
        weights = np.stack([self._hertz, np.ones_like(self._hertz)])
        sums = self.weighted(weights, signal, of="magnitude")
        return frames_first(divided(sums[:, :1], sums[:, 1:]))


@register
class SpectralBandwidth(_SpectralShape):
    """Standard deviation of frequency around the centroid, `librosa.feature.spectral_bandwidth`.

    `(batch, samples)` -> `(batch, frames, 1)`, in Hz.
    """

    def call(self, signal: Any) -> Any:
        magnitude = ops.sqrt(self.power(signal))
        deviation = ops.subtract(self._hertz.reshape(1, -1, 1), self.centroid(magnitude))
        total = ops.sum(magnitude, axis=1, keepdims=True)
        share = divided(magnitude, total)
        return frames_first(ops.sqrt(ops.sum(share * ops.square(deviation), axis=1, keepdims=True)))


@register
class SpectralRolloff(_SpectralShape):
    """Frequency below which `share` of the magnitude lies, `librosa.feature.spectral_rolloff`.

    `(batch, samples)` -> `(batch, frames, 1)`: in Hz, always the frequency of a bin.
    """

    settings = (*_SpectralShape.settings, "share")

    def __init__(
        self,
        sampling_rate: int = 16_000,
        n_fft: int = 1024,
        hop: int = 256,
        *,
        share: float = 0.85,
        **kwargs: Any,
    ) -> None:
        super().__init__(sampling_rate, n_fft, hop, **kwargs)
        if not 0 < share < 1:
            raise ValueError(f"share={share} must lie between 0 and 1")
        self.share = share

    def call(self, signal: Any) -> Any:
        total = ops.cumsum(ops.sqrt(self.power(signal)), axis=1)
        below = ops.cast(total < self.share * total[:, -1:], "float32")
        bins = ops.sum(below, axis=1, keepdims=True)
        return frames_first(bins * (self.sampling_rate / self.n_fft))


@register
class SpectralContrast(Spectral):
    """Peaks over valleys in octave bands in dB, `librosa.feature.spectral_contrast`.

    `(batch, samples)` -> `(batch, frames, n_bands + 1)`: below `fmin` Hz, then octave by octave, as
    in Jiang et al. 2002. Peak and valley are means over the share `quantile` of a band's bins.
    """

    settings = (*Spectral.settings, "sampling_rate", "n_bands", "fmin", "quantile")

    def __init__(
        self,
        sampling_rate: int = 16_000,
        n_fft: int = 1024,
        hop: int = 256,
        *,
        n_bands: int = 6,
        fmin: float = 200.0,
        quantile: float = 0.02,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_fft, hop, **kwargs)
        edges = [0.0, *(fmin * 2.0**octave for octave in range(n_bands + 1))]
        if edges[-2] >= sampling_rate / 2:
            raise ValueError(f"the highest band begins at {edges[-2]:g} Hz, past half the rate")
        self.sampling_rate, self.n_bands, self.fmin = sampling_rate, n_bands, fmin
        self.quantile, self.width = quantile, n_bands + 1
        self._bands = [self._band(band, edges) for band in range(n_bands + 1)]

    def _band(self, band: int, edges: list[float]) -> tuple[int, int, int]:
        """First bin, end, and how many are averaged; neighbours share bins as in librosa."""
        hertz = librosa.fft_frequencies(sr=self.sampling_rate, n_fft=self.n_fft)
        inside = np.flatnonzero((hertz >= edges[band]) & (hertz <= edges[band + 1]))
        first = int(inside[0]) - (1 if band > 0 else 0)
        last = band == self.n_bands
        end = len(hertz) if last else int(inside[-1]) + 1
        return first, end if last else end - 1, max(1, round(self.quantile * (end - first)))

    def call(self, signal: Any) -> Any:
        magnitude = frames_first(ops.sqrt(self.power(signal)))
        bands = [(magnitude[..., first:end], count) for first, end, count in self._bands]
        peaks = [_mean_of_largest(band, count) for band, count in bands]
        valleys = [-_mean_of_largest(-band, count) for band, count in bands]
        peak, valley = (ops.concatenate(values, axis=-1) for values in (peaks, valleys))
        return to_decibels(peak, 80.0) - to_decibels(valley, 80.0)


class _Waveform(Framewise):
    """One number a frame, from the samples themselves."""

    settings = (*Framewise.settings, "frame_length")
    width = 1

    def __init__(
        self,
        frame_length: int = 2048,
        hop: int = 256,
        *,
        center: bool = True,
        pad_mode: PadMode = "constant",
        **kwargs: Any,
    ) -> None:
        super().__init__(frame_length, hop, center=center, pad_mode=pad_mode, **kwargs)
        self.frame_length = frame_length


@register
class RMS(_Waveform):
    """Root mean square of the samples of each frame, `librosa.feature.rms`.

    `(batch, samples)` -> `(batch, frames, 1)`.
    """

    def call(self, signal: Any) -> Any:
        energy = frame_sums(ops.square(self.padded(signal)), self.length, self.hop)
        return ops.expand_dims(ops.sqrt(energy / self.length), axis=-1)


@register
class ZeroCrossingRate(_Waveform):
    """Share of samples at which the sign changes, `librosa.feature.zero_crossing_rate`.

    `(batch, samples)` -> `(batch, frames, 1)`. Ends are padded with the last sample, which adds no
    crossing.
    """

    def __init__(
        self, frame_length: int = 2048, hop: int = 256, *, pad_mode: PadMode = "edge", **kwargs: Any
    ) -> None:
        super().__init__(frame_length, hop, pad_mode=pad_mode, **kwargs)

    def call(self, signal: Any) -> Any:
        negative = ops.cast(self.padded(signal) < -ZERO, "float32")
        crossings = ops.abs(negative[:, 1:] - negative[:, :-1])
        # A frame's first sample has none before it: the crossing into it is not the frame's.
        within = frame_sums(ops.pad(crossings, ((0, 0), (0, 1))), self.length, self.hop)
        leaving = crossings[:, self.length - 1 :: self.hop]
        leaving = ops.pad(leaving, ((0, 0), (0, 1)))[:, : ops.shape(within)[1]]
        return ops.expand_dims((within - leaving) / self.length, axis=-1)


@register
class MeanOverTime(keras.layers.Layer):  # type: ignore[misc]
    """Mean of each feature over the frames: `(batch, frames, k)` -> `(batch, k)`.

    With a `mask` `(batch, frames)`, over the frames where it is not 0.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, features: Any, mask: Any = None) -> Any:
        if mask is None:
            return ops.mean(features, axis=1)
        weights = ops.expand_dims(ops.cast(mask, features.dtype), axis=-1)
        return ops.sum(features * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1)

    def compute_mask(self, features: Any, mask: Any = None) -> None:
        """There is no time left to mask."""


def frames_first(features: Any) -> Any:
    """`(batch, k, frames)` -> `(batch, frames, k)`."""
    return ops.transpose(features, (0, 2, 1))


def to_decibels(power: Any, top_db: float | None) -> Any:
    """`librosa.power_to_db(power, top_db=top_db)` of each example of a batch."""
    decibels = (10 / math.log(10)) * ops.log(ops.maximum(power, SMALLEST_POWER))
    if top_db is None:
        return decibels
    return ops.maximum(decibels, ops.max(decibels, axis=(1, 2), keepdims=True) - top_db)


def divided(values: Any, norm: Any) -> Any:
    """`values / norm`, or the values where the norm is hardly above 0."""
    return values / ops.where(norm < SMALLEST_NORM, 1.0, norm)


def _mean_of_largest(values: Any, count: int) -> Any:
    largest, _ = ops.top_k(values, count)
    return ops.mean(largest, axis=-1, keepdims=True)
