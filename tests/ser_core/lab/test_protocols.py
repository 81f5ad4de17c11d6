"""Protocols: who is trained on, who chooses, who is tested."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from ser_core.emotions import EMOTIONS_7, EMOTIONS_8
from ser_core.lab.corpora import Utterance
from ser_core.lab.protocols import EMOTIONS_6, PROTOCOLS, protocol
from ser_core.lab.splits import Split, SplitError

SPEAKERS = {"cremad": 12, "tess": 2, "emodb": 8}
PARTS = ["train"] * 8 + ["valid"] * 2 + ["test"] * 2


def corpus(name: str, speakers: Iterable[int], emotions: Iterable[str]) -> list[Utterance]:
    """Four takes of each emotion by each speaker, odd ones men."""
    return [
        Utterance(
            Path(f"{name}/{speaker:02}_{emotion}_{take}.wav"),
            emotion,
            f"{name}_{speaker:02}",
            "M" if speaker % 2 else "F",
            name,
        )
        for speaker in speakers
        for emotion in emotions
        for take in range(4)
    ]


def split_by_speaker(utterances: list[Utterance], parts: list[str]) -> list[Utterance]:
    """With the column `split`: the first speaker is in the first part, and so on."""
    of = dict(zip(sorted({u.speaker for u in utterances}), parts, strict=False))
    return [replace(u, split=of[u.speaker]) for u in utterances]


RAVDESS = corpus("ravdess", range(1, 21), EMOTIONS_8)
CREMAD = split_by_speaker(corpus("cremad", range(1, 13), EMOTIONS_6), PARTS)
TESS = corpus("tess", range(1, 3), EMOTIONS_7)
EMODB = corpus("emodb", range(1, 9), [*EMOTIONS_6, "boredom"])
OTHERS = [*CREMAD, *TESS, *EMODB]
EVERYTHING = [*RAVDESS, *OTHERS]
FULL = corpus("ravdess", range(1, 25), EMOTIONS_8)
"""RAVDESS with all of its actors."""


def speakers(utterances: Iterable[Utterance]) -> set[str]:
    return {u.speaker for u in utterances}


def corpora(utterances: Iterable[Utterance]) -> set[str]:
    return {u.corpus for u in utterances}


def nobody_is_on_two_sides(split: Split) -> bool:
    sides = [speakers(part) for part in (split.train, split.valid, split.test)]
    return all(sides) and sum(map(len, sides)) == len(set.union(*sides))


def splits_of(name: str) -> list[Split]:
    """The splits of a protocol on recordings that it goes with."""
    published = name.startswith(("ravdess-emobox", "ravdess-reslstm"))
    return PROTOCOLS[name].splits([*FULL, *OTHERS] if published else EVERYTHING)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_recording_is_on_two_sides_and_none_is_empty(name: str) -> None:
    for split in splits_of(name):
        sides = [{u.path for u in part} for part in (split.train, split.valid, split.test)]
        assert all(sides)
        assert sum(map(len, sides)) == len(set.union(*sides))


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name != "ravdess-random"])
def test_no_speaker_is_on_two_sides(name: str) -> None:
    assert all(map(nobody_is_on_two_sides, splits_of(name)))


def test_at_random_70_to_30_of_each_emotion_with_everybody_on_all_sides() -> None:
    (split,) = protocol("ravdess-random").splits(EVERYTHING)
    assert len(split.test) == 8 * 24
    assert [sum(u.emotion == e for u in split.test) for e in EMOTIONS_8] == [24] * 8
    assert len(split.train) + len(split.valid) == 8 * 56
    assert speakers(split.train) == speakers(split.test) == speakers(RAVDESS)
    assert corpora([*split.train, *split.valid, *split.test]) == {"ravdess"}


def test_another_seed_is_another_random_split() -> None:
    first, again, other = (protocol("ravdess-random").splits(RAVDESS, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_five_folds_test_every_actor_once() -> None:
    splits = protocol("ravdess-5x4").splits(EVERYTHING)
    assert len(splits) == 5
    assert speakers(splits[0].test) == {f"ravdess_{actor:02}" for actor in (1, 2, 11, 12)}
    tested = [u.path for split in splits for u in split.test]
    assert sorted(tested) == sorted(u.path for u in RAVDESS)
    for split in splits:
        assert corpora([*split.train, *split.valid]) == {"ravdess"}
        # Two of the sixteen, a woman and a man, choose the epoch.
        assert sorted({u.sex for u in split.valid}) == ["F", "M"]
        assert len(speakers(split.valid)) == 2


def test_with_others_only_the_training_side_grows() -> None:
    alone = protocol("ravdess-5x4").splits(EVERYTHING)
    joined = protocol("ravdess-5x4-with-others").splits(EVERYTHING)
    for one, more in zip(alone, joined, strict=True):
        assert (more.valid, more.test) == (one.valid, one.test)
        assert more.train == [*one.train, *CREMAD, *TESS, *EMODB]


def test_from_others_every_fold_begins_with_a_model_that_never_heard_the_corpus() -> None:
    begun = protocol("ravdess-5x4-from-others")
    assert begun.splits(EVERYTHING) == protocol("ravdess-5x4").splits(EVERYTHING)
    (before,) = protocol(begun.after).splits(EVERYTHING)
    assert "ravdess" not in {u.corpus for u in (*before.train, *before.valid)}


def test_another_seed_has_other_actors_choose_and_the_same_ones_tested() -> None:
    first, second = (protocol("ravdess-5x4").splits(RAVDESS, seed) for seed in (0, 1))
    assert [split.test for split in first] == [split.test for split in second]
    for one, other in zip(first, second, strict=True):
        assert nobody_is_on_two_sides(other)
        assert len(speakers(one.valid)) == len(speakers(other.valid)) == 2
    assert [speakers(split.valid) for split in first] != [speakers(split.valid) for split in second]


@pytest.mark.parametrize("name", ["ravdess-5x4", "crema-d"])
def test_after_others_trains_what_alone_does_and_keeps_the_same_speakers_away(name: str) -> None:
    after = protocol(f"{name}-after-others")
    assert after.after == f"{name}-with-others"
    assert after.splits(EVERYTHING) == protocol(name).splits(EVERYTHING)
    for now, before in zip(
        after.splits(EVERYTHING), protocol(after.after).splits(EVERYTHING), strict=True
    ):
        heard = speakers([*before.train, *before.valid])
        assert heard.isdisjoint(speakers(now.test))
        assert speakers(now.valid) == speakers(before.valid)


def test_crema_d_goes_by_the_column_split() -> None:
    (split,) = protocol("crema-d").splits(EVERYTHING)
    assert speakers(split.test) == {"cremad_11", "cremad_12"}
    assert speakers(split.valid) == {"cremad_09", "cremad_10"}
    assert corpora(split.train) == {"cremad"}
    (joined,) = protocol("crema-d-with-others").splits(EVERYTHING)
    assert (joined.valid, joined.test) == (split.valid, split.test)
    assert corpora(joined.train) == {"cremad", "ravdess", "tess", "emodb"}


def test_without_validation_rows_some_training_speakers_choose() -> None:
    parts = [part.replace("valid", "train") for part in PARTS]
    cremad = split_by_speaker(CREMAD, parts)
    (split,) = protocol("crema-d").splits(cremad)
    assert speakers(split.test) == {"cremad_11", "cremad_12"}
    assert nobody_is_on_two_sides(split)


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("ravdess-out", "ravdess"),
        ("crema-d-out", "cremad"),
        ("tess-out", "tess"),
        ("emodb-out", "emodb"),
    ],
)
def test_a_corpus_left_out_is_tested_whole(name: str, left_out: str) -> None:
    (split,) = protocol(name).splits(EVERYTHING)
    assert split.test == [u for u in EVERYTHING if u.corpus == left_out]
    assert left_out not in corpora([*split.train, *split.valid])
    assert protocol(name).references == (0, 3, 10)


def test_validation_rows_of_the_other_corpora_choose_where_there_are_some() -> None:
    (split,) = protocol("tess-out").splits(EVERYTHING)
    assert speakers(split.valid) == {"cremad_09", "cremad_10"}
    (split,) = protocol("crema-d-out").splits(EVERYTHING)
    assert corpora(split.valid) <= {"ravdess", "tess", "emodb"}


def test_a_missing_corpus_is_named_with_what_would_work() -> None:
    with pytest.raises(SplitError) as error:
        protocol("ravdess-5x4").splits([*CREMAD, *TESS])
    assert str(error.value) == (
        "ravdess-5x4: It tests on the corpus ravdess; here are cremad, tess. Protocols that work "
        "with these recordings: crema-d, crema-d-with-others, crema-d-after-others, crema-d-out, "
        "tess-out."
    )


def test_missing_actors_are_named_with_what_would_work() -> None:
    few = [u for u in RAVDESS if u.speaker not in ("ravdess_07", "ravdess_20")]
    with pytest.raises(SplitError, match=r"missing are 7, 20, .* work .*: ravdess-random\.$"):
        protocol("ravdess-5x4").splits(few)


def test_all_24_actors_go_by_the_published_folds() -> None:
    with pytest.raises(SplitError, match=r"in no fold are 21, 22, 23, 24.*ravdess-emobox"):
        protocol("ravdess-5x4").splits(FULL)
    assert len(protocol("ravdess-emobox").splits(FULL)) == 6
    assert len(protocol("ravdess-reslstm").splits(FULL)) == 5


def test_other_corpora_cannot_be_done_without() -> None:
    with pytest.raises(SplitError, match=r"^ravdess-out: .* here is ravdess alone\..*ravdess-5x4"):
        protocol("ravdess-out").splits(RAVDESS)


def test_crema_d_without_a_column_split_says_so() -> None:
    with pytest.raises(SplitError, match=r"column split for cremad: train, valid, test"):
        protocol("crema-d").splits([replace(u, split="") for u in CREMAD])


def test_an_unknown_protocol_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no protocol 'iemocap'; there are ravdess-random, .*"):
        protocol("iemocap")
