"""Batches drawn and augmented on an accelerator: `sampling` and `spectral`, written for JAX.

Lengths are fixed in a compiled program: a clip is an array with room for the longest, and beside it
goes how many frames of it are known. Those behind are repeats of the last.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from numpy.typing import NDArray

from ser_core.lab.dataset import FeatureSet
from ser_core.lab.presets import Preset
from ser_core.lab.sampling import STYLES, in_styles
from ser_core.lab.spectral import SpectralAugmentation

MOST_OTHERS = 3
"""Voices that may talk behind one."""
NEPERS = float(10 / np.log(10))
"""dB for a factor of e in power."""
THROWS = 48
"""Random numbers for a clip; more than are used."""
FRAMES, CLIPS = 2**19, 2**12
"""Sizes are rounded up to multiples of these, so that few programs are compiled."""


class Data(NamedTuple):
    """Clips on the accelerator, one after the other."""

    frames: Any
    """All frames `(frames, bands)` in dB, half precision."""
    offsets: Any
    """Where each begins, `(clips,)`."""
    lengths: Any
    """Frames of each."""
    loudest: Any
    """The highest level of each in dB."""
    targets: Any
    """What each teaches, `(clips, 2, classes)`."""
    cumulative: Any
    """Cumulative probability of being drawn; more than 1 behind the last clip."""

    @classmethod
    def of(
        cls,
        features: FeatureSet,
        targets: NDArray[np.float32],
        probabilities: NDArray[np.float64],
    ) -> "Data":
        """Clips, what they teach, and the share that each has in a batch."""
        count = len(targets)
        starts = features.offsets[:-1]
        sure = np.append(np.cumsum(probabilities)[:-1], 1.0)
        loudest = np.maximum.reduceat(features.frames.max(axis=1), starts)
        clips = -count % CLIPS
        return cls(
            frames=_filled(features.frames, -len(features.frames) % FRAMES, 0, "float16"),
            offsets=_filled(starts, clips, 0, "int32"),
            lengths=_filled(np.diff(features.offsets), clips, 1, "int32"),
            loudest=_filled(loudest, clips, 0, "float32"),
            targets=_filled(targets, clips, 0, "float32"),
            cumulative=_filled(sure, clips, 2, "float32"),
        )


class Dice:
    """Random numbers of one clip, thrown at once: a program of many throws is long in compiling."""

    def __init__(self, key: Any) -> None:
        keys = random.split(key)
        self.key = keys[0]
        """For more than single numbers."""
        self._thrown = iter(random.uniform(keys[1], (THROWS,))[n] for n in range(THROWS))

    def between(self, low: Any, high: Any) -> Any:
        """A number from `low` to `high`."""
        return low + next(self._thrown) * (high - low)

    def below(self, end: Any) -> Any:
        """A whole number from 0 on, `end` not among them."""
        return jnp.minimum(jnp.floor(self.between(0, 1) * end), end - 1).astype(int)

    def says(self, often: float) -> Any:
        """True, so often."""
        return self.between(0, 1) < often


def drawing(preset: Preset, finishing: bool) -> Callable[[Any, Data], tuple[Any, Any, Any]]:
    """A function of a key and `Data` -> features, mask and target, as `sampling.Batches` draws."""
    schedule, strength, frames = preset.schedule, preset.augmentation, preset.crop_frames
    if finishing:
        strength, frames = strength.milder(), preset.frames
    frequencies = jnp.asarray(preset.frequencies, jnp.float32)

    def clip(key: Any, data: Data, place: Any) -> tuple[Any, Any, Any]:
        dice = Dice(key)
        index = jnp.searchsorted(data.cumulative, place)
        x, length = _cut(data, index, int(1.2 * frames), dice)
        x = _among_others(x, data, strength.babble, dice)
        x, length = _augmented(x, length, strength, frequencies, dice)
        start = dice.below(jnp.maximum(0, length - frames) + 1)
        time = jnp.arange(frames)
        x, inside = x[jnp.minimum(start + time, len(x) - 1)], time < length - start
        return (
            jnp.where(inside[:, None], x, -100.0),
            inside.astype(jnp.float32),
            data.targets[index],
        )

    def draw(key: Any, data: Data) -> tuple[Any, Any, Any]:
        keys = random.split(key, 4)
        places = random.uniform(keys[0], (schedule.batch,), maxval=0.9999999)
        each = random.split(keys[1], schedule.batch)
        x, mask, y = jax.vmap(clip, (0, None, 0))(each, data, places)
        if schedule.mixup and not finishing:
            x, mask, y = _mixed(x, mask, y, schedule.mixup, keys[2])
        if schedule.mixstyle:
            x = _restyled(x, mask, schedule.mixstyle, keys[3])
        return x, mask, y

    return draw


def _filled(values: NDArray[Any], more: int, value: float, dtype: str) -> Any:
    """`values` and so many more of the same `value` behind them."""
    ends = [(0, more)] + [(0, 0)] * (values.ndim - 1)
    return jnp.asarray(np.pad(values.astype(dtype), ends, constant_values=value))


def _cut(data: Data, index: Any, longest: int, dice: Dice) -> tuple[Any, Any]:
    """At most `longest` frames of a clip from a random place, and how many they are."""
    whole = data.lengths[index]
    start = data.offsets[index] + dice.below(jnp.maximum(0, whole - longest) + 1)
    length = jnp.minimum(whole, longest)
    x = data.frames[start + jnp.minimum(jnp.arange(longest), length - 1)]
    return x.astype(jnp.float32), length


def _among_others(x: Any, data: Data, often: float, dice: Dice) -> Any:
    """Up to three other voices, 3 to 30 dB under the loudest point, behind some clips."""
    behind = jnp.where(dice.says(often), 1 + dice.below(MOST_OTHERS), 0)
    clips = jnp.searchsorted(data.cumulative, 1.5)
    total, loudest = x / NEPERS, x.max()
    for number in range(MOST_OTHERS):
        other = dice.below(clips)
        length = data.lengths[other]
        rows = data.offsets[other] + (dice.below(length) + jnp.arange(len(x))) % length
        level = loudest - data.loudest[other] - dice.between(3, 30)
        voice = (data.frames[rows].astype(jnp.float32) + level) / NEPERS
        total = jnp.where(number < behind, jnp.logaddexp(total, voice), total)
    return total * NEPERS


def _augmented(
    x: Any, length: Any, strength: SpectralAugmentation, frequencies: Any, dice: Dice
) -> tuple[Any, Any]:
    """What `SpectralAugmentation` does; there is room for the slowest tempo in what comes back."""
    room, bands = int(len(x) / (1 - strength.tempo)) + 1, len(frequencies)
    tempo = dice.between(1 - strength.tempo, 1 + strength.tempo)
    x = _interpolated(x, jnp.arange(room) * tempo, length)
    length = jnp.maximum(2, (length / tempo).astype(int))
    known = (jnp.arange(room) < length)[:, None]
    pitch = dice.between(1 - strength.pitch, 1 + strength.pitch)
    places = jnp.interp(frequencies / pitch, frequencies, jnp.arange(bands, dtype="float32"))
    x = _interpolated(x.T, places, bands).T + strength.equaliser * _response(bands, dice)
    loudest = jnp.max(jnp.where(known, x, -jnp.inf))
    x = jnp.where(dice.says(strength.noise), _noisy(x, loudest, dice), x)
    loudest = jnp.max(jnp.where(known, x, -jnp.inf))
    outside = (frequencies < 300) | (frequencies > 3400)
    narrow = jnp.where(outside, jnp.minimum(x, loudest - 70), x)
    x = jnp.where(dice.says(strength.band_limit), narrow, x)
    mean = jnp.sum(jnp.where(known, x, 0)) / (length * bands)
    masked = jnp.zeros(x.shape, bool)
    for _ in range(strength.time_masks):
        masked |= _stretch(room, length, jnp.minimum(20, length // 4), dice)[:, None]
    for _ in range(strength.frequency_masks):
        masked |= _stretch(bands, bands, min(8, bands // 4), dice)[None]
    return jnp.where(masked, mean, x), length


def _interpolated(x: Any, places: Any, length: Any) -> Any:
    """Rows of x at fractional places; those past the last known are the last."""
    low = jnp.minimum(jnp.floor(places).astype(int), length - 1)
    share = jnp.clip(places - low, 0, 1)[:, None]
    return x[low] * (1 - share) + x[jnp.minimum(low + 1, length - 1)] * share


def _response(bands: int, dice: Dice) -> Any:
    """A smooth frequency response, as `spectral.equalise` makes it, `(bands,)`."""
    place = jnp.linspace(-1, 1, bands)
    curve = dice.between(-1, 1) * place
    for waves in (1.0, 2.0):
        phase = jnp.pi * (waves * place + dice.between(0, 2))
        curve += dice.between(-0.5, 0.5) * jnp.cos(phase)
    return curve


def _noisy(x: Any, loudest: Any, dice: Dice) -> Any:
    """Stationary coloured noise behind x, as `spectral.add_noise` has it."""
    colour = jnp.linspace(0, 1, x.shape[1]) * dice.between(-25, 10)
    grain = NEPERS * jnp.log(random.exponential(dice.key, x.shape) + 1e-3)
    noise = loudest - dice.between(5, 45) - 10 + colour + grain * 0.7
    return jnp.logaddexp(x / NEPERS, noise / NEPERS) * NEPERS


def _stretch(room: int, length: Any, widest: Any, dice: Dice) -> Any:
    """True in a random stretch of at most `widest` of `length` places, `(room,)`."""
    width = dice.below(widest + 1)
    start = dice.below(length - width + 1)
    place = jnp.arange(room)
    return (place >= start) & (place < start + width)


def _mixed(x: Any, mask: Any, y: Any, alpha: float, key: Any) -> tuple[Any, Any, Any]:
    """As `sampling.mixed`."""
    keys = random.split(key)
    share = random.beta(keys[0], alpha, alpha, (len(x), 1))
    share = jnp.maximum(share, 1 - share)
    other = random.permutation(keys[1], len(x))
    x = x - x.max(axis=(1, 2), keepdims=True)
    weight = share[:, :, None]
    x = weight * x + (1 - weight) * x[other]
    return x, jnp.maximum(mask, mask[other]), weight * y + (1 - weight) * y[other]


def _restyled(x: Any, mask: Any, often: float, key: Any) -> Any:
    """As `sampling.restyled`."""
    keys = random.split(key, 3)
    own = random.beta(keys[0], STYLES, STYLES, (len(x), 1, 1))
    own = jnp.where(random.uniform(keys[1], own.shape) < often, own, 1)
    return in_styles(x, mask, own, random.permutation(keys[2], len(x)), jnp)
