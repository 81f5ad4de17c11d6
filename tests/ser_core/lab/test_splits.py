from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from ser_core.lab import corpora
from ser_core.lab.corpora import Utterance
from ser_core.lab.splits import (
    FOLDS,
    Split,
    SplitError,
    by_speaker,
    corpus_out,
    folds,
    from_manifest,
    random_split,
)

EMOTIONS = ("angry", "happy", "neutral", "sad")


def corpus(name: str, speakers: int, each: int = 3) -> list[Utterance]:
    """Men have odd numbers, women even ones, as in RAVDESS; each says every emotion."""
    return [
        Utterance(
            Path(f"{name}/{speaker}/{emotion}{take}.wav"),
            emotion,
            f"{name}_{speaker:02}",
            "M" if speaker % 2 else "F",
            name,
        )
        for speaker in range(1, speakers + 1)
        for emotion in EMOTIONS
        for take in range(each)
    ]


def speakers_of(part: list[Utterance]) -> set[tuple[str, str, str]]:
    return {(u.corpus, u.speaker, u.sex) for u in part}


def assert_divides(split: Split, utterances: list[Utterance]) -> None:
    """Each utterance is in one part, and no speaker in two."""
    together = [*split.train, *split.valid, *split.test]
    assert sorted(u.path for u in together) == sorted(u.path for u in utterances)
    train, valid, test = map(speakers_of, (split.train, split.valid, split.test))
    assert not train & valid
    assert not train & test
    assert not valid & test


def test_a_random_split_is_70_to_30_for_each_label():
    utterances = corpus("a", 10, each=5)
    split = random_split(utterances)
    assert Counter(u.emotion for u in split.train) == dict.fromkeys(EMOTIONS, 35)
    assert Counter(u.emotion for u in split.test) == dict.fromkeys(EMOTIONS, 15)
    assert {*split.train} | {*split.test} == {*utterances}
    assert split == random_split(utterances)
    assert split != random_split(utterances, seed=1)


def test_a_label_too_rare_to_be_on_both_sides_is_an_error():
    utterances = [*corpus("a", 4), Utterance(Path("x.wav"), "disgust")]
    with pytest.raises(SplitError, match="1 of label 'disgust'"):
        random_split(utterances)


@pytest.mark.parametrize("seed", range(20))
def test_by_speaker_each_speaker_is_on_one_side_and_sexes_are_balanced(seed):
    utterances = corpus("a", 40)
    split = by_speaker(utterances, seed=seed)
    assert_divides(split, utterances)
    assert [len(speakers_of(p)) for p in (split.train, split.valid, split.test)] == [28, 6, 6]
    for part in (split.train, split.valid, split.test):
        sexes = Counter(sex for _, _, sex in speakers_of(part))
        assert abs(sexes["F"] - sexes["M"]) <= 2


@pytest.mark.parametrize("seed", range(5))
def test_by_speaker_each_corpus_gives_its_share_to_the_test(seed):
    utterances = [*corpus("a", 40), *corpus("b", 20)]
    split = by_speaker(utterances, (0.7, 0.1, 0.2), seed)
    assert_divides(split, utterances)
    assert Counter(c for c, _, _ in speakers_of(split.test)) == {"a": 8, "b": 4}


def test_by_speaker_is_the_same_in_any_order_and_another_with_another_seed():
    utterances = corpus("a", 20)
    split = by_speaker(utterances)
    again = by_speaker(utterances[::-1])
    assert speakers_of(split.test) == speakers_of(again.test)
    tests = {frozenset(speakers_of(by_speaker(utterances, seed=seed).test)) for seed in range(10)}
    assert len(tests) > 3


def test_speakers_of_the_same_name_in_two_corpora_are_two():
    utterances = [replace(u, speaker=u.speaker[-2:]) for u in corpus("a", 6) + corpus("b", 6)]
    split = by_speaker(utterances, (0.5, 0.25, 0.25))
    assert_divides(split, utterances)
    assert [len(speakers_of(p)) for p in (split.train, split.valid, split.test)] == [6, 3, 3]


def test_three_speakers_are_enough_for_three_parts_and_two_are_not():
    split = by_speaker(corpus("a", 3))
    assert [len(speakers_of(p)) for p in (split.train, split.valid, split.test)] == [1, 1, 1]
    with pytest.raises(SplitError, match=r"at least 3 speakers, here are 2: add speakers, or name"):
        by_speaker(corpus("a", 2))
    assert by_speaker(corpus("a", 2), (0.5, 0.0, 0.5)).valid == []


def test_utterances_without_a_speaker_cannot_be_split_by_speaker():
    utterances = [*corpus("a", 5), Utterance(Path("x.wav"), "sad")]
    with pytest.raises(
        SplitError, match=r"1 of 61 utterances name no speaker: .* or the column split\.$"
    ):
        by_speaker(utterances)


def test_a_label_that_would_be_missing_in_training_is_an_error():
    utterances = [replace(u, emotion=f"mood of {u.speaker}") for u in corpus("a", 4)]
    with pytest.raises(SplitError, match="mood of a_0"):
        by_speaker(utterances)


def test_the_manifest_decides_where_it_says():
    splits = {1: "train", 2: "valid", 3: "test"}
    utterances = [replace(u, split=splits[int(u.speaker[-2:])]) for u in corpus("a", 3)]
    split = from_manifest(utterances)
    assert_divides(split, utterances)
    assert speakers_of(split.valid) == {("a", "a_02", "F")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": ""}, r"1 of 24 .*sad2.wav with ''"),
        ({"split": "fold1"}, r"1 of 24 .* with 'fold1'"),
        ({"split": "test"}, "a_02 would be on more than one side"),
    ],
)
def test_a_manifest_that_does_not_decide_is_an_error(change, message):
    utterances = [replace(u, split="train") for u in corpus("a", 2)]
    utterances[-1] = replace(utterances[-1], **change)
    with pytest.raises(SplitError, match=message):
        from_manifest(utterances)


def test_a_manifest_with_nothing_to_train_on_is_an_error():
    with pytest.raises(SplitError, match="No row has the split train"):
        from_manifest([replace(u, split="test") for u in corpus("a", 2)])


def test_unnamed_speakers_may_be_on_both_sides_of_a_manifests_split():
    utterances = [
        Utterance(Path("a.wav"), "sad", split="train"),
        Utterance(Path("b.wav"), "sad", split="test"),
    ]
    assert len(from_manifest(utterances).test) == 1


def test_one_corpus_is_left_out():
    utterances = [*corpus("a", 10), *corpus("b", 4), *corpus("c", 10)]
    split = corpus_out(utterances, "b")
    assert {u.corpus for u in split.test} == {"b"}
    assert {u.corpus for u in split.train} == {"a", "c"}
    validated = split.with_validation(0.2)
    assert_divides(validated, utterances)
    assert validated.test == split.test
    assert len(speakers_of(validated.valid)) == 4


@pytest.mark.parametrize("left_out", ["a", "tess"])
def test_leaving_out_what_is_not_there_or_all_there_is_is_an_error(left_out):
    with pytest.raises(SplitError, match="another corpus, here a"):
        corpus_out(corpus("a", 3), left_out)


@pytest.mark.parametrize(
    ("name", "actors", "sizes"),
    [
        ("ravdess-5x4", 20, [4] * 5),
        ("ravdess-emobox", 24, [4] * 6),
        ("ravdess-reslstm", 24, [5, 5, 5, 5, 4]),
    ],
)
def test_published_folds_test_every_actor_once(name, actors, sizes):
    assert [len(fold) for fold in FOLDS[name]] == sizes
    utterances = corpus("ravdess", actors)
    splits = folds(utterances, name)
    for split, fold in zip(splits, FOLDS[name], strict=True):
        assert_divides(split, utterances)
        assert {int(u.speaker[-2:]) for u in split.test} == fold
    assert Counter(u.path for split in splits for u in split.test) == dict.fromkeys(
        (u.path for u in utterances), 1
    )


def test_the_folds_of_four_actors_have_two_women_and_two_men():
    for fold in FOLDS["ravdess-5x4"]:
        assert Counter(actor % 2 for actor in fold) == {0: 2, 1: 2}


def test_other_corpora_are_in_every_training_of_the_folds():
    others = corpus("tess", 2)
    for split in folds([*corpus("ravdess", 20), *others], "ravdess-5x4"):
        assert {*others} <= {*split.train}
        assert {u.corpus for u in split.test} == {"ravdess"}


def test_folds_of_other_actors_than_are_there_say_which_would_work():
    with pytest.raises(SplitError, match=r"missing are 21, 22, 23, 24.*work: ravdess-5x4"):
        folds(corpus("ravdess", 20), "ravdess-emobox")
    with pytest.raises(
        SplitError, match=r"no fold are 21, 22, 23, 24.*work: ravdess-emobox, ravdess-reslstm"
    ):
        folds(corpus("ravdess", 24), "ravdess-5x4")
    # Where none would, none is named.
    with pytest.raises(SplitError, match=r"in no fold are none\.$"):
        folds(corpus("tess", 2), "ravdess-5x4")


def test_folds_nobody_published_are_an_error():
    with pytest.raises(SplitError, match="ravdess-5x4, ravdess-emobox, ravdess-reslstm are"):
        folds(corpus("ravdess", 20), "ravdess-10x2")


def test_ravdess_speakers_without_a_number_are_an_error():
    with pytest.raises(SplitError, match="'anna' does not end in a number"):
        folds([Utterance(Path("a.wav"), "sad", "anna", corpus="ravdess")], "ravdess-5x4")


def test_real_speakers_are_split_as_the_manifest_says(ser_data):
    utterances = corpora.read(ser_data / "manifest.csv").utterances
    split = from_manifest(utterances)
    assert_divides(split, utterances)
    assert {u.speaker for u in split.test if u.corpus == "ravdess"} == {"ravdess_19", "ravdess_20"}
    assert_divides(by_speaker(utterances), utterances)
    assert [len(fold.test) for fold in folds(utterances, "ravdess-5x4")] == [
        240,
        240,
        240,
        239,
        240,
    ]
