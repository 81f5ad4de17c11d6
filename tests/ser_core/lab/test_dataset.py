"""Recordings turned into features once, and kept."""

import logging
from pathlib import Path

import numpy as np
import pytest

from ser_core.lab import dataset
from ser_core.lab.corpora import Utterance
from ser_core.lab.dataset import FeatureSet, features_of, voiced
from tests.sounds import Signal, encode, silence, tone, voice

RATE = 16_000


class Front:
    """One frame for each tenth of a second: its number of samples and its level."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, signal: Signal) -> Signal:
        self.calls += 1
        frames = signal[: len(signal) // 1600 * 1600].reshape(-1, 1600)
        return np.stack([np.full(len(frames), 1600), np.abs(frames).max(axis=1)], axis=1)


def write(folder: Path, *signals: Signal) -> list[Utterance]:
    utterances = []
    for index, signal in enumerate(signals):
        path = folder / f"{index}.wav"
        path.write_bytes(encode(signal))
        utterances.append(Utterance(path, "happy"))
    return utterances


def compute(utterances: list[Utterance], cache: Path, key: str = "front") -> tuple[FeatureSet, int]:
    front = Front()
    return features_of(utterances, front, RATE, key, cache), front.calls


def test_edges_without_sound_are_cut_off_as_the_recognizer_does(tmp_path: Path) -> None:
    (utterance,) = write(tmp_path, np.concatenate([silence(1.0), tone(0.5), silence(1.0)]))
    assert len(voiced(utterance.path, RATE)) == 0.7 * RATE


def test_six_seconds_are_kept_at_most(tmp_path: Path) -> None:
    (utterance,) = write(tmp_path, voice(7.0))
    assert len(voiced(utterance.path, RATE)) == 6 * RATE


def test_utterances_of_different_lengths_keep_their_frames(tmp_path: Path) -> None:
    utterances = write(tmp_path, tone(0.5, level=0.25), tone(1.0, level=0.5))
    features, _ = compute(utterances, tmp_path / "cache")
    assert len(features) == 2
    assert features.frames.dtype == np.float16
    assert [features[0].shape, features[1].shape] == [(5, 2), (10, 2)]
    np.testing.assert_allclose(features[0][:, 1], 0.25, atol=1e-3)
    np.testing.assert_allclose(features[1][:, 1], 0.5, atol=1e-3)
    assert features.kept.tolist() == [0, 1]


def test_the_second_time_nothing_is_computed(tmp_path: Path) -> None:
    utterances = write(tmp_path, tone(0.5), tone(1.0))
    first, calls = compute(utterances, tmp_path / "cache")
    again, calls_again = compute(utterances, tmp_path / "cache")
    assert (calls, calls_again) == (2, 0)
    np.testing.assert_array_equal(again.frames, first.frames)
    np.testing.assert_array_equal(again.offsets, first.offsets)


def test_another_file_or_another_front_end_is_computed_anew(tmp_path: Path) -> None:
    utterances = write(tmp_path, tone(0.5, level=0.25))
    compute(utterances, tmp_path / "cache")
    assert compute(utterances, tmp_path / "cache", key="other")[1] == 1
    write(tmp_path, tone(0.6, level=0.5))
    features, calls = compute(utterances, tmp_path / "cache")
    assert calls == 1
    np.testing.assert_allclose(features[0][:, 1], 0.5, atol=1e-3)


def test_any_choice_of_recordings_finds_what_another_one_left(tmp_path: Path) -> None:
    utterances = write(tmp_path, tone(0.5, level=0.25), tone(1.0), tone(0.7, level=0.5))
    compute(utterances[:2], tmp_path / "cache")
    features, calls = compute([utterances[2], utterances[0]], tmp_path / "cache")
    assert calls == 1
    assert [len(features[0]), len(features[1])] == [7, 5]
    np.testing.assert_allclose(features[0][:, 1], 0.5, atol=1e-3)
    np.testing.assert_allclose(features[1][:, 1], 0.25, atol=1e-3)
    assert compute(utterances, tmp_path / "cache")[1] == 0


def test_what_an_interrupted_run_finished_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "PART", 2)
    utterances = write(tmp_path, tone(0.5), tone(0.6), tone(0.7), tone(0.8))

    def interrupted(signal: Signal) -> Signal:
        if len(signal) > 0.75 * RATE:
            raise KeyboardInterrupt
        return Front()(signal)

    with pytest.raises(KeyboardInterrupt):
        features_of(utterances, interrupted, RATE, "front", tmp_path / "cache")
    features, calls = compute(utterances, tmp_path / "cache")
    assert calls == 2
    assert [len(features[index]) for index in range(4)] == [5, 6, 7, 8]


def test_a_part_without_its_index_is_not_looked_at(tmp_path: Path) -> None:
    utterances = write(tmp_path, tone(0.5), tone(1.0))
    compute(utterances, tmp_path / "cache")
    (index,) = (tmp_path / "cache").glob("*/*.json")
    index.unlink()
    assert compute(utterances, tmp_path / "cache")[1] == 2


def test_unreadable_recordings_are_skipped_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    utterances = write(tmp_path, tone(0.5), silence(0.5), tone(1.0))
    letter = tmp_path / "letter.wav"
    letter.write_bytes(b"Dear Sir or Madam")
    utterances[1:1] = [Utterance(letter, "sad"), Utterance(tmp_path / "none.wav", "sad")]
    with caplog.at_level(logging.WARNING):
        features, _ = compute(utterances, tmp_path / "cache")
    assert features.kept.tolist() == [0, 4]
    assert [features[0].shape[0], features[1].shape[0]] == [5, 10]
    assert [path for path, _ in features.skipped] == [
        str(tmp_path / name) for name in ("letter.wav", "none.wav", "1.wav")
    ]
    assert features.skipped[2][1] == "The audio is silent."
    assert f"skipped {tmp_path / '1.wav'}: The audio is silent." in caplog.messages
    again, calls = compute(utterances, tmp_path / "cache")
    assert (again.skipped, calls) == (features.skipped, 0)


def test_nothing_readable_at_all_is_an_empty_set(tmp_path: Path) -> None:
    features, _ = compute(write(tmp_path, silence(0.5)), tmp_path / "cache")
    assert len(features) == 0
    assert len(features.skipped) == 1
