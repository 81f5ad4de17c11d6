"""Where in a recording somebody makes a sound, and where somebody speaks, whatever the level."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

FRAME = 0.02
"""Seconds of one frame."""
BELOW_PEAK = 35.0
"""dB under the loud frames at which sound still counts; speech spans about 30 dB
(Fletcher 1953, Speech and Hearing in Communication)."""

PITCH = (70.0, 450.0)
"""Hz between which a voice's fundamental frequency is looked for."""
VOICED = 0.5
"""Normalised autocorrelation above which 40 ms are voiced (about as in Boersma 1993)."""
AROUND = 1.0
"""Seconds around a frame that decide with it: a few syllables (Scheirer & Slaney 1997)."""
VOICED_SHARE = 0.1
"""Share of that time that is voiced at least: noise is not."""
MODULATION = 3.5
"""Standard deviation of its level in dB, at least: held tones and steady noise move less."""
MOVEMENT = 2.0
"""Mean change of its level in 60 ms in dB, at least: a step from one sound to another is none.
These three were chosen on the validation speakers with `benchmarks/activity.py`."""

_PENDING = 100
"""Frames of 40 ms whose voicing is computed at once: 4 s."""

Booleans = NDArray[np.bool_]


class Survey:
    """What can be told of a mono signal while it passes block by block, a few bytes a frame."""

    def __init__(self, sampling_rate: int) -> None:
        self.sampling_rate = sampling_rate
        self.samples = 0
        self.lowest, self.highest = np.inf, -np.inf
        self._step = int(FRAME * sampling_rate)
        self._voicing = _Voicing(sampling_rate)
        self._rest = np.empty(0, np.float32)
        self._levels: list[NDArray[np.float32]] = []

    def add(self, block: NDArray[np.float32]) -> None:
        """The next samples, shape `(n,)`."""
        if not len(block):
            return
        self.samples += len(block)
        # What `block.min()` does, without its detour through Python: short recordings notice.
        self.lowest = min(self.lowest, float(np.minimum.reduce(block)))
        self.highest = max(self.highest, float(np.maximum.reduce(block)))
        if len(self._rest):
            block = np.concatenate([self._rest, block])
        whole = len(block) // self._step * self._step
        self._rest = block[whole:].copy()
        if whole:
            frames = block[:whole].reshape(-1, self._step)
            self._levels.append(_levels(frames))
            self._voicing.add(frames)

    @property
    def levels(self) -> NDArray[np.float32]:
        """Of each whole 20 ms frame in dB of full scale, `(frames,)`; at least one frame."""
        if not self._levels:
            # Shorter than a frame: repeated until it fills one.
            return _levels(np.resize(self._rest, (1, self._step)))
        return np.concatenate(self._levels)

    def voiced(self) -> Booleans:
        """Which 20 ms frames have a pitch, `(frames,)`."""
        return np.resize(np.repeat(self._voicing.result(), 2), len(self.levels))


class _Voicing:
    """Which 40 ms of a signal are voiced, by autocorrelation at about 8 kHz.

    Many frames at once, and none before somebody asks or much has gathered: short recordings never
    ask.
    """

    def __init__(self, sampling_rate: int) -> None:
        self._sampling_rate = sampling_rate
        self._pending: list[NDArray[np.float32]] = []
        self._count = 0
        self._done: list[Booleans] = []

    def add(self, frames: NDArray[np.float32]) -> None:
        """Whole 20 ms frames, `(n, samples)`."""
        self._pending.append(frames)
        self._count += len(frames)
        if self._count >= 2 * _PENDING:
            self._compute()

    def result(self) -> Booleans:
        """Of every 40 ms so far; the last may be half a one."""
        self._compute(all_of_it=True)
        return np.concatenate(self._done) if self._done else np.zeros(1, np.bool_)

    def _compute(self, *, all_of_it: bool = False) -> None:
        if not self._pending:
            return
        frames = np.concatenate(self._pending)
        self._pending, self._count = [], 0
        if len(frames) % 2:
            if all_of_it:
                frames = np.concatenate([frames, np.zeros_like(frames[:1])])
            else:
                self._pending, self._count = [frames[-1:].copy()], 1
                frames = frames[:-1]
        self._done.append(_Correlation.at(self._sampling_rate).voiced(frames))


class _Correlation:
    """The autocorrelation of 40 ms, computed from the power spectrum (Wiener-Khinchin) of Hann
    windows and divided by the window's own (Boersma 1993, "Accurate short-term analysis of the
    fundamental frequency")."""

    def __init__(self, sampling_rate: int) -> None:
        self._factor = max(1, sampling_rate // 8_000)
        rate = sampling_rate / self._factor
        size = 2 * (int(FRAME * sampling_rate) // self._factor)
        self._size = size
        self._window = np.hanning(size).astype(np.float32)
        self._padded = 1 << int(np.ceil(np.log2(size + rate / PITCH[0])))
        own = np.fft.irfft(np.abs(np.fft.rfft(self._window, self._padded)) ** 2)
        self._lags = slice(int(rate / PITCH[1]), min(int(rate / PITCH[0]), size * 3 // 4) + 1)
        self._own = (own[self._lags] / own[0]).astype(np.float32)

    @staticmethod
    @cache
    def at(sampling_rate: int) -> "_Correlation":
        """The one for that rate: it is a bundle's, so there are few."""
        return _Correlation(sampling_rate)

    def voiced(self, frames: NDArray[np.float32]) -> Booleans:
        """An even number of 20 ms frames, `(n, samples)` -> which pairs are voiced, `(n / 2,)`."""
        kept = frames.shape[1] // self._factor * self._factor
        # A mean along so short an axis would take as long as the transforms.
        steps = [frames[:, first : kept : self._factor] for first in range(self._factor)]
        pairs = (np.add.reduce(steps) / self._factor).reshape(-1, self._size)
        pairs = (pairs - pairs.mean(axis=1, keepdims=True)) * self._window
        spectrum = np.fft.rfft(pairs, self._padded)
        power = spectrum.real**2 + spectrum.imag**2
        correlation = np.fft.irfft(power)
        energy = correlation[:, :1] + 1e-9
        relative = correlation[:, self._lags] / (energy * self._own)
        result: Booleans = relative.max(axis=1) > VOICED
        return result


def active_frames(signal: NDArray[np.float32], sampling_rate: int) -> Booleans:
    """Which 20 ms frames of `signal` `(samples,)` hold sound: within 35 dB of the loud ones.

    The loud level is the 95th percentile of frame levels, so that a click does not set it.
    At least one frame is active.
    """
    survey = Survey(sampling_rate)
    survey.add(signal)
    return active(survey.levels)


def active(levels: NDArray[np.float32]) -> Booleans:
    """`active_frames` by the levels of the frames, in dB `(frames,)`."""
    loud = loudest = float(levels.max())
    # Twice, and silence left out of the second: how much of it there is must not matter.
    for _ in range(2):
        sounding = levels[levels > loud - BELOW_PEAK]
        loud = max(_percentile_95(sounding), loudest - 20)
    result: Booleans = levels > loud - BELOW_PEAK
    return result


def speech_frames(survey: Survey) -> Booleans:
    """Which 20 ms frames hold speech: sound that in the second around is voiced and moves.

    Syllables make the level of speech move some four times a second; steady noise and held tones
    do not move (Scheirer & Slaney 1997, doi:10.1109/ICASSP.1997.596192), and noise has no pitch.
    Nothing in it depends on the level of the recording.
    """
    levels = survey.levels
    sounding = active(levels)
    floor = levels[sounding].min() if sounding.any() else levels.min()
    bounded = np.maximum(levels, floor).astype(np.float64)
    mean = _around(bounded)
    deviation = np.sqrt(np.maximum(_around(bounded**2) - mean**2, 0))
    movement = _around(np.abs(bounded - np.roll(bounded, 3)))
    voiced = _around((survey.voiced() & sounding).astype(np.float64))
    result: Booleans = (
        sounding & (voiced >= VOICED_SHARE) & (deviation >= MODULATION) & (movement >= MOVEMENT)
    )
    return result


def active_span(active: Booleans, samples: int, sampling_rate: int) -> tuple[int, int]:
    """First and past-the-last sample of the sound, with 0.1 s of what surrounds it."""
    step = int(FRAME * sampling_rate)
    where = np.flatnonzero(active)
    margin = int(0.1 * sampling_rate)
    start = max(0, int(where[0]) * step - margin)
    stop = min(samples, (int(where[-1]) + 1) * step + margin)
    return start, stop


def _percentile_95(values: NDArray[np.float32]) -> float:
    """`np.percentile(values, 95)`, whose many checks short recordings notice."""
    place = 0.95 * (len(values) - 1)
    low, high = math.floor(place), math.ceil(place)
    ordered = np.partition(values, (low, high))
    return float(ordered[low] + (place - low) * (ordered[high] - ordered[low]))


def _levels(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    power = np.add.reduce(np.square(frames), axis=1) / np.float32(frames.shape[1])
    levels: NDArray[np.float32] = 10 * np.log10(power + 1e-12)
    return levels


def _around(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the second around each frame, of what of it there is."""
    half = round(AROUND / FRAME / 2)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first, last = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    means: NDArray[np.float64] = (sums[last] - sums[first]) / (last - first)
    return means
