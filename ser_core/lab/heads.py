"""Heads on a fitted network: whom they learn from, and who judges them.

What a network says of the speakers that it learnt from is surer than what it says of others, and
heads that hear it of nobody else trust it too much. So they hear the validation speakers too, by
whom it was chosen and from whom it has not learnt. Two other models tell how right it is, each with
heads that did not hear the half of them that judges it.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from ser_core.lab.acquaintance import heard_before
from ser_core.lab.corpora import Utterance
from ser_core.lab.describe import describe
from ser_core.lab.evaluation import speaker_key
from ser_core.lab.places import Places
from ser_core.lab.presets import FUNCTIONALS, Preset
from ser_core.lab.relative import (
    NARROW_SHARE,
    NARROW_SHARE_BY_HEART,
    STEPS_GOING_ON,
    Parent,
    fit_relative,
)
from ser_core.lab.training import Labelled
from ser_core.profile import Norm

logger = logging.getLogger(__name__)

FEWEST_STEPS = 1000
"""For fewer utterances than the preset's steps the heads are fitted in as many, at least these."""


@dataclass(frozen=True)
class Judge:
    """A model like another one that has heard `utterances`: this one has not."""

    whole: Any
    utterances: list[Utterance]


@dataclass(frozen=True)
class Headed:
    """A whole model that hears relative to a speaker's profile."""

    whole: Any
    norm: Norm
    """What is normal for the speakers."""
    places: Places | None
    """Where its corpora lie."""
    judges: list[Judge] = field(default_factory=list)
    """Of the validation recordings, where its heads have heard these; else it is judged itself."""


def fit_to_profiles(
    preset: Preset,
    trained: Any,
    train_set: Labelled,
    valid_set: Labelled,
    *,
    seed: int,
    progress: bool = True,
    parent: Parent | None = None,
    known: Collection[str] = (),
) -> Headed:
    """Fit heads to what the network `trained` and functionals say of the recordings.

    They go on from those of `parent`, if these are of the same kind. Who validates is heard if that
    is nobody who was heard before: in `train_set`, or one of the `known` speakers of a bundle.
    """
    describer = preset.describer(trained)
    before = heard_before(valid_set.utterances, train_set.utterances, known)
    halves = halves_of(valid_set.utterances) if before == set() else []
    heard = [train_set, valid_set] if halves else [train_set]
    utterances = [utterance for part in heard for utterance in part.utterances]
    labels = np.concatenate([part.labels for part in heard])
    described = replace(
        describe(describer, preset, utterances, labels, progress=progress),
        wanted=valid_set.corpora,
        held_out=np.arange(len(labels)) >= len(train_set.labels),
    )
    size, narrow = describer.output_shape[-1], describer.get_layer(FUNCTIONALS).output.shape[-1]
    if parent is not None and not parent.fits(size, len(preset.emotions), narrow):
        logger.warning("The bundle to begin with has heads of another kind: these begin anew.")
        parent = None
    steps = min(preset.schedule.relative_steps, max(FEWEST_STEPS, len(labels)))
    fit = partial(
        fit_relative,
        classes=len(preset.emotions),
        narrow=narrow,
        seed=seed,
        steps=steps if parent is None else min(steps, STEPS_GOING_ON),
        parent=parent,
        # For heads that go on one half was not measured.
        share=NARROW_SHARE_BY_HEART if not preset.teachers and parent is None else NARROW_SHARE,
    )
    without: list[set[str]] = [*halves, set()]
    bar = tqdm(without, desc="heads", unit="fit", disable=not progress)
    *judging, whole = (
        preset.whole_relative(describer, fit(described.without(speakers))) for speakers in bar
    )
    judges = [
        Judge(model, [u for u in valid_set.utterances if speaker_key(u) in half])
        for model, half in zip(judging, halves, strict=True)
    ]
    # Its own speakers' even so: profile tokens of the parent, whose network is another, are none of
    # this model's.
    return Headed(whole, described.norm(), Places.of(described.first(narrow)), judges)


def halves_of(utterances: Sequence[Utterance]) -> list[set[str]]:
    """Keys of the speakers in two halves, alike in corpora and sexes; none for fewer than two."""
    voices = {speaker_key(u): (u.corpus, u.sex) for u in utterances}
    if len(voices) < 2:
        return []
    keys = sorted(voices, key=lambda key: (*voices[key], key))
    return [{*keys[::2]}, {*keys[1::2]}]
