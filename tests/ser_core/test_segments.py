"""Parts that somebody marked, channels kept apart, and what the model saw."""

import numpy as np
import pytest

from ser_core.audio import Limits, Silent, TooLong
from ser_core.prediction import SpanError
from ser_core.recognizer import Prediction, Recognizer, Span
from tests.api import fakes
from tests.api.fakes import PROBABILITIES
from tests.sounds import encode, silence, tone, voice


class Loudest(fakes.Network):
    """Is angry in proportion to the peak of a window."""

    def logits(self, windows, lengths):  # type: ignore[no-untyped-def]
        logits = np.log(np.tile(np.array([*PROBABILITIES.values()], np.float32), (len(windows), 1)))
        logits[:, 0] += 10 * np.abs(windows).max(axis=1)
        return logits


def test_each_marked_part_has_its_own_answer() -> None:
    sound = np.concatenate([voice(2.0, level=0.9), voice(5.0, level=0.01), silence(2.0)])
    spans = [Span(2.0, 7.0, "B"), Span(0.0, 2.0, "A"), Span(7.2, 8.9, "A"), Span(0.5, 1.5)]
    prediction = fakes.recognizer(network=Loudest()).predict(sound, 16_000, spans=spans)
    got = [(s.start, s.end, s.speaker, s.speech, s.emotion) for s in prediction.segments]
    assert got == [
        (2.0, 7.0, "B", True, "happy"),
        (0.0, 2.0, "A", True, "angry"),
        (7.2, 8.9, "A", False, None),
        (0.5, 1.5, None, True, "angry"),
    ]
    assert prediction.duration == 9.0


def test_a_marked_part_is_heard_as_if_it_was_a_recording_of_its_own() -> None:
    sound = np.concatenate([voice(4.0, level=0.9), silence(1.0), voice(7.5, 200.0, level=0.05)])
    recognizer = fakes.recognizer(network=Loudest())
    prediction = recognizer.predict(sound, 16_000, spans=[Span(5.0, 12.5)])
    alone = recognizer.predict(sound[5 * 16_000 :], 16_000)
    assert prediction.segments[0].probabilities == pytest.approx(alone.probabilities, abs=0.002)


def test_speakers_are_summed_up() -> None:
    sound = np.concatenate([voice(2.0, level=0.9), voice(2.0, level=0.01), silence(2.0)])
    spans = [Span(0, 2, "A"), Span(2, 4, "B"), Span(4, 6, "C"), Span(2, 3, "B")]
    prediction = fakes.recognizer(network=Loudest()).predict(sound, 16_000, spans=spans)
    summary = {name: each.to_dict() for name, each in prediction.speakers.items()}
    assert list(summary) == ["A", "B", "C"]
    assert summary["A"]["emotion"] == "angry"
    assert summary["B"]["emotion"] == "happy"
    assert (summary["B"]["seconds"], summary["B"]["segments"]) == (3, 2)
    assert summary["C"] == {
        "emotion": None, "confidence": None, "probabilities": None, "seconds": 2, "segments": 1,
    }  # fmt: skip
    assert prediction.to_dict()["speakers"] == summary


def test_a_speaker_s_seconds_end_with_the_recording() -> None:
    spans = [Span(0, 200, "A"), Span(2.5, 3.5, "A"), Span(7, 9, "A")]
    prediction = fakes.recognizer().predict(voice(3.0), 16_000, spans=spans)
    assert (prediction.speakers["A"].seconds, prediction.speakers["A"].segments) == (3.5, 3)


def test_parts_of_which_none_is_in_the_recording_are_refused() -> None:
    with pytest.raises(SpanError, match=r"ends at 3\.000 s"):
        fakes.recognizer().predict(voice(3.0), 16_000, spans=[Span(3.0, 4.0), Span(50.0, 60.0)])


def test_marked_parts_are_not_explained() -> None:
    with pytest.raises(ValueError, match="explained and spans"):
        fakes.recognizer().predict(voice(3.0), 16_000, spans=[Span(0, 1)], explained=True)


def test_parts_past_the_end_and_too_short_ones_have_no_emotion() -> None:
    spans = [Span(1.0, 99.0), Span(50.0, 60.0), Span(0.5, 0.55)]
    prediction = fakes.recognizer().predict(voice(3.0), 16_000, spans=spans)
    assert [segment.emotion for segment in prediction.segments] == ["happy", None, None]


@pytest.mark.parametrize("interpreters", [1, 2])
def test_the_work_can_be_ended_before_any_window(interpreters: int) -> None:
    calls: list[None] = []

    def check() -> None:
        calls.append(None)
        if len(calls) == 4:
            raise TimeoutError

    pool = fakes.Pool(*[fakes.Network()] * interpreters)
    recognizer = Recognizer(fakes.recognizer().bundle, pool)
    with pytest.raises(TimeoutError):
        recognizer.predict(voice(3.0), 16_000, spans=[Span(0, 1)] * 50, limits=Limits(check=check))
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("sound", "expected"),
    [
        (
            np.concatenate([voice(6.0), silence(6.0), voice(6.0)]),
            {True, False},
        ),
        (np.concatenate([silence(6.0), voice(6.0), silence(6.0)]), {True}),
        (np.concatenate([silence(6.0), tone(2.0), silence(6.0)]), {True}),
        (tone(12.0), {True}),
    ],
    ids=["a pause", "silence at the edges", "one window", "no speech at all"],
)
def test_speech_is_false_only_beside_speech(sound: np.ndarray, expected: set[bool]) -> None:
    segments = fakes.recognizer().predict(sound, 16_000).segments
    assert {segment.speech for segment in segments} == expected
    loud = np.flatnonzero(sound) / 16_000
    assert segments[0].start == pytest.approx(loud[0], abs=0.15)
    assert segments[-1].end == pytest.approx(loud[-1], abs=0.15)


def test_marking_only_silence_is_refused() -> None:
    sound = np.concatenate([voice(2.0), silence(2.0)])
    with pytest.raises(Silent, match="every one of the segments"):
        fakes.recognizer().predict(sound, 16_000, spans=[Span(2.2, 3.9)])


@pytest.mark.parametrize("format_name", ["wav16", "flac", "vorbis"])
def test_channels_are_judged_apart(format_name: str) -> None:
    sound = np.stack([voice(3.0, level=0.9), voice(3.0, 220.0, 0.01), silence(3.0)], axis=1)
    recognizer = fakes.recognizer(network=Loudest())
    content = encode(sound[:, :2] if format_name == "vorbis" else sound, format_name)
    first, second, *others = recognizer.predict_channels(content)
    assert isinstance(first, Prediction)
    assert isinstance(second, Prediction)
    assert (first.emotion, second.emotion) == ("angry", "happy")
    assert all(isinstance(other, Silent) for other in others)
    alone = recognizer.predict(encode(sound[:, 0], "wav16"))
    if format_name != "vorbis":
        assert first.probabilities == pytest.approx(alone.probabilities, abs=1e-4)


def test_channels_of_samples_and_of_one_channel_are_judged_as_well() -> None:
    sound = np.stack([voice(5.0), -voice(5.0)], axis=1)
    with pytest.raises(Silent):
        fakes.recognizer().predict(sound, 16_000)
    answers = fakes.recognizer().predict_channels(sound, 16_000)
    assert [getattr(answer, "emotion", None) for answer in answers] == ["happy", "happy"]
    assert len(fakes.recognizer().predict_channels(voice(1.0), 16_000)) == 1
    assert (
        len(
            fakes.recognizer().predict_channels(
                encode(voice(1.0, sampling_rate=8_000), sampling_rate=8_000)
            )
        )
        == 1
    )


def test_what_concerns_the_whole_recording_is_raised_for_it() -> None:
    with pytest.raises(TooLong):
        fakes.recognizer().predict_channels(encode(tone(601.0, sampling_rate=1_000), "wav8", 1_000))


def test_the_explanation_is_the_log_mel_of_what_was_judged() -> None:
    from ser_core.spectrum import explain

    sound = np.concatenate([silence(1.0), voice(2.0), silence(1.0)])
    recognizer = fakes.recognizer()
    assert recognizer.predict(sound, 16_000).explanation is None
    prediction = recognizer.predict(sound, 16_000, explained=True)
    assert prediction.explanation is not None
    (segment,) = prediction.segments
    first, last = round(segment.start * 16_000), round(segment.end * 16_000)
    expected = explain(sound[first:last], 16_000, segment.start)
    np.testing.assert_array_equal(prediction.explanation.levels, expected.levels)
    assert prediction.to_dict()["explanation"]["start"] == round(segment.start, 3)
    long = recognizer.predict(voice(100.0), 16_000, explained=True)
    assert long.explanation is not None
    assert long.explanation.levels.shape == (64, 1 + 30 * 16_000 // 256)
