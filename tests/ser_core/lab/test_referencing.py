"""References are other recordings of the same speaker, and only those."""

from pathlib import Path

import numpy as np
import pytest

from ser_core.lab.corpora import Utterance
from ser_core.lab.evaluation import Outcome
from ser_core.lab.referencing import NoReferences, draw_profiles, drawn, in_words
from ser_core.prediction import Heard

SPEAKERS = ["a", "a", "a", "a", "b", "b", "c"]


def outcome(knows_profiles: bool = True, speakers: list[str] = SPEAKERS) -> Outcome:
    """Utterance i has the functionals (i, 10 i)."""
    utterances = [
        Utterance(Path(f"{i}.wav"), "sad", speaker, corpus="x")
        for i, speaker in enumerate(speakers)
    ]
    heard = [
        Heard(
            duration=1.0,
            spans=np.array([[0.0, 1.0]]),
            logits=np.zeros((1, 2), np.float32),
            speech=np.ones(1),
            functionals=np.array([[i, 10 * i]], np.float32) if knows_profiles else None,
        )
        for i in range(len(speakers))
    ]
    return Outcome(("angry", "sad"), utterances, np.zeros(len(speakers), np.int64), heard, [])


def test_all_others_of_the_speaker_are_averaged_never_the_utterance_itself() -> None:
    profiles = draw_profiles(outcome(), 10)
    assert profiles[0] is not None
    assert profiles[4] is not None
    np.testing.assert_allclose(profiles[0].mean, [2.0, 20.0])
    np.testing.assert_allclose(profiles[4].mean, [5.0, 50.0])
    assert [profile and profile.count for profile in profiles] == [3, 3, 3, 3, 1, 1, None]


def test_no_more_are_drawn_than_asked_for() -> None:
    profiles = draw_profiles(outcome(), 2)
    assert [profile and profile.count for profile in profiles] == [2, 2, 2, 2, 1, 1, None]


def test_other_speakers_can_be_drawn_as_a_control() -> None:
    profiles = draw_profiles(outcome(), 10, of_others=True)
    assert profiles[0] is not None
    np.testing.assert_allclose(profiles[0].mean, [5.0, 50.0])
    assert profiles[6] is not None
    assert profiles[6].count == 6


def test_the_draw_is_repeatable() -> None:
    first, second = draw_profiles(outcome(), 1, seed=3), draw_profiles(outcome(), 1, seed=3)
    for one, other in zip(first, second, strict=True):
        assert (one is None) == (other is None)
        if one and other:
            np.testing.assert_array_equal(one.mean, other.mean)


def test_a_model_without_profiles_is_refused() -> None:
    with pytest.raises(NoReferences, match="knows no profiles"):
        draw_profiles(outcome(knows_profiles=False), 3)


def test_utterances_without_speakers_are_refused() -> None:
    with pytest.raises(NoReferences, match="1 utterances name none"):
        draw_profiles(outcome(speakers=["a", "a", ""]), 3)


@pytest.mark.parametrize(
    ("speakers", "of_others", "message"),
    [
        (["a", "b", "c"], False, "no recording has another one of its speaker"),
        (["a", "a", "a"], True, "no recording has another one of another speaker"),
    ],
)
def test_where_nobody_has_a_reference_there_are_no_figures_with_any(
    speakers: list[str], of_others: bool, message: str
) -> None:
    with pytest.raises(NoReferences, match=message):
        draw_profiles(outcome(speakers=speakers), 3, of_others=of_others)


def test_how_many_there_were_is_counted_and_told() -> None:
    found = drawn(draw_profiles(outcome(), 10), 10)
    assert found == {"most": 10, "of": "speaker", "mean": 14 / 7, "none": 1}
    assert in_words(found) == "up to 10 of the speaker, 2.0 on average, none for 1 clips"
    others = drawn(draw_profiles(outcome(), 2, of_others=True), 2, of_others=True)
    assert in_words(others) == "up to 2 of other speakers, 2.0 on average"
