"""From a recording to an answer: the same by every way in, whatever surrounds the voice."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ser_core import AudioError, BundleError, Limits, Prediction, Recognizer
from ser_core.audio import NotAudio, Silent, TooLong
from ser_core.recognizer import Heard
from tests.acting import act
from tests.api import fakes
from tests.ser_core.conftest import Trained
from tests.sounds import Signal, encode, noise, silence, voice


class Spy(fakes.Network):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.windows: list[Signal] = []
        self.lengths: list[int] = []

    def logits(
        self, windows: NDArray[np.float32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        self.windows += [window.copy() for window in windows]
        self.lengths += lengths.tolist()
        return super().logits(windows, lengths)


class Timid(fakes.Network):
    """Is the surer of the first emotion the more sound there is in a window."""

    def logits(
        self, windows: NDArray[np.float32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        logits = np.zeros((len(windows), 7), np.float32)
        logits[:, 0] = 5 * np.mean(np.abs(windows) > 0, axis=1)
        return logits


def distance(one: Prediction, other: Prediction) -> float:
    """Largest difference in a probability."""
    assert [*one.probabilities] == [*other.probabilities]
    pairs = zip(one.probabilities.values(), other.probabilities.values(), strict=True)
    return max(abs(a - b) for a, b in pairs)


@pytest.mark.parametrize(
    "given",
    [
        lambda wav, signal, path: (path,),
        lambda wav, signal, path: (str(path),),
        lambda wav, signal, path: (wav,),
        lambda wav, signal, path: (io.BytesIO(wav),),
        lambda wav, signal, path: ((signal, 16_000),),
        lambda wav, signal, path: (signal, 16_000),
        lambda wav, signal, path: (np.stack([signal, signal], axis=1), 16_000),
    ],
    ids=["path", "name", "bytes", "file", "signal and rate", "signal, rate", "stereo"],
)
def test_every_way_in_gives_the_same_answer(
    tiny: Recognizer, tmp_path: Path, given: Callable[..., tuple[Any, ...]]
) -> None:
    signal = act("a2", "angry", 4.0)
    wav = encode(signal, "wav-float")
    (tmp_path / "clip.wav").write_bytes(wav)
    expected = tiny.predict(wav)
    assert len(expected.segments) == 2
    assert tiny.predict(*given(wav, signal, tmp_path / "clip.wav")) == expected


def test_an_answer_holds_every_emotion_in_order_and_sums_to_one(tiny: Recognizer) -> None:
    prediction = tiny.predict(act("b1", "sad"), 16_000)
    assert tuple(prediction.probabilities) == tiny.bundle.emotions
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-9)
    assert prediction.confidence == max(prediction.probabilities.values())
    assert prediction.probabilities[prediction.emotion] == prediction.confidence
    assert prediction.duration == 1.2
    assert (prediction.model, prediction.version) == ("tiny", "1.0.0")


def test_long_recordings_are_judged_to_their_end() -> None:
    prediction = fakes.recognizer().predict(voice(10.0), 16_000)
    spans = [(segment.start, segment.end) for segment in prediction.segments]
    assert spans == [(0.0, 3.0), (1.5, 4.5), (3.0, 6.0), (4.5, 7.5), (6.0, 9.0), (7.0, 10.0)]
    assert prediction.duration == 10.0


@pytest.mark.parametrize("seconds", [3.0, 3.01, 4.5, 4.51, 61.7])
def test_windows_leave_nothing_out(seconds: float) -> None:
    segments = fakes.recognizer().predict(voice(seconds), 16_000).segments
    assert segments[0].start == 0
    assert segments[-1].end == pytest.approx(seconds, abs=1e-4)
    for segment, following in pairwise(segments):
        assert segment.start < following.start <= segment.end
        assert segment.end - segment.start == 3.0


def test_the_network_is_shown_the_samples_and_zeros_after_them() -> None:
    spy = Spy()
    signal = voice(4.0)
    fakes.recognizer(network=spy).predict(signal, 16_000)
    fakes.recognizer(network=spy).predict(signal[:20_000], 16_000)
    assert spy.lengths == [48_000, 48_000, 20_000]
    np.testing.assert_array_equal(spy.windows[0], signal[:48_000])
    np.testing.assert_array_equal(spy.windows[1], signal[16_000:])
    np.testing.assert_array_equal(spy.windows[2][:20_000], signal[:20_000])
    assert not spy.windows[2][20_000:].any()


def test_only_where_somebody_speaks_is_judged() -> None:
    signal = np.concatenate([silence(2.0), voice(1.0), silence(1.5)])
    prediction = fakes.recognizer().predict(signal, 16_000)
    (segment,) = prediction.segments
    assert segment.start == pytest.approx(1.9, abs=0.021)
    assert segment.end == pytest.approx(3.1, abs=0.021)
    assert prediction.duration == 4.5


def test_windows_without_speech_are_marked_and_have_no_say() -> None:
    # Five seconds of pause: the middle windows hold nothing.
    signal = np.concatenate([voice(3.0), silence(5.0), voice(3.0)])
    spy = Spy()
    prediction = fakes.recognizer(network=spy).predict(signal, 16_000)
    spans = [(segment.start, segment.end, segment.speech) for segment in prediction.segments]
    assert spans == [
        (0.0, 3.0, True),
        (1.5, 4.5, True),
        (3.0, 6.0, False),
        (4.5, 7.5, False),
        (6.0, 9.0, True),
        (7.5, 10.5, True),
        (8.0, 11.0, True),
    ]
    assert len(spy.windows) == 5
    assert prediction.segments[2].to_dict() == {
        "start": 3.0,
        "end": 6.0,
        "speech": False,
        "emotion": None,
        "confidence": None,
        "probabilities": None,
    }


def test_windows_count_by_the_speech_in_them() -> None:
    signal = np.concatenate([voice(3.0), silence(2.4), voice(3.0)])
    prediction = fakes.recognizer(network=Timid()).predict(signal, 16_000)
    weights = np.array([segment.speech for segment in prediction.segments], float)
    assert weights.all()
    confidences = [segment.confidence or 0.0 for segment in prediction.segments]
    assert confidences[0] == confidences[-1] == pytest.approx(0.961, abs=1e-3)
    assert min(confidences) < 0.8
    assert prediction.confidence > np.mean(confidences) + 0.02


@pytest.mark.parametrize("emotion", ["angry", "neutral", "sad"])
def test_silence_around_a_voice_does_not_change_the_answer(tiny: Recognizer, emotion: str) -> None:
    signal = np.concatenate([silence(0.1), act("b4", emotion), silence(0.1)])
    alone = tiny.predict(signal, 16_000)
    for before, after in ((2.0, 0.0), (0.0, 5.0)):
        around = np.concatenate([silence(before), signal, silence(after)])
        assert tiny.predict(around, 16_000).probabilities == alone.probabilities
    # Where the voice does not begin with a frame, up to a frame more of silence is judged.
    around = np.concatenate([silence(1.013), signal, silence(1.007)])
    assert distance(tiny.predict(around, 16_000), alone) < 0.01


@pytest.mark.parametrize("decibels", [-20, 20])
def test_the_level_of_a_recording_changes_nothing(tiny: Recognizer, decibels: float) -> None:
    for emotion in ("angry", "neutral", "sad"):
        signal = act("b4", emotion) + noise(1.2, level=1e-3)
        louder = signal * np.float32(10 ** (decibels / 20))
        assert distance(tiny.predict(louder, 16_000), tiny.predict(signal, 16_000)) < 0.005


def test_another_sampling_rate_changes_little(tiny: Recognizer) -> None:
    at_16, at_48 = (voice(2.0, sampling_rate=rate) for rate in (16_000, 48_000))
    assert distance(tiny.predict(at_48, 48_000), tiny.predict(at_16, 16_000)) < 0.1


@pytest.mark.parametrize("seconds", [0.1, 0.15])
def test_a_short_sound_is_judged(tiny: Recognizer, seconds: float) -> None:
    prediction = tiny.predict(act("a1", "sad", seconds), 16_000)
    assert prediction.duration == seconds
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-9)
    (segment,) = prediction.segments
    assert (segment.start, segment.end) == (0.0, seconds)


@pytest.mark.parametrize("interpreters", [1, 3])
def test_threads_share_a_recognizer(trained: Trained, interpreters: int) -> None:
    shared = Recognizer.load(trained.bundle, interpreters=interpreters)
    signals = [act("b4", e, 1 + i) for i in range(3) for e in ("angry", "neutral", "sad")]
    alone = [shared.predict(signal, 16_000) for signal in signals]
    assert len({prediction.confidence for prediction in alone}) == len(signals)
    with ThreadPoolExecutor(6) as threads:
        together = [*threads.map(lambda signal: shared.predict(signal, 16_000), signals * 3)]
    assert together == alone * 3


def test_an_answer_under_the_threshold_is_uncertain() -> None:
    sure = fakes.recognizer()
    assert sure.predict(voice(), 16_000).uncertain is False
    unsure = replace(sure.bundle, threshold=0.84)
    recognizer = Recognizer(unsure, fakes.Pool(fakes.Network()))  # type: ignore[arg-type]
    assert recognizer.predict(voice(), 16_000).uncertain is True


def test_probabilities_are_the_softmax_of_logits_over_the_temperature() -> None:
    heard = Heard(
        duration=4.5,
        spans=np.array([[0.0, 3.0], [1.5, 4.5]]),
        logits=np.log(np.array([[81.0, 1.0], [1.0, 16.0]], np.float32)),
        speech=np.array([0.75, 0.25]),
    )
    np.testing.assert_allclose(heard.probabilities(2.0), [[0.9, 0.1], [0.2, 0.8]], atol=1e-6)
    np.testing.assert_allclose(heard.overall(2.0), [0.725, 0.275], atol=1e-6)


def test_the_answer_as_json_has_what_the_contract_says() -> None:
    signal = np.concatenate([voice(2.0), silence(0.0004)])
    prediction = fakes.recognizer().predict(signal, 16_000)
    answer = {
        "emotion": "happy",
        "confidence": 0.83,
        "uncertain": False,
        "probabilities": fakes.PROBABILITIES,
        "duration": 2.0,
        "model": {"name": "default", "version": "1.2.3"},
    }
    assert prediction.to_dict() == answer
    assert prediction.to_dict(timeline=True) == answer | {
        "segments": [
            {
                "start": 0.0,
                "end": 2.0,
                "speech": True,
                "emotion": "happy",
                "confidence": 0.83,
                "probabilities": fakes.PROBABILITIES,
            }
        ]
    }


@pytest.mark.parametrize(
    ("recording", "error"),
    [
        (encode(silence(1.0)), Silent),
        (b"Dear Sir or Madam, this is a letter.", NotAudio),
        ((voice(2.0), 16_000), TooLong),
    ],
)
def test_what_cannot_be_judged_is_refused(recording: Any, error: type[AudioError]) -> None:
    with pytest.raises(error):
        fakes.recognizer().predict(recording, limits=Limits(max_seconds=1.5))


def test_a_missing_file_is_the_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fakes.recognizer().predict(tmp_path / "none.wav")


def test_a_signal_needs_its_sampling_rate() -> None:
    with pytest.raises(TypeError, match="a signal needs its sampling_rate"):
        fakes.recognizer().predict(voice())


def test_a_network_that_answers_nan_is_at_fault() -> None:
    class NotANumber(fakes.Network):
        def logits(
            self, windows: NDArray[np.float32], lengths: NDArray[np.int32]
        ) -> NDArray[np.float32]:
            return np.full((len(windows), 7), np.nan, np.float32)

    with pytest.raises(BundleError, match="nowhere answers with numbers that are not finite"):
        fakes.recognizer(network=NotANumber()).predict(voice(), 16_000)


def test_warming_up_runs_the_network() -> None:
    spy = Spy()
    fakes.recognizer(network=spy).warm_up()
    assert spy.lengths == [16_000]
