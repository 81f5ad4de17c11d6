"""Recordings of more than a window: only speech is judged, in constant memory."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
import pytest

from ser_core import Limits
from tests.api import fakes
from tests.sounds import Signal, encode, encode_blocks, noise, silence, tone, voice


def test_a_long_file_is_heard_as_the_same_samples_are() -> None:
    signal = np.concatenate([voice(20.0), noise(12.0, 1e-3), voice(40.0, 220.0)])
    wav = encode(signal, "wav-float")
    recognizer = fakes.recognizer()
    from_file, from_array = recognizer.predict(wav), recognizer.predict(signal, 16_000)
    assert from_file == from_array
    assert from_file.duration == 72.0
    assert from_file.segments[-1].end == 72.0


def test_only_windows_with_speech_have_an_emotion() -> None:
    signal = np.concatenate([voice(9.0), noise(12.0, 0.05), tone(12.0, 300.0, 0.2), voice(9.0)])
    segments = fakes.recognizer().predict(signal, 16_000).segments
    for segment in segments:
        if segment.end <= 9.0 or segment.start >= 33.0:
            assert (segment.speech, segment.emotion) == (True, "happy")
        elif segment.start >= 10.0 and segment.end <= 32.0:
            assert (segment.speech, segment.emotion, segment.confidence) == (False, None, None)
    assert sum(not segment.speech for segment in segments) > 10


@pytest.mark.parametrize("signal", [noise(10.0), tone(10.0)], ids=["noise", "tone"])
def test_where_no_speech_is_found_everything_that_sounds_is_judged(signal: Signal) -> None:
    prediction = fakes.recognizer().predict(signal, 16_000)
    assert prediction.emotion == "happy"
    assert all(segment.speech for segment in prediction.segments)


def test_two_clicks_far_apart_are_judged() -> None:
    signal = silence(20.0)
    signal[1_000] = signal[-1_000] = 0.5
    assert fakes.recognizer().predict(signal, 16_000).emotion == "happy"


def test_four_interpreters_give_the_answer_of_one() -> None:
    class Level(fakes.Network):
        def logits(self, windows: Any, lengths: Any) -> Any:
            logits = np.zeros((len(windows), 7), np.float32)
            logits[:, 0] = 10 * np.abs(windows).max(axis=1)
            return logits

    signal = voice(90.0) * np.linspace(0.5, 1, 90 * 16_000, dtype=np.float32)
    one, four = fakes.recognizer(network=Level()), fakes.recognizer()
    four._pool._fill([Level() for _ in range(4)])
    expected = one.predict(signal, 16_000)
    assert four.predict(signal, 16_000) == expected
    confidences = [segment.confidence or 0.0 for segment in expected.segments]
    assert confidences == sorted(confidences)


def test_a_long_recording_does_not_keep_a_short_one_waiting() -> None:
    """A borrower that wants the runtime back at once stands behind those who wait."""
    pool = fakes.Pool(fakes.Network())
    order: list[str] = []
    started = threading.Event()

    def work(_: object, item: str) -> None:
        order.append(item)
        started.set()
        time.sleep(0.05)

    def long() -> None:
        list(pool.each(work, ["long"] * 10, 10))

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(long)
        assert started.wait(30)
        list(pool.each(work, ["short"], 1))
        first.result(30)
    assert order.count("long") == 10
    assert order.index("short") <= 2


def test_four_five_minute_files_at_once_are_never_held_as_samples() -> None:
    spoken = voice(59.0)
    minutes = encode_blocks([spoken] * 5, "flac")
    recognizer = fakes.recognizer()
    recognizer.predict(minutes)
    process = psutil.Process()
    before, most = process.memory_info().rss, 0
    done = threading.Event()

    def watch() -> Iterator[int]:
        while not done.wait(0.02):
            yield process.memory_info().rss

    with ThreadPoolExecutor(5) as threads:
        watched = threads.submit(lambda: max(watch(), default=0))
        files = [threads.submit(recognizer.predict, minutes) for _ in range(4)]
        assert [file.result().duration for file in files] == [295.0] * 4
        done.set()
        most = watched.result()
    # As samples all would take 76 MB, and twice that while they are put together.
    assert most - before < 65_000_000


def test_limits_hold_for_long_recordings() -> None:
    wav = encode_blocks([voice(60.0)] * 2, "flac")
    assert fakes.recognizer().predict(wav, limits=Limits(max_seconds=120)).duration == 120.0
