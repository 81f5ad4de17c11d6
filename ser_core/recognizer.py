"""From a signal to the emotion in the voice."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_core import audio
from ser_core.activity import FRAME, active_frames, active_span
from ser_core.audio import DEFAULT_LIMITS, Limits, Source
from ser_core.bundle import Bundle, BundleError
from ser_core.runtime import Pool

Recording = Source | tuple[NDArray[Any], int] | NDArray[Any]
"""A path, bytes, a binary file, a signal, or a signal with its sampling rate."""


@dataclass(frozen=True)
class Segment:
    """One window of a recording and what was heard in it."""

    start: float
    """Seconds from the beginning of the recording."""
    end: float
    emotion: str
    confidence: float
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class Heard:
    """What the network says of each window of a recording, before calibration."""

    duration: float
    """Seconds of the recording."""
    spans: NDArray[np.float64]
    """Start and end of each window in seconds, `(windows, 2)`."""
    logits: NDArray[np.float32]
    """`(windows, classes)`."""
    speech: NDArray[np.float64]
    """Share of each window in which somebody makes a sound, `(windows,)`; above 0."""

    def probabilities(self, temperature: float) -> NDArray[np.float64]:
        """Of every window, `(windows, classes)`."""
        return _softmax(self.logits / temperature)

    def overall(self, temperature: float) -> NDArray[np.float64]:
        """Of the recording, `(classes,)`: the windows' mean, weighted by their speech."""
        overall: NDArray[np.float64] = np.average(
            self.probabilities(temperature), axis=0, weights=self.speech
        )
        return overall


@dataclass(frozen=True)
class Prediction:
    """What a recording sounds like."""

    emotion: str
    """The most probable emotion."""
    confidence: float
    """Its calibrated probability."""
    uncertain: bool
    """The confidence is under the bundle's threshold: better not to act on this answer."""
    probabilities: Mapping[str, float]
    """Of every emotion, in the bundle's order; they sum to 1."""
    duration: float
    """Seconds."""
    segments: tuple[Segment, ...]
    """The windows that were judged, in the order of time; they overlap."""
    model: str
    version: str

    def to_dict(self, timeline: bool = False) -> dict[str, Any]:
        """The answer as JSON has it; `timeline` adds the segments."""
        answer: dict[str, Any] = {
            "emotion": self.emotion,
            "confidence": round(self.confidence, 4),
            "uncertain": self.uncertain,
            "probabilities": _rounded(self.probabilities),
            "duration": round(self.duration, 3),
        }
        if timeline:
            answer["segments"] = [
                {
                    "start": round(segment.start, 3),
                    "end": round(segment.end, 3),
                    "emotion": segment.emotion,
                    "confidence": round(segment.confidence, 4),
                    "probabilities": _rounded(segment.probabilities),
                }
                for segment in self.segments
            ]
        answer["model"] = {"name": self.model, "version": self.version}
        return answer


class Recognizer:
    """A bundle, loaded and ready to judge recordings; safe to share between threads."""

    def __init__(self, bundle: Bundle, pool: Pool) -> None:
        self.bundle = bundle
        self._pool = pool

    @classmethod
    def load(
        cls,
        bundle: str | Path | None = None,
        *,
        runtime: str = "litert",
        threads: int = 1,
        interpreters: int = 1,
    ) -> "Recognizer":
        """Load a bundle by name or folder (None: the default one) with so many interpreters.

        Raises:
            BundleError: the bundle is missing or damaged.
        """
        loaded = Bundle.load(bundle)
        return cls(loaded, Pool(loaded, runtime, threads, interpreters))

    def predict(
        self,
        recording: Recording,
        sampling_rate: int | None = None,
        *,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Prediction:
        """Judge a recording: a path, bytes, a binary file, or `(signal, sampling_rate)`.

        A signal is float in [-1, 1], shape `(samples,)` or `(samples, channels)`.

        Raises:
            AudioError: it cannot be read, or there is nothing in it to judge.
            OSError: the file is not there or may not be read.
        """
        return self.name(self.hear(recording, sampling_rate, limits=limits))

    def hear(
        self,
        recording: Recording,
        sampling_rate: int | None = None,
        *,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Heard:
        """What `predict` hears in a recording, window by window, before it is calibrated."""
        rate = self.bundle.sampling_rate
        if isinstance(recording, tuple):
            recording, sampling_rate = recording
        if isinstance(recording, np.ndarray):
            if sampling_rate is None:
                raise TypeError("a signal needs its sampling_rate")
            return self._hear(audio.as_signal(recording, sampling_rate, rate, limits))
        return self._hear(audio.load(recording, rate, limits))

    def name(self, heard: Heard) -> Prediction:
        """Calibrate what was heard and name it."""
        bundle = self.bundle
        overall = heard.overall(bundle.temperature)
        return Prediction(
            **self._named(overall),
            uncertain=bool(overall.max() < bundle.threshold),
            duration=heard.duration,
            segments=tuple(
                Segment(start=float(start), end=float(end), **self._named(probabilities))
                for (start, end), probabilities in zip(
                    heard.spans, heard.probabilities(bundle.temperature), strict=True
                )
            ),
            model=bundle.name,
            version=bundle.version,
        )

    def warm_up(self) -> None:
        """Judge a made-up clip, so that the first real one is not the slow one."""
        rate = self.bundle.sampling_rate
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, rate).astype(np.float32)
        self.predict(noise, rate)

    def _hear(self, signal: NDArray[np.float32]) -> Heard:
        rate = self.bundle.sampling_rate
        active = active_frames(signal, rate)
        spans = _windows(active, len(signal), self.bundle)
        return Heard(
            duration=len(signal) / rate,
            spans=np.array(spans) / rate,
            logits=self._logits(signal, spans),
            speech=np.array([_speech(active, span, rate) for span in spans]),
        )

    def _logits(
        self, signal: NDArray[np.float32], spans: list[tuple[int, int]]
    ) -> NDArray[np.float32]:
        samples = round(self.bundle.window * self.bundle.sampling_rate)
        window = np.zeros((1, samples), np.float32)
        answers = []
        with self._pool.borrow() as runtime:
            for start, stop in spans:
                window[0, : stop - start] = signal[start:stop]
                window[0, stop - start :] = 0
                answers.append(runtime.logits(window, np.array([stop - start], np.int32)))
        logits = np.concatenate(answers)
        if not np.isfinite(logits).all():
            raise BundleError(f"{self.bundle.path} answers with numbers that are not finite")
        return logits

    def _named(self, probabilities: NDArray[np.float64]) -> dict[str, Any]:
        named = dict(zip(self.bundle.emotions, probabilities.tolist(), strict=True))
        emotion = max(named, key=named.__getitem__)
        return {"emotion": emotion, "confidence": named[emotion], "probabilities": named}


def _windows(active: NDArray[np.bool_], samples: int, bundle: Bundle) -> list[tuple[int, int]]:
    """Where to judge: windows over the sound, the last one ending where the sound ends."""
    start, stop = active_span(active, samples, bundle.sampling_rate)
    window = round(bundle.window * bundle.sampling_rate)
    hop = round(bundle.hop * bundle.sampling_rate)
    if stop - start <= window:
        return [(start, stop)]
    starts = [*range(start, stop - window, hop), stop - window]
    return [(first, first + window) for first in starts]


def _speech(active: NDArray[np.bool_], span: tuple[int, int], sampling_rate: int) -> float:
    """Active share of a window; never quite 0, so that the weights have a sum."""
    step = int(FRAME * sampling_rate)
    frames = active[span[0] // step : max(span[1] // step, span[0] // step + 1)]
    return float(frames.mean()) + 1e-3 if len(frames) else 1e-3


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def _rounded(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {emotion: round(probability, 4) for emotion, probability in probabilities.items()}
