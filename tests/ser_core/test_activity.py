"""Which part of a recording is sound."""

import numpy as np

from ser_core.activity import active_frames, active_span
from tests.sounds import noise, silence, tone, voice

RATE = 16_000


def test_frames_of_20_ms_tell_sound_from_silence() -> None:
    signal = np.concatenate([silence(0.2), tone(0.1), silence(0.1)])
    assert active_frames(signal, RATE).tolist() == [False] * 10 + [True] * 5 + [False] * 5


def test_the_level_of_a_recording_does_not_matter() -> None:
    signal = np.concatenate([silence(0.5), voice(1.0), noise(0.5, level=1e-4)])
    for gain in (0.01, 0.1, 10.0):
        quieter = (gain * signal).astype(np.float32)
        np.testing.assert_array_equal(active_frames(quieter, RATE), active_frames(signal, RATE))


def test_35_db_under_the_loud_frames_is_where_sound_ends() -> None:
    loud, heard, unheard = (tone(0.5, level=10 ** (-db / 20)) for db in (0, 34, 36))
    active = active_frames(np.concatenate([loud, heard, unheard]), RATE)
    assert active.tolist() == [True] * 50 + [False] * 25


def test_a_click_does_not_set_the_level() -> None:
    signal = voice(2.0, level=0.02)
    clicked = signal.copy()
    clicked[8000:8010] = 1.0
    share = active_frames(clicked, RATE).mean()
    assert share == active_frames(signal, RATE).mean()


def test_a_sound_shorter_than_a_frame_is_active() -> None:
    assert active_frames(tone(0.01), RATE).tolist() == [True]


def test_the_span_has_a_tenth_of_a_second_around_the_sound() -> None:
    signal = np.concatenate([silence(1.0), tone(0.5), silence(1.0)])
    span = active_span(active_frames(signal, RATE), len(signal), RATE)
    assert span == (0.9 * RATE, 1.6 * RATE)


def test_the_span_stays_within_the_recording() -> None:
    signal = tone(0.535)
    assert active_span(active_frames(signal, RATE), len(signal), RATE) == (0, len(signal))
