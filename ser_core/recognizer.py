"""From a recording to the emotion in the voice."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_core import audio
from ser_core.audio import DEFAULT_LIMITS, AudioError, Limits, Signal, Source
from ser_core.bundle import Bundle, BundleError
from ser_core.planning import Plan, plan_parts, plan_whole
from ser_core.prediction import Heard, Prediction, Segment, Span, Summary
from ser_core.profile import Norm, Profile, ProfileError
from ser_core.runtime import Pool, Runtime
from ser_core.spectrum import Explanation, explain
from ser_core.tape import Tape

__all__ = ["Heard", "Prediction", "Recognizer", "Recording", "Segment", "Span", "Summary"]

Recording = Source | tuple[NDArray[Any], int] | NDArray[Any]
"""A path, bytes, a binary file, a signal, or a signal with its sampling rate."""

Floats = NDArray[np.float64]

EXPLAINED = 30
"""Seconds of log-mel that an answer holds at most."""


class Recognizer:
    """A bundle, loaded and ready to judge recordings; safe to share between threads."""

    def __init__(self, bundle: Bundle, pool: Pool) -> None:
        self.bundle = bundle
        self.norm = bundle.norm()
        """What the bundle's speakers are like; None if it knows no profiles."""
        self._home = bundle.home()
        self._new = min(1.0, bundle.hop / bundle.window)
        """The part of a window that the one before does not have."""
        self._pool = pool

    @classmethod
    def load(
        cls,
        bundle: str | Path | Bundle | None = None,
        *,
        runtime: str = "litert",
        threads: int = 1,
        interpreters: int = 1,
    ) -> "Recognizer":
        """Load a bundle by name or folder (None: the default one) with so many interpreters.

        One that is loaded already is taken as it is.

        Raises:
            BundleError: the bundle is missing or damaged.
        """
        loaded = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
        return cls(loaded, Pool(loaded, runtime, threads, interpreters))

    def predict(
        self,
        recording: Recording,
        sampling_rate: int | None = None,
        *,
        limits: Limits = DEFAULT_LIMITS,
        profile: Profile | None = None,
        spans: Sequence[Span] | None = None,
        explained: bool = False,
        adapt: bool = False,
    ) -> Prediction:
        """Judge a recording: a path, bytes, a binary file, or `(signal, sampling_rate)`.

        A signal is float in [-1, 1], shape `(samples,)` or `(samples, channels)`. Memory is
        constant however long the recording is. With a `profile`, it is heard relative to what is
        normal for that speaker. With `spans`, these parts alone are judged, each for itself and
        together for each speaker; where the bundle knows profiles and none is given, each relative
        to the other parts of its speaker. With `explained` the answer has the log-mel of what was
        judged, the first 30 s of it. With `adapt`, each window of a long recording of one speaker
        is heard relative to what the windows before it tell of the voice.

        Raises:
            AudioError: it cannot be read, or there is nothing in it to judge.
            ProfileError: a profile is given or `adapt` asked for, and the bundle knows no profiles;
                or the profile is another bundle's.
            SpanError: every one of the `spans` begins after the recording has ended.
            ValueError: `spans` are given, which serve each other already, and `adapt`; or `spans`
                and `explained`, which is of a whole recording.
            OSError: the file is not there or may not be read.
        """
        if explained and spans is not None:
            raise ValueError("explained and spans do not go together: the whole is explained")
        tape = self._tape(recording, sampling_rate, limits, split=False)
        prediction = self.name(self._hear(tape, 0, profile, spans, adapt), spans)
        return replace(prediction, explanation=self._explain(tape)) if explained else prediction

    def predict_channels(
        self,
        recording: Recording,
        sampling_rate: int | None = None,
        *,
        limits: Limits = DEFAULT_LIMITS,
        profile: Profile | None = None,
        adapt: bool = False,
    ) -> list[Prediction | AudioError]:
        """Judge each channel for itself; one that holds nothing to judge has its error instead.

        Raises as `predict` does what concerns the whole recording.
        """
        tape = self._tape(recording, sampling_rate, limits, split=True)
        answers: list[Prediction | AudioError] = []
        for channel in range(len(tape.surveys)):
            try:
                answers.append(self.name(self._hear(tape, channel, profile, adapt=adapt)))
            except audio.Silent as error:
                answers.append(error)
        return answers

    def hear(
        self,
        recording: Recording,
        sampling_rate: int | None = None,
        *,
        limits: Limits = DEFAULT_LIMITS,
        profile: Profile | None = None,
        adapt: bool = False,
    ) -> Heard:
        """What `predict` hears in a recording, window by window, before it is calibrated."""
        tape = self._tape(recording, sampling_rate, limits, split=False)
        return self._hear(tape, 0, profile, adapt=adapt)

    def profile(self, *recordings: Recording, limits: Limits = DEFAULT_LIMITS) -> Profile:
        """What is normal for a speaker, by recordings of that one; their emotions do not matter.

        Raises:
            AudioError: one cannot be read, or there is nothing in it.
            ProfileError: the bundle knows no profiles, or no recording is given.
        """
        if not recordings:
            raise ProfileError("A profile needs at least one recording of the speaker.")
        self.check_profiles()
        profile: Profile | None = None
        for recording in recordings:
            described = self._described(self.hear(recording, limits=limits))
            profile = described if profile is None else profile.update(described)
        assert profile is not None  # noqa: S101 (there is a recording)
        return profile

    def away(self) -> "Recognizer":
        """The same, without what its bundle says of where it is used."""
        return Recognizer(self.bundle.without("home"), self._pool)

    def check_profiles(self) -> Norm:
        """What the bundle's speakers are like.

        Raises:
            ProfileError: the bundle knows no profiles.
        """
        if self.norm is None:
            raise ProfileError(f"The model {self.bundle.name} knows no profiles of speakers.")
        return self.norm

    def name(self, heard: Heard, spans: Sequence[Span] | None = None) -> Prediction:
        """Calibrate what was heard and name it; `spans` are the parts that were marked."""
        bundle = self.bundle
        of_each = heard.probabilities(bundle.temperature, bundle.bias)
        overall = heard.mean(of_each)
        return Prediction(
            **self._named(overall),
            uncertain=bool(overall.max() < bundle.threshold),
            duration=heard.duration,
            segments=self._windows(heard, of_each)
            if spans is None
            else self._parts(heard, of_each, spans),
            speakers={} if spans is None else self._speakers(heard, of_each, spans),
            model=bundle.name,
            version=bundle.version,
            profile=heard.profile(self._new),
            model_seconds=heard.model_seconds,
            decode_seconds=heard.decode_seconds,
        )

    def warm_up(self) -> None:
        """Judge a made-up clip, so that the first real one is not the slow one."""
        rate = self.bundle.sampling_rate
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, rate).astype(np.float32)
        self.predict(noise, rate)

    def _tape(
        self, recording: Recording, sampling_rate: int | None, limits: Limits, *, split: bool
    ) -> Tape:
        rate = self.bundle.sampling_rate
        if isinstance(recording, tuple):
            recording, sampling_rate = recording
        if isinstance(recording, np.ndarray):
            if sampling_rate is None:
                raise TypeError("a signal needs its sampling_rate")
            signal = audio.as_signal(recording, sampling_rate, rate, limits, split=split)
            return Tape.of_signal(signal, rate, limits.check)
        source = audio.rereadable(recording)
        decode = audio.decode_channels if split else audio.decode_blocks
        return Tape(lambda: decode(source, rate, limits), rate, limits.check)

    def _hear(
        self,
        tape: Tape,
        channel: int,
        profile: Profile | None = None,
        spans: Sequence[Span] | None = None,
        adapt: bool = False,
    ) -> Heard:
        if adapt and spans is not None:
            raise ValueError("adapt and spans do not go together: marked parts serve each other")
        if profile is not None or adapt:
            norm = self.check_profiles()
            if profile is not None:
                profile.check(norm)
        survey = tape.surveys[channel]
        if audio.is_silent(survey.lowest, survey.highest):
            raise audio.Silent("The audio is silent.")
        if spans is None:
            plan = plan_whole(survey, self.bundle)
        else:
            plan = plan_parts(survey, self.bundle, spans)
            if not plan.judged.any():
                raise audio.Silent("The audio is silent in every one of the segments.")
        heard = self._judge(tape, channel, plan, [profile] * len(plan.spans))
        if spans is not None and profile is None and self.norm is not None:
            others = heard.profiles_of_others(self._new, spans)
            return self._judge_again(tape, channel, plan, heard, profiles=others, before=None)
        if adapt:
            known = heard.profiles_before(self._new, profile)
            return self._judge_again(tape, channel, plan, heard, profiles=known, before=profile)
        return heard

    def _judge_again(
        self,
        tape: Tape,
        channel: int,
        plan: Plan,
        heard: Heard,
        *,
        profiles: Sequence[Profile | None],
        before: Profile | None,
    ) -> Heard:
        """Ask once more about the windows whose voice is better known by now."""
        changed = plan.judged & np.array([each is not before for each in profiles])
        if not changed.any():
            return heard
        again = self._judge(tape, channel, replace(plan, judged=changed), profiles)
        return replace(
            heard,
            logits=np.where(changed[:, None], again.logits, heard.logits),
            model_seconds=heard.model_seconds + again.model_seconds,
            decode_seconds=heard.decode_seconds + again.decode_seconds,
        )

    def _judge(
        self, tape: Tape, channel: int, plan: Plan, profiles: Sequence[Profile | None]
    ) -> Heard:
        """Ask the network about every window of the plan, each with its profile."""
        rows: list[int] = np.flatnonzero(plan.judged).tolist()
        cut = tape.cut([plan.spans[row] for row in rows], channel)
        asked = zip(cut, [profiles[row] for row in rows], strict=True)
        logits = np.full((len(plan.spans), len(self.bundle.emotions)), np.nan, np.float32)
        functionals = None
        if self.norm is not None:
            functionals = np.full((len(plan.spans), len(self.norm.mean)), np.nan, np.float32)
        seconds = 0.0
        answers = self._pool.each(self._ask, asked, len(rows))
        for row, (answer, described, took) in zip(rows, answers, strict=True):
            logits[row] = answer
            if functionals is not None:
                functionals[row] = described
            seconds += took
        rate = self.bundle.sampling_rate
        return Heard(
            duration=tape.surveys[channel].samples / rate,
            spans=np.array(plan.spans) / rate,
            logits=logits,
            speech=plan.speech,
            functionals=functionals,
            origin=b"" if self.norm is None else self.norm.fingerprint,
            parts=plan.parts,
            model_seconds=seconds,
            decode_seconds=tape.take_decode_seconds(),
        )

    def _ask(
        self, runtime: Runtime, asked: tuple[Signal, Profile | None]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, float]:
        """Logits `(classes,)`, functionals `(k,)` if there are any, and the seconds it took."""
        signal, profile = asked
        window = signal[None]
        samples = round(self.bundle.window * self.bundle.sampling_rate)
        if len(signal) < samples:
            window = np.zeros((1, samples), np.float32)
            window[0, : len(signal)] = signal
        length = np.array([len(signal)], np.int32)
        started = time.perf_counter()
        functionals = None
        if self.norm is None:
            logits = runtime.logits(window, length)[0]
        else:
            known = self._known(self.norm, profile)
            count = np.array([known.count], np.float32)
            answer = runtime.relative(window, length, known.mean[None], count)
            logits, functionals = answer[0][0], answer[1][0]
        took = time.perf_counter() - started
        if not (np.isfinite(logits).all() and (functionals is None or _finite(functionals))):
            raise BundleError(f"{self.bundle.path} answers with numbers that are not finite")
        return logits, functionals, took

    def _known(self, norm: Norm, profile: Profile | None) -> Profile:
        """What is normal, as far as is known: for the speaker, and where the bundle is used."""
        if self._home is None:
            return Profile(norm.mean, 0.0) if profile is None else profile
        return self._home if profile is None else self._home.update(profile)

    def _explain(self, tape: Tape) -> Explanation:
        """The log-mel of what the windows cover, from the first one's start."""
        rate = self.bundle.sampling_rate
        spans = plan_whole(tape.surveys[0], self.bundle).spans
        start = spans[0][0]
        stop = min(spans[-1][1], start + EXPLAINED * rate)
        (signal,) = tape.cut([(start, stop)])
        return explain(signal, rate, start / rate)

    def _described(self, heard: Heard) -> Profile:
        described = heard.profile(self._new)
        if described is None:
            raise ProfileError(f"The model {self.bundle.name} knows no profiles of speakers.")
        return described

    def _windows(self, heard: Heard, of_each: Floats) -> tuple[Segment, ...]:
        return tuple(
            Segment(
                start=float(start),
                end=float(end),
                speech=bool(judged),
                **self._named(of_each[row] if judged else None),
            )
            for row, ((start, end), judged) in enumerate(
                zip(heard.spans, heard.judged, strict=True)
            )
        )

    def _parts(self, heard: Heard, of_each: Floats, spans: Sequence[Span]) -> tuple[Segment, ...]:
        segments = []
        for part, span in enumerate(spans):
            among = heard.judged & (heard.marked == part)
            overall = heard.mean(of_each, among) if among.any() else None
            segments.append(
                Segment(
                    start=span.start,
                    end=span.end,
                    speaker=span.speaker,
                    speech=overall is not None,
                    **self._named(overall),
                )
            )
        return tuple(segments)

    def _speakers(self, heard: Heard, of_each: Floats, spans: Sequence[Span]) -> dict[str, Summary]:
        summaries = {}
        for name in dict.fromkeys(span.speaker for span in spans if span.speaker is not None):
            own = [part for part, span in enumerate(spans) if span.speaker == name]
            among = heard.judged & np.isin(heard.marked, own)
            overall = heard.mean(of_each, among) if among.any() else None
            summaries[name] = Summary(
                **self._named(overall),
                seconds=sum(spans[part].seconds_in(heard.duration) for part in own),
                segments=len(own),
            )
        return summaries

    def _named(self, probabilities: Floats | None) -> dict[str, Any]:
        if probabilities is None:
            return {"emotion": None, "confidence": None, "probabilities": None}
        named = dict(zip(self.bundle.emotions, probabilities.tolist(), strict=True))
        emotion = max(named, key=named.__getitem__)
        return {"emotion": emotion, "confidence": named[emotion], "probabilities": named}


def _finite(values: NDArray[np.float32]) -> bool:
    return bool(np.isfinite(values).all())
