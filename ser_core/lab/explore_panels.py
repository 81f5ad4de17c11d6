"""Twelve features of a clip over time, on the same axes and scales for every clip of a page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import librosa
import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ser_core.audio import SAMPLING_RATE
from ser_core.lab import plots

Signal = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]

N_FFT, HOP = 1024, 256
"""64 ms frames every 16 ms at 16 kHz."""
SPLIT_HERTZ = 2000.0
"""Where the band energy ratio divides low from high."""
RANGE = 70.0
"""dB that pictures show."""
PANEL = (3.6, 1.6)
"""Inches of one panel."""

TERMS = (
    ("waveform", "the pressure of the air over time; the line around it is the amplitude envelope, "
     "the largest value of each frame"),
    ("spectrogram", "how strong each frequency is at each moment, bright is strong; the stripes "
     "are the harmonics of the voice"),
    ("log-mel", "the same in bands as wide as the ear tells apart: what the networks here see"),
    ("MFCC", "the shape of a log-mel in a few numbers a moment, the coarsest at the bottom"),
    ("chroma", "the strength of the twelve notes, octaves put together, beside the strongest of "
     "the moment"),
    ("constant-Q", "frequencies spaced as notes on a piano, so that a rising voice is a straight "
     "line"),
    ("ZCR", "zero-crossing rate: how often the wave changes its sign; high in s and f"),
    ("RMS", "root mean square, the loudness of each frame"),
    ("centroid", "the mean frequency of the spectrum: bright or dull; like flux and BER with a gap "
     "where nobody speaks"),
    ("flux", "how much the spectrum changes from frame to frame"),
    ("BER", f"band energy ratio: dB by which what lies under {SPLIT_HERTZ:g} Hz is stronger than "
     "what lies above; falls when a voice gets tense"),
)  # fmt: skip


@dataclass(frozen=True)
class Image:
    """A feature `(k, frames)`, and how it is drawn."""

    title: str
    values: Floats
    low: float
    high: float
    """The ends of its vertical axis."""
    label: str
    """What this axis is in."""
    darkest: float
    brightest: float
    """The values of the first and the last colour."""


def panels(clips: Mapping[str, Signal]) -> dict[str, str]:
    """A figure `<img>` of each clip `(samples,)`, by its emotion."""
    measured = {emotion: measure(signal) for emotion, signal in clips.items()}
    drawn = images(clips)
    ends = {
        name: max(float(np.nanmax(values[name])) for values in measured.values())
        for name in ("ZCR", "centroid", "flux", "envelope")
    }
    ends["seconds"] = max(map(len, clips.values())) / SAMPLING_RATE
    return {
        emotion: _figure(emotion, signal, measured[emotion], drawn[emotion], ends)
        for emotion, signal in clips.items()
    }


def measure(signal: Signal) -> dict[str, Floats]:
    """What changes over time in a signal `(samples,)`, a number a frame of 16 ms; see `TERMS`.

    Centroid, flux and BER are NaN where nobody speaks: the spectrum is the room's there.
    """
    magnitude = np.abs(librosa.stft(signal, n_fft=N_FFT, hop_length=HOP))
    power = magnitude**2
    hertz = librosa.fft_frequencies(sr=SAMPLING_RATE, n_fft=N_FFT)
    low, high = (power[side].sum(axis=0) for side in (hertz < SPLIT_HERTZ, hertz >= SPLIT_HERTZ))
    shares = magnitude / (magnitude.sum(axis=0, keepdims=True) + 1e-9)
    frames = librosa.util.frame(np.pad(signal, (0, HOP)), frame_length=HOP, hop_length=HOP)
    rms = librosa.feature.rms(y=signal, frame_length=N_FFT, hop_length=HOP)[0]
    quiet = rms < 0.02 * rms.max()
    # The first frame has none before it to differ from.
    flux = np.append(np.nan, np.abs(np.diff(shares, axis=1)).sum(axis=0))
    return {
        "envelope": np.abs(frames).max(axis=0),
        "ZCR": librosa.feature.zero_crossing_rate(signal, frame_length=N_FFT, hop_length=HOP)[0],
        "RMS": rms,
        "centroid": np.where(
            quiet, np.nan, librosa.feature.spectral_centroid(S=magnitude, sr=SAMPLING_RATE)[0]
        ),
        "flux": np.where(quiet | np.append(False, quiet[:-1]), np.nan, flux),
        "BER": np.where(quiet, np.nan, 10 * np.log10((low + 1e-9) / (high + 1e-9))),
    }


def power_of(signal: Signal) -> Floats:
    """The spectrogram, `(513, frames)`."""
    return np.asarray(np.abs(librosa.stft(signal, n_fft=N_FFT, hop_length=HOP)) ** 2)


def log_mel(power: Floats) -> Floats:
    """dB of 64 mel bands, `(64, frames)`, of a spectrogram."""
    mel = librosa.feature.melspectrogram(S=power, sr=SAMPLING_RATE, n_mels=64)
    return decibels(mel)


def decibels(power: Floats) -> Floats:
    """Of a power, -100 at least."""
    return np.asarray(10 * np.log10(np.maximum(power, 1e-10)))


def images(clips: Mapping[str, Signal]) -> dict[str, list[Image]]:
    """Five pictures of each clip; a colour stands for the same value in all of them."""
    powers = {emotion: power_of(signal) for emotion, signal in clips.items()}
    # Every second bin is more than a panel has pixels.
    spectra = {emotion: decibels(power)[::2] for emotion, power in powers.items()}
    mels = {emotion: log_mel(power) for emotion, power in powers.items()}
    chromas = {
        emotion: librosa.feature.chroma_stft(S=power, sr=SAMPLING_RATE, tuning=0.0)
        for emotion, power in powers.items()
    }
    cqts = {emotion: decibels(_constant_q(signal) ** 2) for emotion, signal in clips.items()}
    loudest = max(float(mel.max()) for mel in mels.values())
    # What is darker than any picture shows is no shape of a voice. The first coefficient is the
    # level, and so much larger that nothing else would show.
    mfccs = {
        emotion: librosa.feature.mfcc(S=np.maximum(mel, loudest - RANGE), n_mfcc=13)[1:]
        for emotion, mel in mels.items()
    }
    nyquist = SAMPLING_RATE / 2000
    drawn: dict[str, list[Image]] = {}
    for emotion in clips:
        drawn[emotion] = [
            Image("spectrogram", spectra[emotion], 0, nyquist, "kHz", *_loudest(spectra)),
            Image("log-mel", mels[emotion], 0, 64, "mel band", *_loudest(mels)),
            Image("MFCC 1 to 12", mfccs[emotion], 0.5, 12.5, "coefficient", *_ends(mfccs)),
            Image("chroma", chromas[emotion], 0, 12, "C to B", 0, 1),
            Image("constant-Q", cqts[emotion], 0, 72, "notes from C2", *_loudest(cqts)),
        ]
    return drawn


def _constant_q(signal: Signal) -> Floats:
    lowest = librosa.note_to_hz("C2")
    cqt = librosa.cqt(signal, sr=SAMPLING_RATE, hop_length=HOP, fmin=lowest, n_bins=72)
    return np.asarray(np.abs(cqt))


def _ends(values: Mapping[str, Floats]) -> tuple[float, float]:
    every = [float(end) for each in values.values() for end in (each.min(), each.max())]
    return min(every), max(every)


def _loudest(values: Mapping[str, Floats]) -> tuple[float, float]:
    """`RANGE` dB that end with the loudest of all."""
    _, top = _ends(values)
    return top - RANGE, top


def _figure(
    emotion: str,
    signal: Signal,
    measured: dict[str, Floats],
    drawn: list[Image],
    ends: dict[str, float],
) -> str:
    """`ends` are those of the axes that all clips share."""
    width, height = PANEL
    figure, axes = plots.figure_of(3 * width, 4 * height, 4, 3, sharex=True)
    seconds = np.arange(len(signal)) / SAMPLING_RATE
    times = np.arange(len(measured["RMS"])) * HOP / SAMPLING_RATE
    fill = plots.colour(emotion)
    # Of the loudest clip of all, so that a quiet one looks quiet.
    envelope = measured["envelope"] / ends["envelope"]
    first = axes[0, 0]
    first.plot(seconds[::4], signal[::4] / ends["envelope"], color=fill, linewidth=0.5)
    moments = np.arange(len(envelope)) * HOP / SAMPLING_RATE
    for sign in (1, -1):
        first.plot(moments, sign * envelope, color=plots.INK, linewidth=0.8)
    first.set(title="waveform and amplitude envelope", ylim=(-1.1, 1.1))
    for place, image in zip(axes.flat[1:6], drawn, strict=True):
        place.imshow(
            image.values,
            origin="lower",
            aspect="auto",
            extent=(0, float(times[-1]), image.low, image.high),
            interpolation="none",
            vmin=image.darkest,
            vmax=image.brightest,
        )
        place.set(title=image.title, ylabel=image.label)
        place.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    lines = (
        ("zero-crossing rate (ZCR)", "ZCR", "share", 1.0),
        ("spectral centroid", "centroid", "kHz", 1000.0),
        ("spectral flux", "flux", "", 1.0),
    )
    for place, (title, name, unit, divisor) in zip(axes.flat[6:9], lines, strict=True):
        place.plot(times, measured[name] / divisor, color=fill)
        place.set(title=title, ylabel=unit, ylim=(0, ends[name] * 1.05 / divisor))
        place.grid()
    levels = (
        (f"band energy ratio at {SPLIT_HERTZ / 1000:g} kHz (BER)", measured["BER"], (-30, 50)),
        ("loudness (RMS), dB of full scale", decibels(measured["RMS"] ** 2), (-80, 0)),
    )
    for place, (title, values, limits) in zip(axes.flat[9:11], levels, strict=True):
        place.plot(times, values, color=fill)
        place.set(title=title, ylabel="dB", ylim=limits)
        place.grid()
    last = axes.flat[11]
    last.plot(moments, envelope, color=fill)
    last.set(title="amplitude envelope", ylim=(0, 1.1))
    last.grid()
    for place in axes[-1]:
        place.set_xlabel("s")
    first.set_xlim(0, ends["seconds"])
    return plots.picture(
        figure, f"Twelve features of a clip of {emotion}: waveform, spectrogram and others"
    )
