"""Label sets and the way from one to another."""

import pytest

from ser_core.emotions import EMOTIONS_7, EMOTIONS_8, normalise_label, to_label_set


def test_the_classes_stand_in_their_order() -> None:
    assert EMOTIONS_7 == ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    assert sorted({*EMOTIONS_7, "calm"}) == [*EMOTIONS_8]


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("Anger", "angry"), (" fearful ", "fear"), ("SURPRISED", "surprise"), ("boredom", "boredom")],
)
def test_spellings_of_public_corpora_are_understood(spelling: str, name: str) -> None:
    assert normalise_label(spelling) == name


def test_calm_is_neutral_only_where_it_is_no_class_of_its_own() -> None:
    assert to_label_set("calm", EMOTIONS_7) == "neutral"
    assert to_label_set("calm", EMOTIONS_8) == "calm"
    assert to_label_set("calm", ("angry", "sad")) is None


def test_what_has_no_counterpart_is_left_out() -> None:
    assert to_label_set("boredom", EMOTIONS_7) is None
    assert to_label_set("Joy", EMOTIONS_7) == "happy"
    assert to_label_set("disgust", ("happy", "sad")) is None
