"""Which part of a recording is sound, and which is speech."""

import numpy as np
import pytest

from ser_core.activity import Survey, active_frames, active_span, speech_frames
from tests.sounds import Signal, noise, silence, tone, voice

RATE = 16_000


def survey(signal: Signal, block: int | None = None) -> Survey:
    made = Survey(16_000)
    for start in range(0, len(signal), block or len(signal)):
        made.add(signal[start : start + (block or len(signal))])
    return made


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


@pytest.mark.parametrize("block", [1, 100, 319, 320, 5_000])
def test_blocks_of_any_size_are_surveyed_as_the_whole_is(block: int) -> None:
    signal = np.concatenate([voice(0.7), noise(0.333, 0.01), voice(0.5)])
    whole, pieces = survey(signal), survey(signal, block)
    np.testing.assert_array_equal(pieces.levels, whole.levels)
    np.testing.assert_array_equal(pieces.voiced(), whole.voiced())
    assert (pieces.samples, pieces.lowest, pieces.highest) == (
        (signal.size, float(signal.min()), float(signal.max()))
    )


def test_a_survey_of_a_long_recording_is_one_of_its_parts() -> None:
    part = np.concatenate([voice(17.0), noise(5.0, 0.01)])
    parts = survey(np.tile(part, 3), 16_384)
    np.testing.assert_array_equal(parts.levels, np.tile(survey(part).levels, 3))
    np.testing.assert_array_equal(parts.voiced(), np.tile(survey(part).voiced(), 3))


@pytest.mark.parametrize("pitch", [90.0, 150.0, 280.0])
@pytest.mark.parametrize("sampling_rate", [8_000, 16_000, 22_050])
def test_a_voice_is_voiced_and_noise_is_not(pitch: float, sampling_rate: int) -> None:
    spoken, hissed = Survey(sampling_rate), Survey(sampling_rate)
    spoken.add(voice(3.0, pitch, sampling_rate=sampling_rate))
    hissed.add(noise(3.0, sampling_rate=sampling_rate))
    assert spoken.voiced().mean() > 0.7
    assert hissed.voiced().mean() < 0.05


@pytest.mark.parametrize("decibels", [-60.0, -30.0, 0.0, 20.0])
def test_speech_is_told_from_noise_tones_and_silence_at_any_level(decibels: float) -> None:
    gain = np.float32(10 ** (decibels / 20))
    sounds = [voice(4.0, level=0.2), noise(4.0, 0.02), tone(4.0, 300.0, 0.1), silence(4.0)]
    frames = speech_frames(survey(gain * np.concatenate([*sounds, voice(4.0, level=0.2)])))
    spoken, hissed, hummed, nothing, spoken_again = frames.reshape(5, -1).mean(axis=1)
    assert min(spoken, spoken_again) > 0.9
    assert max(hissed, hummed) < 0.3  # half a second each side of a voice counts with it
    assert nothing == 0
