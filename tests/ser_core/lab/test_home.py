"""What recordings are like where a bundle is used."""

from pathlib import Path

import numpy as np
import pytest

from ser_core.lab.corpora import Utterance
from ser_core.lab.evaluation import Outcome
from ser_core.lab.home import COUNT, home_of, homes_of_others
from ser_core.profile import Profile
from ser_core.recognizer import Heard


def outcome(*functionals: float, known: bool = True) -> Outcome:
    """A recording of one window for each."""
    heard = [
        Heard(
            3.0,
            np.array([[0.0, 3.0]]),
            np.zeros((1, 2), np.float32),
            np.ones(1),
            functionals=np.array([[value, -value]], np.float32) if known else None,
        )
        for value in functionals
    ]
    utterances = [Utterance(Path(f"{row}.wav"), "sad") for row in range(len(heard))]
    return Outcome(("angry", "sad"), utterances, np.zeros(len(heard), np.int64), heard, [])


def test_each_clip_counts_the_same_however_long_it_is() -> None:
    home = home_of([Profile(np.float32([1, 2]), 1.0), Profile(np.float32([3, 6]), 20.0)])
    assert home.mean.tolist() == [2, 4]
    assert home.mean.dtype == np.float32
    assert home.count == COUNT


def test_a_clip_s_home_is_made_by_the_other_folds() -> None:
    homes = homes_of_others(outcome(1, 2, 6, 30), np.array([0, 0, 1, 2]))
    assert homes is not None
    assert [each.mean.tolist() for each in homes] == [[18, -18], [18, -18], [11, -11], [3, -3]]


@pytest.mark.parametrize(
    ("clips", "folds"),
    [(outcome(1, 2, known=False), [0, 1]), (outcome(1, 2), [0, 0]), (outcome(), [])],
    ids=["no profiles", "one fold", "no clips"],
)
def test_where_nothing_tells_of_others_there_is_no_home(clips: Outcome, folds: list[int]) -> None:
    assert homes_of_others(clips, np.array(folds, np.int64)) is None
