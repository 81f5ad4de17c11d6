"""Who trains, chooses and tests: what is left out before, and what a bundle knows of it after."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ser_core.emotions import EMOTIONS_7, EMOTIONS_8
from ser_core.lab.corpora import Utterance, read
from ser_core.lab.parts import in_words, judged_by, known_by, part_of, split_of, usable
from ser_core.lab.splits import Split, SplitError, by_speaker
from tests.acting import SPEAKERS, read_rows, write_manifest
from tests.ser_core.conftest import Trained
from tests.sounds import encode, silence, voice

Rows = list[dict[str, str]]


def changed(trained: Trained, change: Callable[[Rows], Rows]) -> Path:
    """A manifest of the same recordings with other rows."""
    rows = change(read_rows(trained.manifest))
    return write_manifest(trained.manifest.parent / "changed.csv", rows)


def unsplit(rows: Rows) -> Rows:
    return [row | {"split": ""} for row in rows]


def sides(split: Split) -> list[set[str]]:
    return [{u.speaker for u in part} for part in (split.train, split.valid, split.test)]


def everything(split: Split) -> list[Utterance]:
    return [*split.train, *split.valid, *split.test]


def test_the_split_of_the_manifest_is_kept(trained: Trained) -> None:
    homes = ("train", "valid", "test")
    expected = [{s for s, home in SPEAKERS.items() if home == name} for name in homes]
    assert sides(split_of(trained.manifest, EMOTIONS_7)) == expected


def test_without_a_split_no_speaker_is_on_two_sides(trained: Trained) -> None:
    found = sides(split_of(changed(trained, unsplit), EMOTIONS_7))
    assert all(found)
    assert sorted(speaker for side in found for speaker in side) == [*SPEAKERS]


def test_the_seed_draws_the_speakers_and_0_is_the_usual_one(trained: Trained) -> None:
    manifest = changed(trained, unsplit)
    usual = by_speaker(read(manifest).utterances)
    assert sides(split_of(manifest, EMOTIONS_7)) == sides(usual)
    drawn = [sides(split_of(manifest, EMOTIONS_7, seed=seed)) for seed in range(6)]
    assert drawn[0] == sides(usual)
    assert any(other != drawn[0] for other in drawn)


def test_one_speaker_cannot_be_split(trained: Trained) -> None:
    manifest = changed(trained, lambda rows: [r | {"split": "", "speaker": "a1"} for r in rows])
    with pytest.raises(SplitError, match=r"needs at least 3 speakers.* or name the parts in the"):
        split_of(manifest, EMOTIONS_7)


def test_only_the_corpora_that_are_named_are_used(trained: Trained) -> None:
    split = split_of(trained.manifest, EMOTIONS_7, corpora=("b",))
    assert {u.corpus for u in everything(split)} == {"b"}
    with pytest.raises(SplitError, match="no corpus nowhere here; there are a, b"):
        split_of(trained.manifest, EMOTIONS_7, corpora=("b", "nowhere"))


@pytest.mark.parametrize("change", [unsplit, list], ids=["by speaker", "by manifest"])
def test_a_label_that_the_model_has_not_is_left_out_and_no_hindrance(
    trained: Trained, caplog: pytest.LogCaptureFixture, change: Callable[[Rows], Rows]
) -> None:
    def bored(rows: Rows) -> Rows:
        return [rows[0] | {"label": "bored", "split": ""}, *change(rows[1:])]

    with caplog.at_level(logging.WARNING):
        split = split_of(changed(trained, bored), EMOTIONS_7)
    assert len(everything(split)) == 47
    assert caplog.messages == ["left out 1 x 'bored', no label of the model"]


def test_labels_that_were_not_asked_for_are_left_out_too(trained: Trained) -> None:
    split = split_of(changed(trained, unsplit), ("angry", "sad"))
    assert {u.emotion for u in everything(split)} == {"angry", "sad"}
    assert len(everything(split)) == 32


def test_an_emotion_that_was_asked_for_must_be_there(trained: Trained) -> None:
    asked = ("angry", "sad", "neutrall")
    message = "no recording to train on is neutrall; the labels there are angry, neutral, sad"
    for manifest in (trained.manifest, changed(trained, unsplit)):
        with pytest.raises(SplitError, match=message):
            split_of(manifest, asked, needed=asked)
    assert everything(split_of(trained.manifest, asked))


def test_an_emotion_that_was_asked_for_must_be_there_to_train_on(trained: Trained) -> None:
    def to_test(rows: Rows) -> Rows:
        return [r | {"label": "fear"} if r["split"] == "test" else r for r in rows]

    asked = ("angry", "sad", "fear")
    message = "no recording to train on is fear; the labels there are angry, neutral, sad"
    with pytest.raises(SplitError, match=message):
        split_of(changed(trained, to_test), asked, needed=asked)


def test_labels_of_which_the_model_has_none_are_told(trained: Trained) -> None:
    def envious(rows: Rows, *splits: str) -> Rows:
        return [r | {"label": "envy"} if r["split"] in splits else r for r in rows]

    manifest = changed(trained, lambda rows: envious(rows, "test"))
    with pytest.raises(SplitError, match=r"no recording to test on is .* labels there are envy$"):
        split_of(manifest, EMOTIONS_7)
    manifest = changed(trained, lambda rows: unsplit(envious(rows, "train", "valid", "test")))
    with pytest.raises(SplitError, match=r"no recording is .* labels there are envy$"):
        split_of(manifest, EMOTIONS_7)


def test_labels_that_count_as_the_nearest_are_told_once(
    trained: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = changed(
        trained, lambda rows: [r | {"label": r["label"].replace("neutral", "calm")} for r in rows]
    )
    with caplog.at_level(logging.WARNING):
        split_of(manifest, EMOTIONS_7)
        split_of(manifest, EMOTIONS_8)
    counted = "counted 16 x 'calm' as 'neutral', the nearest of the model's emotions"
    assert [message for message in caplog.messages if "nearest" in message] == [counted]


def test_what_cannot_be_tested_on_is_named_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sounds = {"good": encode(voice(0.5)), "quiet": encode(silence(1.0)), "letter": b"Dear Sir"}
    for name, content in sounds.items():
        (tmp_path / f"{name}.wav").write_bytes(content)
    utterances = [Utterance(tmp_path / f"{name}.wav", "sad") for name in (*sounds, "none")]
    good = utterances[0]
    with caplog.at_level(logging.WARNING):
        assert usable([*utterances, Utterance(good.path, "envy")], EMOTIONS_7, 16_000) == [good]
    assert f"skipped {tmp_path / 'quiet.wav'}: The audio is silent." in caplog.messages
    assert sum(message.startswith("skipped ") for message in caplog.messages) == 3
    assert "left out 1 x 'envy', no label of the model" in caplog.messages
    assert caplog.messages[-1] == "testing does without 4 of 5 recordings"


def said_by(*speakers: str, split: str = "") -> list[Utterance]:
    return [Utterance(Path("x"), "sad", speaker, corpus="a", split=split) for speaker in speakers]


@pytest.mark.parametrize(
    ("valid", "test", "judged"),
    [
        (["2", "3"], ["4"], {"valid": ["a/2", "a/3"], "test": ["a/4"]}),
        (["2"], [], {"valid": ["a/2"], "test": []}),
        (["2", "1"], ["4"], {}),
        (["2"], ["4", "2"], {}),
        (["2"], ["4", ""], {}),
    ],
)
def test_who_judged_is_known_if_all_are_named_and_on_one_side(
    valid: list[str], test: list[str], judged: Any
) -> None:
    assert judged_by(Split(said_by("1"), said_by(*valid), said_by(*test))) == judged


INFO = {"speakers": ["a/1"], "judged_by": {"valid": ["a/2"], "test": ["a/3", "b/4"]}}
HEADS_HEARD_2 = {**INFO, "speakers": ["a/1", "a/2"]}


@pytest.mark.parametrize(
    ("part", "speakers"), [("train", "1"), ("valid", "2"), ("test", "3"), (None, "1234")]
)
def test_where_no_row_names_its_part_the_speakers_decide(part: str | None, speakers: str) -> None:
    utterances = said_by("1", "2", "3", "4")
    assert [u.speaker for u in part_of(utterances, part, INFO)] == [*speakers]
    assert [u.speaker for u in part_of(utterances, part, HEADS_HEARD_2)] == [*speakers]
    assert part_of(said_by(""), "test", INFO) == []
    assert part_of(utterances, "test", {"speakers": ["a/1"]}) == []


def test_where_a_row_names_its_part_the_rows_decide() -> None:
    utterances = [*said_by("1", split="test"), *said_by("3", split="train"), *said_by("3")]
    assert [u.speaker for u in part_of(utterances, "test", INFO)] == ["1"]


def test_whom_a_model_knows_is_told_by_corpus_and_name() -> None:
    others = [Utterance(Path("x"), "sad", "2", corpus="b"), Utterance(Path("x"), "sad")]
    known = known_by(INFO, [*said_by("1", "2", "3"), *others])
    assert known == {"was trained on": {"a/1"}, "was chosen and calibrated by": {"a/2"}}
    assert in_words(known) == (
        "was trained on 1 of these speakers (a/1) and was chosen and calibrated by 1 of these "
        "speakers (a/2)"
    )
    assert known_by(INFO, said_by("3", "4")) == known_by({}, said_by("1")) == {}
    # Who was trained on is that before all else, as of a bundle's parent.
    both = {"speakers": ["a/1"], "judged_by": {"valid": ["a/1"], "test": []}}
    assert known_by(both, said_by("1")) == {"was trained on": {"a/1"}}
