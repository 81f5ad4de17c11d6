"""How a voice moves: which of its descriptors go together, how fast they change, and when.

A microphone or another throat adds something to each log-mel band that stays the same for the
whole recording. Correlations over time, the share of slow and of quick changes, and what the
beginning has more of than the end do not see it: on corpora never heard they say what means and
spreads do not (`benchmarks/experiments.md`).
"""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

DECIBELS = float(10 / np.log(10))
"""For a factor of e in power."""
CEPSTRA = 8
"""Cepstral coefficients that are looked at, from the first on."""
FLOORS = (*[1.0] * CEPSTRA, 1.0, 0.03, 0.3)
"""What counts as no spread at all of each descriptor: dB, share, dB."""
OCTAVES_FLOOR = 0.05
LAG = 4
"""Frames after which a descriptor is compared with itself: 64 ms, half a syllable."""
RATES = (0.7, 2.0, 4.0, 8.0, 16.0, 31.3)
"""Edges in Hz of the bands of modulation: phrases, words, syllables, sounds, roughness."""
GROUPS = ((0.0, 0.25), (0.25, 0.5625), (0.5625, 1.0))
"""Shares of the mel bands whose levels are looked at apart: up to 0.8, 2.1 and 8 kHz."""
PARTS = 3
"""Of the speech: its beginning, its middle and its end."""


class Contours(NamedTuple):
    """Descriptors of each frame, `(batch, frames)` unless it says otherwise."""

    relative: Any
    """Log-mel in dB relative to the loudest frame's level, `(batch, frames, bands)`."""
    mfcc: Any
    """`(batch, frames, k)`, the 0th left out."""
    level: Any
    """dB relative to the loudest frame."""
    octaves: Any
    """Fundamental frequency, where it is voiced."""
    voicing: Any
    """0 to 1."""
    flux: Any
    """Mean absolute change of the bands to the next frame in dB."""
    speech: Any
    """1 in loud frames, else 0."""
    voiced: Any
    """1 in voiced frames of speech, else 0."""
    mask: Any
    """1 in frames of the recording, else 0."""


def dynamics(x: Contours, frame_rate: float) -> Any:
    """Contours, so many frames a second -> `(batch, 147)`."""
    descriptors = ops.concatenate(
        [x.mfcc[:, :, :CEPSTRA], ops.stack([x.level, x.voicing, x.flux], axis=-1)], axis=-1
    )
    octaves = ops.expand_dims(x.octaves, -1)
    return ops.concatenate(
        [
            *_together(descriptors, octaves, x),
            _modulation(descriptors, octaves, x, frame_rate),
            *_parts(descriptors, octaves, x),
            *_durations(x),
        ],
        axis=-1,
    )


def _together(descriptors: Any, octaves: Any, x: Contours) -> list[Any]:
    """Correlations of the descriptors over speech, with each other, with pitch, with themselves a
    little later, and with how the level changes.
    """
    floors = np.square(np.array(FLOORS, np.float32))
    speech, count = _weights(x.speech)
    centred = (descriptors - _mean(descriptors, x.speech)) * speech
    covariance = ops.matmul(ops.transpose(centred, (0, 2, 1)), centred) / count
    spread = ops.sqrt(ops.sum(ops.square(centred), axis=1) / count[:, :, 0] + floors)
    size = len(FLOORS)
    rows, columns = np.triu_indices(size, 1)
    correlation = covariance / (ops.expand_dims(spread, 2) * ops.expand_dims(spread, 1))
    pairs = ops.take(ops.reshape(correlation, (-1, size * size)), rows * size + columns, axis=1)

    voiced, voiced_count = _weights(x.voiced)
    singing = (descriptors - _mean(descriptors, x.voiced)) * voiced
    melody = (octaves - _mean(octaves, x.voiced)) * voiced
    with_pitch = ops.sum(singing * melody, axis=1) / voiced_count[:, :, 0]
    with_pitch /= ops.sqrt(ops.sum(ops.square(singing), axis=1) / voiced_count[:, :, 0] + floors)
    with_pitch /= ops.sqrt(
        ops.sum(ops.square(melody), axis=1) / voiced_count[:, :, 0] + OCTAVES_FLOOR**2
    )

    both = x.speech[:, :-LAG] * x.speech[:, LAG:]
    product = ops.sum(centred[:, :-LAG] * centred[:, LAG:], axis=1)
    with_itself = product / _weights(both)[1][:, :, 0] / ops.square(spread)

    ahead = LAG // 2
    half = x.speech[:, :-ahead] * x.speech[:, ahead:]
    rise = ops.expand_dims(x.level[:, ahead:] - x.level[:, :-ahead], -1)
    halves, half_count = _weights(half)
    rise = (rise - _mean(rise, half)) * halves
    with_rise = ops.sum(centred[:, :-ahead] * rise, axis=1) / half_count[:, :, 0] / spread
    with_rise /= ops.sqrt(ops.sum(ops.square(rise), axis=1) / half_count[:, :, 0] + 1.0)
    return [pairs, with_pitch, with_itself, with_rise]


def _modulation(descriptors: Any, octaves: Any, x: Contours, frame_rate: float) -> Any:
    """Logarithms of the shares of the bands of `RATES` in how contours change: level, that of
    three `GROUPS` of bands, two cepstral coefficients, and pitch.
    """
    frames, bands = x.relative.shape[1:]
    edges = [(round(low * bands), round(high * bands)) for low, high in GROUPS]
    member = np.array([[low <= band < high for low, high in edges] for band in range(bands)])
    power = ops.matmul(ops.exp(x.relative / DECIBELS), member.astype(np.float32))
    groups = DECIBELS * ops.log(ops.maximum(power, 1e-6))
    contours = ops.concatenate(
        [ops.expand_dims(x.level, -1), groups, descriptors[:, :, :2]], axis=-1
    )
    contours = (contours - _mean(contours, x.mask)) * _weights(x.mask)[0]
    melody = (octaves - _mean(octaves, x.voiced)) * _weights(x.voiced)[0]
    contours = ops.concatenate([contours, melody], axis=-1)
    # The DFT by products, of the bins alone that are looked at.
    hertz = np.arange(1, frames // 2 + 1) * frame_rate / frames
    band = np.searchsorted(RATES, hertz, side="right") - 1
    used = (band >= 0) & (band < len(RATES) - 1)
    angles = 2 * np.pi * np.outer(hertz[used] / frame_rate, np.arange(frames))
    waves = np.concatenate([np.cos(angles), np.sin(angles)]).astype(np.float32)
    of_band = np.eye(len(RATES) - 1, dtype=np.float32)[band[used]].T
    both = np.concatenate([of_band, of_band], axis=1)
    powers = ops.matmul(both, ops.square(ops.matmul(waves, contours)))
    shares = powers / (ops.sum(powers, axis=1, keepdims=True) + 1e-3)
    return ops.reshape(ops.log(shares + 1e-3), (-1, (len(RATES) - 1) * contours.shape[-1]))


def _parts(descriptors: Any, octaves: Any, x: Contours) -> list[Any]:
    """What the parts of the speech have more of than the whole, in the order in which they come."""
    chosen = ops.concatenate([descriptors[:, :, :4], descriptors[:, :, -3:-1]], axis=-1)
    share = ops.cumsum(x.speech, axis=1) / (ops.sum(x.speech, axis=1, keepdims=True) + 1e-6)
    inside = ops.stack(
        [
            ops.cast(
                ops.logical_and(
                    ops.greater(share, part / PARTS + 1e-4),
                    ops.less(share, (part + 1) / PARTS + 1e-4),
                ),
                "float32",
            )
            for part in range(PARTS)
        ],
        axis=1,
    )
    means, _ = _means_of_parts(chosen, inside, x.speech)
    pitches, frames = _means_of_parts(octaves, inside, x.voiced)
    heard = ops.cast(ops.greater(frames, 0), "float32")
    return [ops.reshape(means, (-1, PARTS * 6)), ops.reshape(pitches * heard, (-1, PARTS))]


def _means_of_parts(y: Any, inside: Any, mask: Any) -> tuple[Any, Any]:
    """The parts' means less the whole's, `(batch, parts, k)`, and how many frames they have."""
    weights = inside * ops.expand_dims(mask, 1)
    frames = ops.sum(weights, axis=2, keepdims=True)
    return ops.matmul(weights, y) / (frames + 1e-6) - _mean(y, mask), frames


def _durations(x: Contours) -> list[Any]:
    """Logarithms of the mean voiced stretch, the pauses and the whole, in frames."""
    voiced = ops.sum(x.voiced, axis=1, keepdims=True)
    ends = ops.sum(x.voiced * (1.0 - following(x.voiced)), axis=1, keepdims=True)
    pauses = ops.sum(x.mask - x.speech, axis=1, keepdims=True)
    whole = ops.sum(x.mask, axis=1, keepdims=True)
    return [ops.log(y + 1.0) for y in (voiced / ops.maximum(ends, 1.0), pauses, whole)]


def _weights(mask: Any) -> tuple[Any, Any]:
    """Mask `(batch, frames)` -> the same, `(batch, frames, 1)`, and its sum `(batch, 1, 1)`."""
    weights = ops.expand_dims(mask, -1)
    return weights, ops.sum(weights, axis=1, keepdims=True) + 1e-6


def _mean(x: Any, mask: Any) -> Any:
    """Over the masked frames, `(batch, 1, k)`."""
    weights, count = _weights(mask)
    return ops.sum(x * weights, axis=1, keepdims=True) / count


def following(x: Any) -> Any:
    """What comes in the next frame; 0 behind the end."""
    return ops.concatenate([x[:, 1:], ops.zeros_like(x[:, :1])], axis=1)
