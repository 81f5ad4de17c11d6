"""Augmentation of cached log-mel: what another voice, room or channel would have changed.

Every function takes log-mel in dB, `(frames, bands)`, and a random generator, and gives another of
the same kind; working on cached features, they cost little beside the training step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LogMel = NDArray[np.float32]
Generator = np.random.Generator


@dataclass(frozen=True)
class SpectralAugmentation:
    """How strong each change may be; zero switches it off."""

    tempo: float = 0.15
    """Largest relative change of speed."""
    pitch: float = 0.15
    """Largest relative shift of all frequencies, as of a shorter or longer vocal tract
    (Jaitly & Hinton 2013, VTLP)."""
    equaliser: float = 6.0
    """dB, the largest slope or bump of a random channel's frequency response."""
    noise: float = 0.4
    """How often stationary noise is laid under the voice."""
    babble: float = 0.2
    """How often other voices are laid under it; see `overlay`."""
    band_limit: float = 0.2
    """How often the telephone band is cut out."""
    time_masks: int = 2
    frequency_masks: int = 2
    """Masks of up to 20 frames and 8 bands (Park et al. 2019, arXiv:1904.08779)."""

    def milder(self) -> "SpectralAugmentation":
        """Two thirds as strong, with one mask of each kind."""
        return SpectralAugmentation(
            tempo=self.tempo * 2 / 3,
            pitch=self.pitch * 2 / 3,
            equaliser=self.equaliser * 2 / 3,
            noise=self.noise * 2 / 3,
            babble=self.babble * 2 / 3,
            band_limit=self.band_limit * 2 / 3,
            time_masks=min(1, self.time_masks),
            frequency_masks=min(1, self.frequency_masks),
        )

    def __call__(self, log_mel: LogMel, frequencies: NDArray[np.float64], rng: Generator) -> LogMel:
        """Change a log-mel whose bands lie at `frequencies` `(bands,)` in Hz."""
        x = change_tempo(log_mel, 1 + rng.uniform(-self.tempo, self.tempo))
        x = shift_pitch(x, frequencies, 1 + rng.uniform(-self.pitch, self.pitch))
        x = equalise(x, self.equaliser, rng)
        if rng.random() < self.noise:
            x = add_noise(x, rng)
        if rng.random() < self.band_limit:
            x = telephone(x, frequencies)
        return mask(x, self.time_masks, self.frequency_masks, rng)


def change_tempo(x: LogMel, factor: float) -> LogMel:
    """Faster (factor > 1) or slower, at the same pitch: frames interpolated linearly."""
    where = np.arange(max(2, int(len(x) / factor))) * factor
    low = np.minimum(where.astype(int), len(x) - 1)
    high = np.minimum(low + 1, len(x) - 1)
    share = (where - low)[:, None].astype(np.float32)
    changed: LogMel = x[low] * (1 - share) + x[high] * share
    return changed


def shift_pitch(x: LogMel, frequencies: NDArray[np.float64], factor: float) -> LogMel:
    """All frequencies times `factor`: bands interpolated linearly over frequency."""
    bands = np.interp(frequencies / factor, frequencies, np.arange(len(frequencies)))
    low = np.minimum(bands.astype(int), x.shape[1] - 1)
    high = np.minimum(low + 1, x.shape[1] - 1)
    share = (bands - low).astype(np.float32)
    changed: LogMel = x[:, low] * (1 - share) + x[:, high] * share
    return changed


def equalise(x: LogMel, strength: float, rng: Generator) -> LogMel:
    """A smooth random frequency response: a slope and two slow waves over the bands."""
    position = np.linspace(-1, 1, x.shape[1])
    curve = rng.uniform(-1, 1) * position
    for waves in (1.0, 2.0):
        curve = curve + rng.uniform(-0.5, 0.5) * np.cos(
            np.pi * (waves * position + rng.uniform(0, 2))
        )
    return x + np.float32(strength) * curve.astype(np.float32)


def add_noise(x: LogMel, rng: Generator) -> LogMel:
    """Stationary coloured noise, 5 to 45 dB under the loudest frame, added in power."""
    level = x.max() - rng.uniform(5, 45) - 10
    colour = np.linspace(0, rng.uniform(-25, 10), x.shape[1], dtype=np.float32)
    # The power of noise in one band of one frame is nearly exponential.
    grain = 10 * np.log10(rng.exponential(1.0, x.shape) + 1e-3).astype(np.float32)
    noise = np.float32(level) + colour + grain * 0.7
    louder: LogMel = np.logaddexp(x / 4.343, noise / 4.343).astype(np.float32) * np.float32(4.343)
    return louder


def overlay(x: LogMel, others: Sequence[LogMel], rng: Generator) -> LogMel:
    """Other voices 3 to 30 dB under the loudest point, added in power, repeated if shorter."""
    total = x / 4.343
    for other in others:
        level = x.max() - other.max() - rng.uniform(3, 30)
        start = int(rng.integers(0, len(other)))
        repeated = np.resize(np.roll(other, -start, axis=0), x.shape)
        total = np.logaddexp(total, (repeated + np.float32(level)) / 4.343)
    louder: LogMel = total.astype(np.float32) * np.float32(4.343)
    return louder


def telephone(x: LogMel, frequencies: NDArray[np.float64]) -> LogMel:
    """Only 300 to 3400 Hz remain (ITU-T G.712)."""
    outside = (frequencies < 300) | (frequencies > 3400)
    return np.where(outside, np.minimum(x, x.max() - 70), x).astype(np.float32)


def mask(x: LogMel, times: int, bands: int, rng: Generator) -> LogMel:
    """Stretches of time and of frequency replaced by the mean."""
    x = x.copy()
    mean = x.mean()
    for _ in range(times):
        width = int(rng.integers(0, min(20, len(x) // 4) + 1))
        start = int(rng.integers(0, len(x) - width + 1))
        x[start : start + width] = mean
    for _ in range(bands):
        width = int(rng.integers(0, min(8, x.shape[1] // 4) + 1))
        start = int(rng.integers(0, x.shape[1] - width + 1))
        x[:, start : start + width] = mean
    return x
