"""What was heard in a recording, and how it is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_core.profile import MOST, Profile
from ser_core.spectrum import Explanation

Bias = Sequence[float] | NDArray[np.float64]
"""What is added to each class's logit, `(classes,)`; empty for nothing."""


@dataclass(frozen=True)
class Span:
    """A part of a recording that somebody marked."""

    start: float
    """Seconds from the beginning of the recording."""
    end: float
    speaker: str | None = None

    def seconds_in(self, duration: float) -> float:
        """How much of it lies in a recording that lasts so long."""
        return max(0.0, min(self.end, duration) - self.start)


class SpanError(ValueError):
    """Marked parts of which the recording holds none."""


@dataclass(frozen=True)
class Segment:
    """One window or marked part of a recording, and what was heard in it."""

    start: float
    """Seconds from the beginning of the recording."""
    end: float
    speech: bool
    """Whether somebody speaks; if not, there is no emotion."""
    emotion: str | None
    confidence: float | None
    probabilities: Mapping[str, float] | None
    speaker: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        answer: dict[str, Any] = {"start": round(self.start, 3), "end": round(self.end, 3)}
        if self.speaker is not None:
            answer["speaker"] = self.speaker
        answer["speech"] = self.speech
        answer["emotion"] = self.emotion
        answer["confidence"] = None if self.confidence is None else round(self.confidence, 4)
        answer["probabilities"] = rounded(self.probabilities)
        return answer


@dataclass(frozen=True)
class Heard:
    """What the network says of each window of a recording, before calibration."""

    duration: float
    """Seconds of the recording."""
    spans: NDArray[np.float64]
    """Start and end of each window in seconds, `(windows, 2)`."""
    logits: NDArray[np.float32]
    """`(windows, classes)`; NaN where nobody speaks, which is not judged."""
    speech: NDArray[np.float64]
    """Share of each window in which somebody speaks, `(windows,)`."""
    functionals: NDArray[np.float32] | None = None
    """`(windows, k)`, if the bundle knows profiles; NaN where nobody speaks."""
    origin: bytes = b""
    """Of the profiles that they make: the fingerprint of the bundle's norm."""
    parts: NDArray[np.int64] | None = None
    """Which of the marked parts each window belongs to, `(windows,)`; None if none were marked."""
    model_seconds: float = 0.0
    """Time that the network took."""
    decode_seconds: float = 0.0
    """Time that the decoder took."""

    @cached_property
    def judged(self) -> NDArray[np.bool_]:
        """Which windows the network was asked about, `(windows,)`."""
        known: NDArray[np.bool_] = np.isfinite(self.logits[:, 0])
        return known

    @property
    def marked(self) -> NDArray[np.int64]:
        """`parts`, of which there are none if none were marked."""
        return np.empty(0, np.int64) if self.parts is None else self.parts

    def probabilities(self, temperature: float, bias: Bias = ()) -> NDArray[np.float64]:
        """Of every window, `(windows, classes)`; NaN where nobody speaks.

        The softmax of the logits over the temperature, with each class's bias added.
        """
        return softmax(self.logits / temperature + (np.asarray(bias) if len(bias) else 0.0))

    def overall(
        self, temperature: float, among: NDArray[np.bool_] | None = None, bias: Bias = ()
    ) -> NDArray[np.float64]:
        """Of the recording, `(classes,)`: the windows' mean, weighted by their speech.

        `among` `(windows,)` narrows it to some windows, of which at least one was judged.
        """
        return self.mean(self.probabilities(temperature, bias), among)

    def mean(
        self, values: NDArray[Any], among: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """Of what there is of each window, `(windows, n)`, as `overall` does it: `(n,)`."""
        used = self.judged if among is None else self.judged & among
        weights = self.speech[used]
        mean: NDArray[np.float64] = weights @ values[used] / weights.sum()
        return mean

    def profile(self, hop_share: float, among: NDArray[np.bool_] | None = None) -> Profile | None:
        """The mean functionals of the windows, weighted by their speech, as a profile.

        A recording of one window counts 1, a longer one as many as it holds windows of speech;
        `hop_share` is the part of a window that is new in the next one. None counts more than
        `MOST`.
        """
        if self.functionals is None:
            return None
        used = self.judged if among is None else self.judged & among
        if not used.any():
            return None
        count = min(max(1.0, float(self.speech[used].sum()) * hop_share), float(MOST))
        return Profile(self.mean(self.functionals, used).astype(np.float32), count, self.origin)

    def profiles_before(
        self, hop_share: float, known: Profile | None = None
    ) -> list[Profile | None]:
        """For each window what the windows that end before it begins tell of the voice.

        That is added to what is `known` already; None where nothing is.
        """
        if self.functionals is None:
            return [known] * len(self.spans)
        weights = np.where(self.judged, self.speech, 0.0)
        weighted = np.nan_to_num(self.functionals) * weights[:, None]
        heard, totals = np.cumsum(weights), np.cumsum(weighted, axis=0, dtype=np.float64)
        before = np.searchsorted(self.spans[:, 1], self.spans[:, 0] + 1e-9, side="right")
        profiles: list[Profile | None] = []
        for last in (before - 1).tolist():
            if last < 0 or not heard[last] > 0:
                profiles.append(known)
                continue
            mean = (totals[last] / heard[last]).astype(np.float32)
            count = min(max(1.0, float(heard[last]) * hop_share), float(MOST))
            profiles.append(known.update(Profile(mean, count)) if known else Profile(mean, count))
        return profiles

    def profiles_of_others(self, hop_share: float, spans: Sequence[Span]) -> list[Profile | None]:
        """For each window, what the other parts of its speaker tell of the voice."""
        own = [self.profile(hop_share, self.marked == part) for part in range(len(spans))]
        others: list[Profile | None] = [None] * len(spans)
        for name in dict.fromkeys(span.speaker for span in spans if span.speaker is not None):
            parts = [part for part, span in enumerate(spans) if span.speaker == name]
            known = [(part, each) for part in parts if (each := own[part]) is not None]
            count = sum(each.count for _, each in known)
            total = np.sum([each.count * each.mean for _, each in known], axis=0)
            for part in parts:
                each = own[part]
                rest = count if each is None else count - each.count
                if rest > 1e-6:
                    summed = total if each is None else total - each.count * each.mean
                    others[part] = Profile((summed / rest).astype(np.float32), min(rest, MOST))
        return [others[part] for part in self.marked.tolist()]


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
    """The windows of the recording in the order of time, which overlap; or the marked parts."""
    model: str
    version: str
    speakers: Mapping[str, "Summary"] = field(default_factory=dict)
    """What each speaker of the marked parts sounds like."""
    profile: Profile | None = field(default=None, repr=False, compare=False)
    """What this recording tells of the speaker's voice; None if the bundle knows no profiles."""
    explanation: Explanation | None = field(default=None, repr=False, compare=False)
    """What the network saw, if that was asked for."""
    model_seconds: float = field(default=0.0, compare=False)
    """Time that the network took."""
    decode_seconds: float = field(default=0.0, compare=False)
    """Time that the decoder took."""

    def to_dict(self, timeline: bool = False) -> dict[str, Any]:
        """The answer as JSON has it; `timeline` adds the segments."""
        answer: dict[str, Any] = {
            "emotion": self.emotion,
            "confidence": round(self.confidence, 4),
            "uncertain": self.uncertain,
            "probabilities": rounded(self.probabilities),
            "duration": round(self.duration, 3),
        }
        if timeline:
            answer["segments"] = [segment.to_dict() for segment in self.segments]
        if self.speakers:
            answer["speakers"] = {
                name: summary.to_dict() for name, summary in self.speakers.items()
            }
        if self.explanation is not None:
            answer["explanation"] = self.explanation.to_dict()
        answer["model"] = {"name": self.model, "version": self.version}
        return answer


@dataclass(frozen=True)
class Summary:
    """What one speaker sounds like in all marked parts together; None if nothing was heard."""

    emotion: str | None
    confidence: float | None
    probabilities: Mapping[str, float] | None
    seconds: float
    """How much of the recording the marked parts are together."""
    segments: int
    """How many they are."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "emotion": self.emotion,
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "probabilities": rounded(self.probabilities),
            "seconds": round(self.seconds, 3),
            "segments": self.segments,
        }


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Along the last axis, `(windows, classes)`; NaN stays NaN."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def rounded(probabilities: Mapping[str, float] | None) -> dict[str, float] | None:
    """To four digits, as answers have them."""
    if probabilities is None:
        return None
    return {emotion: round(probability, 4) for emotion, probability in probabilities.items()}
