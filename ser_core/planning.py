"""Which windows of a recording are judged, and how much each one counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ser_core.activity import FRAME, Booleans, Survey, active, active_span, speech_frames
from ser_core.bundle import Bundle
from ser_core.prediction import Span, SpanError

LEAST_SPEECH = 0.1
"""Share of a window that must be speech for it to be judged: 0.3 s of 3 s, about a syllable."""
LEAST_PART = 0.1
"""Seconds of sound in a marked part for it to be judged."""
UNHEARD = -80.0
"""dB of full scale under which a marked part is silent; as `audio.SILENCE`."""


@dataclass(frozen=True)
class Plan:
    """Windows of one recording."""

    spans: list[tuple[int, int]]
    """First and past-the-last sample of each."""
    speech: NDArray[np.float64]
    """Share of each in which somebody speaks, `(windows,)`; its weight."""
    judged: Booleans
    """Which hold speech enough to be judged, `(windows,)`."""
    parts: NDArray[np.int64] | None = None
    """Which of the marked parts each belongs to, `(windows,)`."""


def plan_whole(survey: Survey, bundle: Bundle) -> Plan:
    """Windows over the sound, the last one ending where the sound ends.

    Sound that fits one window is judged as it is; in more, only where somebody speaks. Where no
    speech is found at all, as in a recording of whispers, everything that sounds counts as speech.
    """
    levels = survey.levels
    sounding = active(levels)
    spans = _windows(*active_span(sounding, survey.samples, survey.sampling_rate), bundle)
    if len(spans) == 1:
        speech = _shares(sounding, spans, survey.sampling_rate)
        return Plan(spans, speech, np.ones(1, np.bool_))
    speaking = speech_frames(survey)
    if not speaking.any():
        speaking = sounding
    speech = _shares(speaking, spans, survey.sampling_rate)
    return Plan(spans, speech, speech >= min(LEAST_SPEECH, speech.max()))


def plan_parts(survey: Survey, bundle: Bundle, marked: Sequence[Span]) -> Plan:
    """Windows over each marked part, whose edges without sound are left out.

    Each part is judged by its own loudness, as if it was a recording of its own. Raises `SpanError`
    if the recording ends before any of them begins.
    """
    duration = survey.samples / survey.sampling_rate
    if all(span.start >= duration for span in marked):
        raise SpanError(f"The recording ends at {duration:.3f} s, before any of its parts begins.")
    rate, step = survey.sampling_rate, int(FRAME * survey.sampling_rate)
    levels = survey.levels
    found: list[tuple[int, int, int, float, bool]] = []
    for part, span in enumerate(marked):
        start = min(round(span.start * rate), survey.samples)
        stop = min(round(span.end * rate), survey.samples)
        own = levels[start // step : max(stop // step, start // step + 1)]
        if stop - start < LEAST_PART * rate or own.max(initial=-np.inf) < UNHEARD:
            found.append((start, stop, part, 0.0, False))
            continue
        sounding = active(own)
        first, last = active_span(sounding, stop - start, rate)
        windows = _windows(first, last, bundle)
        shares = _shares(sounding, windows, rate)
        found += [
            (start + begin, start + end, part, float(share), True)
            for (begin, end), share in zip(windows, shares, strict=True)
        ]
    found.sort()
    return Plan(
        [(start, stop) for start, stop, *_ in found],
        np.array([share for *_, share, _ in found], np.float64),
        np.array([judged for *_, judged in found], np.bool_),
        np.array([part for _, _, part, *_ in found], np.int64),
    )


def _windows(start: int, stop: int, bundle: Bundle) -> list[tuple[int, int]]:
    window = round(bundle.window * bundle.sampling_rate)
    hop = round(bundle.hop * bundle.sampling_rate)
    if stop - start <= window:
        return [(start, stop)]
    starts = [*range(start, stop - window, hop), stop - window]
    return [(first, first + window) for first in starts]


def _shares(
    frames: Booleans, spans: Sequence[tuple[int, int]], sampling_rate: int
) -> NDArray[np.float64]:
    """Share of each span that is marked; never quite 0, so that weights have a sum."""
    step = int(FRAME * sampling_rate)
    shares = []
    for start, stop in spans:
        inside = frames[start // step : max(stop // step, start // step + 1)]
        shares.append(float(inside.mean()) + 1e-3 if len(inside) else 1e-3)
    return np.array(shares)
