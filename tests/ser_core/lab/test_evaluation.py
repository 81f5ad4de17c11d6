"""Figures, on answers that can be counted by hand and on an exported model."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ser_core import Recognizer
from ser_core.emotions import EMOTIONS_7, EMOTIONS_8
from ser_core.lab.corpora import Reading, Utterance, read
from ser_core.lab.evaluation import (
    Outcome,
    figures,
    hear_all,
    log_nearest,
    log_skipped,
    print_scores,
    scores,
)
from ser_core.recognizer import Heard
from tests.ser_core.conftest import Trained
from tests.sounds import encode, silence

ABC = ("a", "b", "c")


def outcome(corpora: str, labels: list[int], answers: list[int]) -> Outcome:
    """Utterances of the corpora `corpora`, a letter each, answered without a doubt."""
    heard = [
        Heard(3.0, np.array([[0.0, 3.0]]), 9 * np.eye(3, dtype=np.float32)[[answer]], np.ones(1))
        for answer in answers
    ]
    utterances = [
        Utterance(Path("x"), ABC[label], corpus=name)
        for name, label in zip(corpora, labels, strict=True)
    ]
    return Outcome(ABC, utterances, np.array(labels, np.int64), heard, [])


def test_figures_are_those_counted_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    predicted = np.array([0, 0, 0, 1, 1, 2])
    assert figures(ABC, labels, predicted) == {
        "n": 6,
        "accuracy": pytest.approx(4 / 6),
        "uar": pytest.approx((3 / 4 + 1 / 2) / 2),  # c was never there to be found
        "recall": {"a": 0.75, "b": 0.5},
        "confusion": {"a": {"a": 3, "b": 1, "c": 0}, "b": {"a": 0, "b": 1, "c": 1}},
    }


def test_nothing_judged_has_no_figures() -> None:
    nothing = np.zeros(0, np.int64)
    assert figures(ABC, nothing, nothing) == {
        "n": 0, "accuracy": None, "uar": None, "recall": {}, "confusion": {},
    }  # fmt: skip


def test_scores_have_the_same_keys_for_each_corpus() -> None:
    judged = outcome("xxyy", [0, 1, 0, 1], [0, 1, 0, 0])
    judged.skipped.append((Utterance(Path("s"), "d", corpus="y"), "odd label"))
    judged.skipped.append((Utterance(Path("t"), "d", corpus="z"), "odd label"))
    result = scores(judged)
    assert (result["n"], result["accuracy"], result["uar"]) == (4, 0.75, 0.75)
    assert result["skipped"] == {"odd label": 2}
    assert [*result["corpora"]] == ["x", "y", "z"]
    keys = {"n", "accuracy", "uar", "recall", "confusion", "skipped"}
    assert all({*row} == keys for row in result["corpora"].values())
    assert {*result} == keys | {"corpora", "sexes"}
    assert result["sexes"] == {}
    assert result["corpora"]["x"]["uar"] == 1
    assert result["corpora"]["y"]["uar"] == 0.5
    assert result["corpora"]["y"]["skipped"] == {"odd label": 1}
    assert (result["corpora"]["z"]["n"], result["corpora"]["z"]["uar"]) == (0, None)
    assert json.loads(json.dumps(result)) == result


def test_scores_are_told_apart_by_sex_where_it_is_known() -> None:
    judged = outcome("xxxxx", [0, 1, 0, 1, 1], [0, 1, 1, 1, 0])
    judged.utterances[:] = [
        replace(u, sex=sex)
        for u, sex in zip(judged.utterances, ["F", "F", "M", "M", ""], strict=True)
    ]
    result = scores(judged)
    assert result["sexes"] == {
        "female": {"n": 2, "accuracy": 1.0, "uar": 1.0},
        "male": {"n": 2, "accuracy": 0.5, "uar": 0.5},
    }
    lines: list[str] = []
    print_scores(result, ABC, lines.append)
    assert ["male", "2", "0.500", "0.500"] in [line.split() for line in lines]


def test_the_exported_model_is_judged_on_files(
    tiny: Recognizer, trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    utterances = [u for u in read(trained.manifest).utterances if u.speaker == "b4"]
    letter, quiet = tmp_path / "letter.wav", tmp_path / "quiet.wav"
    letter.write_bytes(b"Dear Sir or Madam")
    quiet.write_bytes(encode(silence(1.0)))
    neutral = next(u.path for u in utterances if u.emotion == "neutral")
    odd = [
        Utterance(neutral, "boredom", corpus="c"),
        Utterance(letter, "sad", corpus="c"),
        Utterance(quiet, "sad", corpus="c"),
        Utterance(tmp_path / "none.wav", "sad", corpus="c"),
        Utterance(neutral, "calm", corpus="c"),
    ]
    with caplog.at_level(logging.WARNING):
        judged = hear_all(tiny, [*odd, *utterances])
    assert [u.emotion for u in judged.utterances] == ["calm", *(u.emotion for u in utterances)]
    assert [EMOTIONS_7[label] for label in judged.labels[:3]] == ["neutral", "angry", "angry"]
    result = scores(judged, tiny.bundle.temperature)
    assert result["skipped"] == {
        "label 'boredom' is not one of the model's": 1,
        "cannot be read: NotAudio": 1,
        "cannot be read: Silent": 1,
        "cannot be read: FileNotFoundError": 1,
    }
    assert sum(f"skipped {path}: " in caplog.text for path in (letter, quiet)) == 2
    answers = [tiny.predict(u.path).emotion for u in utterances]
    right = [answer == u.emotion for answer, u in zip(answers, utterances, strict=True)]
    assert result["corpora"]["b"]["accuracy"] == pytest.approx(np.mean(right))
    assert result["corpora"]["b"]["n"] == 6


def test_the_table_shows_figures_recall_and_confusion() -> None:
    judged = outcome("xxy", [0, 0, 1], [0, 1, 1])
    judged.skipped.append((Utterance(Path("s"), "d", corpus="z"), "odd label"))
    lines: list[str] = []
    print_scores(scores(judged), ABC, lines.append)
    table = [line.split() for line in "\n".join(lines).splitlines()]
    assert ["all", "3", "0.667", "0.750"] in table
    assert ["y", "1", "1.000", "1.000"] in table
    assert ["x", "0.50", "-", "-"] in table
    assert ["a", "1", "1", "0"] in table
    assert table[-1] == ["left", "out:", "1", "(odd", "label)"]


def test_the_table_says_how_much_is_certain_and_how_much_of_it_right() -> None:
    result = scores(outcome("xxxx", [0, 0, 1, 1], [0, 0, 1, 0]))
    result["trust"] = {
        "coverage": 0.5, "accuracy_when_certain": 1.0, "ece": 0.25, "log_loss": 1.5, "aurc": 0.125,
    }  # fmt: skip
    lines: list[str] = []
    print_scores(result, ABC, lines.append)
    assert "\ncertain     50% of the answers, of which 100% are right" in lines
    assert ("calibration error 0.250, log-loss 1.500, area under risk and coverage 0.125") in lines
    result["trust"] |= {"coverage": 0.0, "accuracy_when_certain": None}
    print_scores(result, ABC, lines.append)
    assert "\ncertain     0% of the answers" in lines


def test_what_is_not_used_is_counted_and_the_first_are_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    skipped = [(Path(f"{index}.wav"), "no such file") for index in range(5)]
    with caplog.at_level(logging.WARNING):
        log_skipped(Reading([], [*skipped, (Path("6.wav"), "no label")]))
    assert caplog.messages == [
        "left out 5 (no such file): 0.wav, 1.wav, 2.wav, ...",
        "left out 1 (no label): 6.wav",
    ]


def test_labels_that_count_as_the_nearest_are_counted_aloud(
    caplog: pytest.LogCaptureFixture,
) -> None:
    labels = ["calm", "Calm", "anger", "neutral", "boredom", "calm"]
    utterances = [Utterance(Path("x"), label) for label in labels]
    with caplog.at_level(logging.WARNING):
        log_nearest(utterances, EMOTIONS_7)
        log_nearest(utterances, EMOTIONS_8)
    assert caplog.messages == [
        "counted 3 x 'calm' as 'neutral', the nearest of the model's emotions"
    ]
