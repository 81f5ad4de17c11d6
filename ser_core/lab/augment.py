"""Changes to a waveform that leave its emotion: `func(signal, sampling_rate, rng)`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

Signal = NDArray[np.float32]
Generator = np.random.Generator


def change_speed(signal: Signal, sampling_rate: int, rng: Generator) -> Signal:
    """Up to 14 % faster or slower, pitch and formants included: another body size."""
    factor = rng.uniform(0.88, 1.14)
    changed: Signal = soxr.resample(signal, sampling_rate, int(sampling_rate * factor))
    return changed


def equalise(signal: Signal, sampling_rate: int, rng: Generator) -> Signal:
    """Another microphone: a slope of up to 6 dB and bumps of 2.5 dB over frequency."""
    knots = np.linspace(-1, 1, 8)
    gains = rng.uniform(-6, 6) * knots + rng.normal(0, 2.5, len(knots))
    spectrum = np.fft.rfft(signal)
    # Half an octave above 50 Hz and finer below: even steps on a nearly logarithmic scale.
    scale = np.log(_frequencies(signal, sampling_rate) + 50)
    decibels = np.interp(scale, np.linspace(scale[0], scale[-1], len(knots)), gains)
    return np.fft.irfft(spectrum * 10 ** (decibels / 20), len(signal)).astype(np.float32)


def add_noise(
    signal: Signal, sampling_rate: int, rng: Generator, snr: tuple[float, float] = (8, 40)
) -> Signal:
    """Stationary noise between white and pink, `snr` dB under the voice's mean power."""
    white = np.fft.rfft(rng.standard_normal(len(signal)))
    tilt = (_frequencies(signal, sampling_rate) + 60) ** rng.uniform(0, 1)
    noise = np.fft.irfft(white / tilt, len(signal))
    gain = np.std(signal) / (np.std(noise) + 1e-12) * 10 ** (-rng.uniform(*snr) / 20)
    return (signal + gain * noise).astype(np.float32)


def overlay(
    signal: Signal, others: Sequence[Signal], rng: Generator, snr: tuple[float, float] = (5, 25)
) -> Signal:
    """Other voices talk along, together `snr` dB under this one's mean power."""
    babble = np.zeros_like(signal)
    for other in others:
        babble += np.resize(other, len(signal)) / (np.std(other) + 1e-9)
    gain = np.std(signal) / (np.std(babble) + 1e-9) * 10 ** (-rng.uniform(*snr) / 20)
    return (signal + gain * babble).astype(np.float32)


def telephone(signal: Signal, sampling_rate: int, rng: Generator) -> Signal:
    """Only 300 to 3400 Hz remain (ITU-T G.712); `rng` is not used."""
    spectrum = np.fft.rfft(signal)
    frequencies = _frequencies(signal, sampling_rate)
    spectrum[(frequencies < 300) | (frequencies > 3400)] = 0
    return np.fft.irfft(spectrum, len(signal)).astype(np.float32)


def _frequencies(signal: Signal, sampling_rate: int) -> NDArray[np.floating[Any]]:
    return np.fft.rfftfreq(len(signal), 1 / sampling_rate)
