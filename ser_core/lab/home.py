"""What recordings are like where a bundle is used: their mean functionals, of whatever voices.

Without references an utterance is heard relative to the corpora that the bundle was trained on.
Where microphone, room and people are others, these are the wrong norm for everybody, and some clips
from there tell a better one. It takes no labels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ser_core.lab.evaluation import Outcome
from ser_core.profile import Profile

COUNT = 2.0
"""References of the speaker that it counts as, so that normal moves half of the way: on corpora
never heard one gave less, and more made answers worse where they had been best
(`benchmarks/experiments.md`)."""
UNLABELLED = "home, without labels"
"""What a calibration is called of which nobody could say whether it helps."""
TAKEN_OFF = "no home, without labels"
"""The same, where recordings were like what the bundle was trained on, and it had a home."""


def home_of(described: Sequence[Profile]) -> Profile:
    """The home that clips make, each of which counts the same."""
    means = np.array([each.mean for each in described])
    return Profile(means.mean(axis=0, dtype=np.float64).astype(np.float32), COUNT)


def homes_of_others(outcome: Outcome, folds: NDArray[np.int64]) -> list[Profile] | None:
    """For each clip the home that the clips of the other folds make.

    None if the bundle knows no profiles, or the clips are of one fold alone.
    """
    described = descriptions(outcome)
    if described is None or len(np.unique(folds)) < 2:
        return None
    made = {
        fold: home_of([described[row] for row in np.flatnonzero(folds != fold)])
        for fold in np.unique(folds).tolist()
    }
    return [made[fold] for fold in folds.tolist()]


def descriptions(outcome: Outcome) -> list[Profile] | None:
    """Each clip's own profile; None if the bundle knows none."""
    described = [heard.profile(1.0) for heard in outcome.heard]
    known = [each for each in described if each is not None]
    return known if known and len(known) == len(described) else None
