"""What the network sees of a sound, for people to look at: a log-mel spectrogram in numpy.

The models compute theirs inside of their graph; this one has the same parameters, and a test holds
both against librosa.
"""

import base64
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_FFT = 1024
HOP = 256
BANDS = 64
F_MIN, F_MAX = 50.0, 8000.0
"""The default preset's, at 16 kHz: samples, samples, bands, and Hz."""
RANGE = 80.0
"""dB under the loudest point that are drawn."""

_LINEAR_STEP = 200 / 3
_LOG_FROM = 1000.0
_LOG_STEP = np.log(6.4) / 27
"""Slaney's mel scale: linear up to 1 kHz, 27 mels from there to 6.4 times it (Auditory Toolbox,
1998, Interval Research Technical Report 1998-010)."""


@dataclass(frozen=True)
class Explanation:
    """A log-mel spectrogram in 8 bits."""

    levels: NDArray[np.uint8]
    """`(bands, frames)`, lowest band first: 0 is `RANGE` dB under the loudest point, 255 that."""
    start: float
    """Seconds from the beginning of the recording to the first frame's centre."""
    hop: float
    """Seconds from frame to frame."""
    loudest: float
    """dB of the loudest point, of the power of a full-scale signal's spectrum."""
    edges: NDArray[np.float64]
    """Hz: band `i` rises from `edges[i]`, peaks at `edges[i + 1]`, ends at `edges[i + 2]`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: the levels are base64, row by row."""
        return {
            "log_mel": base64.b64encode(self.levels.tobytes()).decode("ascii"),
            "shape": list(self.levels.shape),
            "decibels": [round(self.loudest - RANGE, 2), round(self.loudest, 2)],
            "start": round(self.start, 3),
            "hop": round(self.hop, 6),
            "edges": [round(edge, 1) for edge in self.edges.tolist()],
        }


def explain(signal: NDArray[np.float32], sampling_rate: int, start: float) -> Explanation:
    """The spectrogram of a signal `(samples,)` that begins `start` s into its recording."""
    decibels = log_mel(signal, sampling_rate)
    loudest = float(decibels.max())
    scaled = (decibels - loudest + RANGE) / RANGE * 255
    return Explanation(
        levels=np.clip(np.rint(scaled), 0, 255).astype(np.uint8),
        start=start,
        hop=HOP / sampling_rate,
        loudest=loudest,
        edges=mel_edges(min(F_MAX, sampling_rate / 2)),
    )


def log_mel(signal: NDArray[np.float32], sampling_rate: int) -> NDArray[np.float64]:
    """`(samples,)` -> dB `(bands, frames)`, frames centred, the ends mirrored.

    Equals `librosa.power_to_db(librosa.feature.melspectrogram(..., pad_mode="reflect"))` without
    its `top_db`.
    """
    if len(signal) < 2:
        signal = np.resize(signal, 2)
    padded = np.pad(signal, N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    mel = mel_filters(sampling_rate) @ power.T
    decibels: NDArray[np.float64] = 10 * np.log10(np.maximum(mel, 1e-10))
    return decibels


@lru_cache(maxsize=4)
def mel_filters(sampling_rate: int) -> NDArray[np.float64]:
    """Triangles of equal area in mels, `(bands, bins)`: `librosa.filters.mel`."""
    edges = mel_edges(min(F_MAX, sampling_rate / 2))[:, None]
    hertz = np.fft.rfftfreq(N_FFT, 1 / sampling_rate)[None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(rising, falling))
    filters: NDArray[np.float64] = triangles * 2 / (edges[2:] - edges[:-2])
    return filters


def mel_edges(highest: float) -> NDArray[np.float64]:
    """Hz of the bands' edges, `(BANDS + 2,)`, evenly spaced in mels."""
    mels = np.linspace(_mel(F_MIN), _mel(highest), BANDS + 2)
    logarithmic = _LOG_FROM * np.exp(_LOG_STEP * (mels - _LOG_FROM / _LINEAR_STEP))
    edges: NDArray[np.float64] = np.where(
        mels < _LOG_FROM / _LINEAR_STEP, mels * _LINEAR_STEP, logarithmic
    )
    return edges


def _mel(hertz: float) -> float:
    if hertz < _LOG_FROM:
        return hertz / _LINEAR_STEP
    return float(_LOG_FROM / _LINEAR_STEP + np.log(hertz / _LOG_FROM) / _LOG_STEP)
