"""Whether some clips are from where a bundle was trained, or from elsewhere."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from ser_core.bundle import Bundle
from ser_core.lab.places import UNLIKE, Places
from ser_core.lab.relative import Described


def described(
    clips: Sequence[tuple[str, str, float, float]], nobody: Sequence[str] = ()
) -> Described:
    """Clips of (corpus, speaker, two functionals), and a variant that is not to be looked at."""
    functionals = np.array([[clip[2:] for clip in clips]], np.float32)
    return Described(
        np.concatenate([functionals, functionals + 100]),
        np.zeros(len(clips), np.int64),
        [corpus for corpus, *_ in clips],
        [f"{corpus}/{speaker}" for corpus, speaker, *_ in clips],
        np.zeros(len(clips), bool),
        nobody=nobody,
    )


CLIPS = [
    ("far", "x", 8, 0), ("far", "y", 12, 0), ("far", "y", 12, 0), ("far", "y", 12, 0),
    ("near", "p", -1, 3), ("near", "q", 1, 7), ("lone", "z", 0, -50),
]  # fmt: skip


def test_each_speaker_counts_the_same_where_a_corpus_lies() -> None:
    places = Places.of(described(CLIPS))
    assert places is not None
    assert {name: mean.tolist() for name, mean in places.means.items()} == {
        "far": [10, 0], "near": [0, 5], "lone": [0, -50],
    }  # fmt: skip
    # Variances 8 and 2, 0 and 8: a corpus of one speaker says nothing of how far they are apart.
    np.testing.assert_allclose(places.spread, np.sqrt([5, 4]) + 1e-3, rtol=1e-6)


def test_recordings_without_a_speaker_are_no_voice() -> None:
    """They say where a corpus lies if nothing else does."""
    clips = [*CLIPS, ("near", "", 1000, 1000), ("calls", "", 1, 2), ("calls", "", 3, 6)]
    places = Places.of(described(clips, nobody=["near/", "calls/"]))
    expected = Places.of(described(CLIPS))
    assert places is not None
    assert expected is not None
    assert places.means.pop("calls").tolist() == [2, 4]
    assert places.to_info() == expected.to_info()


def test_of_single_speakers_nothing_is_known() -> None:
    assert Places.of(described([("a", "x", 1, 2), ("b", "y", 3, 4)])) is None


def test_the_nearest_corpus_is_told_in_deviations_of_a_speaker() -> None:
    spread = np.float32([1, 2])
    places = Places({"a": np.float32([0, 0]), "b": np.float32([10, 0])}, spread)
    assert places.nearest(np.float32([3, 8])) == ("a", pytest.approx(np.sqrt((9 + 16) / 2)))
    assert places.nearest(np.float32([9, 0])) == ("b", pytest.approx(np.sqrt(1 / 2)))
    # What else a profile holds is the network's own and not looked at.
    assert places.nearest(np.float32([9, 0, 77])) == places.nearest(np.float32([9, 0]))


def test_places_are_read_as_they_are_written() -> None:
    places = Places({"b": np.float32([1 / 3, 2e6])}, np.float32([1, 0.1234567]))
    told = json.loads(json.dumps({"places": places.to_info()}))
    assert told["places"] == {"spread": [1.0, 0.12346], "means": {"b": [0.33333, 2e6]}}
    again = Places.from_info(told, 2)
    assert again is not None
    assert again.to_info() == places.to_info()
    assert Places.from_info({}, 2) is None


@pytest.mark.parametrize(
    "places",
    [
        {"spread": [1.0], "means": {}},
        {"spread": [1.0], "means": {"a": [1.0, 2.0]}},
        {"spread": [0.0], "means": {"a": [1.0]}},
        {"spread": [1.0], "means": {"a": [float("nan")]}},
        {"spread": [float("inf")], "means": {"a": [1.0]}},
        {"spread": 1.0, "means": {"a": 1.0}},
        {"spread": [], "means": {"a": []}},
        {"spread": [1.0] * 3, "means": {"a": [1.0] * 3}},
    ],
    ids=[
        "none", "lengths", "no spread", "mean not finite", "spread not finite", "no lists", "empty",
        "more than a profile has",
    ],
)  # fmt: skip
def test_damaged_places_are_told(places: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        Places.from_info({"places": places}, 2)


@pytest.mark.parametrize("name", ["default", "open", "ravdess8"])
def test_the_shipped_bundles_know_where_their_corpora_lie(name: str) -> None:
    bundle = Bundle.load(name)
    places = Places.of_bundle(bundle)
    assert places is not None
    assert {*places.means} == {*bundle.info["corpora"]}
    for corpus, mean in places.means.items():
        others = Places({k: v for k, v in places.means.items() if k != corpus}, places.spread)
        assert others.nearest(mean)[1] > UNLIKE
