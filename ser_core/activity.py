"""Where in a recording somebody makes a sound, whatever its level."""

import numpy as np
from numpy.typing import NDArray

FRAME = 0.02
"""Seconds of one frame."""
BELOW_PEAK = 35.0
"""dB under the loud frames at which sound still counts; speech spans about 30 dB
(Fletcher 1953, Speech and Hearing in Communication)."""


def active_frames(signal: NDArray[np.float32], sampling_rate: int) -> NDArray[np.bool_]:
    """Which 20 ms frames of `signal` `(samples,)` hold sound: within 35 dB of the loud ones.

    The loud level is the 95th percentile of frame levels, so that a click does not set it.
    At least one frame is active.
    """
    step = int(FRAME * sampling_rate)
    frames = (
        np.resize(signal, (max(1, len(signal) // step), step))
        if len(signal) < step
        else (signal[: len(signal) // step * step].reshape(-1, step))
    )
    level = 10 * np.log10(np.mean(np.square(frames), axis=1) + 1e-12)
    loud = max(float(np.percentile(level, 95)), float(level.max()) - 20)
    active: NDArray[np.bool_] = level > loud - BELOW_PEAK
    return active


def active_span(active: NDArray[np.bool_], samples: int, sampling_rate: int) -> tuple[int, int]:
    """First and past-the-last sample of the sound, with 0.1 s of what surrounds it."""
    step = int(FRAME * sampling_rate)
    where = np.flatnonzero(active)
    margin = int(0.1 * sampling_rate)
    start = max(0, int(where[0]) * step - margin)
    stop = min(samples, (int(where[-1]) + 1) * step + margin)
    return start, stop
