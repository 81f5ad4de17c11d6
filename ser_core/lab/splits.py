"""Who is trained on and who is tested on: random, by speaker, by corpus, and published folds."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ser_core.lab.corpora import Utterance

Speaker = tuple[str, str]
"""Corpus and name: two corpora may both have a speaker 01."""

FOLDS: Mapping[str, tuple[frozenset[int], ...]] = {
    "ravdess-5x4": (
        frozenset({1, 2, 11, 12}),
        frozenset({3, 4, 13, 14}),
        frozenset({5, 6, 15, 16}),
        frozenset({7, 8, 17, 18}),
        frozenset({9, 10, 19, 20}),
    ),
    "ravdess-emobox": (
        frozenset({1, 11, 20, 21}),
        frozenset({4, 10, 12, 14}),
        frozenset({8, 9, 19, 23}),
        frozenset({3, 5, 7, 24}),
        frozenset({2, 15, 16, 18}),
        frozenset({6, 13, 17, 22}),
    ),
    "ravdess-reslstm": (
        frozenset({2, 5, 14, 15, 16}),
        frozenset({3, 6, 7, 13, 18}),
        frozenset({10, 11, 12, 19, 20}),
        frozenset({8, 17, 21, 23, 24}),
        frozenset({1, 4, 9, 22}),
    ),
}
"""Test actors of each fold of RAVDESS: two women and two men each of actors 1 to 20; the folds of
EmoBox (Ma et al. 2024, arXiv:2406.07162); those of ResLSTM-SER."""


class SplitError(ValueError):
    """The utterances cannot be split so; the message says what would work."""


@dataclass(frozen=True)
class Split:
    """`train` to fit, `valid` to choose and calibrate (and to teach heads, if these are judged
    by others), `test` to report and for nothing else."""

    train: list[Utterance] = field(default_factory=list)
    valid: list[Utterance] = field(default_factory=list)
    test: list[Utterance] = field(default_factory=list)

    def with_validation(self, fraction: float = 0.15, seed: int = 0) -> "Split":
        """The same test, with this fraction of the training speakers moved to `valid`."""
        inner = by_speaker(self.train, (1 - fraction, fraction, 0.0), seed)
        return Split(inner.train, [*self.valid, *inner.valid], self.test)


def random_split(utterances: Sequence[Utterance], train: float = 0.7, seed: int = 0) -> Split:
    """Utterances drawn at random, label by label: train and, of what is left, test.

    The 70:30 protocol of much of the literature. It has the same speakers, often the same
    sentences, on both sides, so its figures say nothing about voices never heard. Raises
    `SplitError` where a label has too few utterances to be on both sides.
    """
    rng = np.random.default_rng(seed)
    by_label: dict[str, list[int]] = defaultdict(list)
    for index, utterance in enumerate(utterances):
        by_label[utterance.emotion].append(index)
    drawn: set[int] = set()
    for label, indices in by_label.items():
        count = round(train * len(indices))
        if not 0 < count < len(indices):
            raise SplitError(
                f"{len(indices)} of label {label!r} cannot be divided {train:g} : {1 - train:g}; "
                f"add recordings of it, or leave it out."
            )
        drawn.update(rng.permutation(indices)[:count].tolist())
    return Split(
        train=[u for i, u in enumerate(utterances) if i in drawn],
        test=[u for i, u in enumerate(utterances) if i not in drawn],
    )


def by_speaker(
    utterances: Sequence[Utterance],
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    seed: int = 0,
) -> Split:
    """Every speaker in one part only; `fractions` of the speakers to train, valid and test.

    The speakers of valid and test are spread evenly over corpora and, within these, sexes
    (systematic sampling, Madow & Madow 1944), with at least one for each fraction that is not
    zero. Raises `SplitError` for utterances without a speaker, for too few speakers, and where a
    label would be missing from train.
    """
    anonymous = sum(not u.speaker for u in utterances)
    if anonymous:
        raise SplitError(
            f"{anonymous} of {len(utterances)} utterances name no speaker: fill the column "
            f"speaker, or the column split."
        )
    sexes = {_speaker(u): u.sex for u in utterances}
    needed = sum(fraction > 0 for fraction in fractions)
    if len(sexes) < needed:
        raise SplitError(
            f"A split by speaker into {needed} parts needs at least {needed} speakers, here "
            f"{'is' if len(sexes) == 1 else 'are'} {len(sexes)}: add speakers, or name the parts "
            f"in the column split."
        )
    rng = np.random.default_rng(seed)
    names = sorted(sexes)
    shuffled = [names[i] for i in rng.permutation(len(names))]
    speakers = sorted(shuffled, key=lambda speaker: (speaker[0], sexes[speaker]))
    _, valid_count, test_count = _shares(len(speakers), fractions)
    test = _evenly(speakers, test_count, rng)
    valid = _evenly([s for s in speakers if s not in test], valid_count, rng)
    split = Split(
        train=[u for u in utterances if _speaker(u) not in test | valid],
        valid=[u for u in utterances if _speaker(u) in valid],
        test=[u for u in utterances if _speaker(u) in test],
    )
    lost = {u.emotion for u in utterances} - {u.emotion for u in split.train}
    if lost:
        raise SplitError(
            f"No speaker of {_listed(lost)} would be left to train on: try another seed, or name "
            f"the parts in the column split."
        )
    return split


def from_manifest(utterances: Sequence[Utterance]) -> Split:
    """As the manifest's column `split` says.

    Raises `SplitError` when a row has no or another split than train, valid and test, when none
    is to train on, and when a speaker is in more than one.
    """
    parts: dict[str, list[Utterance]] = {"train": [], "valid": [], "test": []}
    odd = [u for u in utterances if u.split not in parts]
    if odd:
        raise SplitError(
            f"{len(odd)} of {len(utterances)} utterances have a split other than train, valid and "
            f"test, the first {odd[0].path.name} with {odd[0].split!r}: name one for each row, or "
            f"leave the column out to split by speaker."
        )
    homes: dict[Speaker, set[str]] = defaultdict(set)
    for utterance in utterances:
        parts[utterance.split].append(utterance)
        homes[_speaker(utterance)].add(utterance.split)
    torn = sorted(name for (_, name), splits in homes.items() if name and len(splits) > 1)
    if torn:
        raise SplitError(
            f"{_listed(torn)} would be on more than one side: give all rows of a speaker the same "
            f"split."
        )
    if not parts["train"]:
        raise SplitError("No row has the split train.")
    return Split(**parts)


def corpus_out(utterances: Sequence[Utterance], corpus: str) -> Split:
    """One corpus to test on, all others to train on. Raises `SplitError` when either is empty."""
    split = Split(
        train=[u for u in utterances if u.corpus != corpus],
        test=[u for u in utterances if u.corpus == corpus],
    )
    if not (split.train and split.test):
        names = sorted({u.corpus for u in utterances})
        raise SplitError(
            f"Leaving {corpus!r} out needs it and another corpus, here {_listed(names)}."
        )
    return split


def folds(utterances: Sequence[Utterance], name: str) -> list[Split]:
    """The published folds `name` of `FOLDS`: each fold's actors to test on, all else to train on.

    Utterances of other corpora are in every train; leave them out to follow the protocol to the
    letter. Raises `SplitError` unless the actors of RAVDESS are just those of the folds.
    """
    if name not in FOLDS:
        raise SplitError(f"{name!r} is no known set of folds: {', '.join(FOLDS)} are.")
    actors = {u.speaker: _actor(u) for u in utterances if u.corpus == "ravdess"}
    present = set(actors.values())
    if present != _actors_of(name):
        fitting = [other for other in FOLDS if present == _actors_of(other)]
        advice = f" Would work: {_listed(fitting)}." if fitting else ""
        raise SplitError(
            f"{name} needs other actors of RAVDESS: missing are "
            f"{_listed(_actors_of(name) - present) or 'none'}, in no fold are "
            f"{_listed(present - _actors_of(name)) or 'none'}.{advice}"
        )
    splits = []
    for fold in FOLDS[name]:
        test = {("ravdess", speaker) for speaker, actor in actors.items() if actor in fold}
        splits.append(
            Split(
                train=[u for u in utterances if _speaker(u) not in test],
                test=[u for u in utterances if _speaker(u) in test],
            )
        )
    return splits


def _speaker(utterance: Utterance) -> Speaker:
    return utterance.corpus, utterance.speaker


def _actor(utterance: Utterance) -> int:
    number = re.search(r"\d+$", utterance.speaker)
    if number is None:
        raise SplitError(f"RAVDESS's speaker {utterance.speaker!r} does not end in a number.")
    return int(number.group())


def _actors_of(name: str) -> set[int]:
    return {actor for fold in FOLDS[name] for actor in fold}


def _shares(total: int, fractions: Sequence[float]) -> list[int]:
    """Whole numbers close to `fractions` of `total`, at least 1 where a fraction is not zero."""
    shares = [int(fraction > 0) for fraction in fractions]
    while sum(shares) < total:
        missing = [f * total - share for f, share in zip(fractions, shares, strict=True)]
        shares[missing.index(max(missing))] += 1
    return shares


def _evenly(speakers: Sequence[Speaker], count: int, rng: np.random.Generator) -> set[Speaker]:
    start = rng.random()
    return {speakers[int((start + i) * len(speakers) / count)] for i in range(count)}


def _listed(items: Collection[object]) -> str:
    return ", ".join(str(item) for item in sorted(items))  # type: ignore[type-var]
