"""Named protocols: which recordings train, choose and test, so that figures can be compared.

Whatever a protocol says of tested speakers, those who choose the epoch, the temperature and the
threshold (`valid`) come from its training side only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ser_core.emotions import EMOTIONS_7, EMOTIONS_8
from ser_core.lab.corpora import Utterance
from ser_core.lab.splits import (
    FOLDS,
    Split,
    SplitError,
    corpus_out,
    folds,
    from_manifest,
    random_split,
)

EMOTIONS_6 = ("angry", "disgust", "fear", "happy", "neutral", "sad")
"""CREMA-D's classes."""

Utterances = Sequence[Utterance]


@dataclass(frozen=True)
class Protocol:
    """How a figure is arrived at; `splits` does it."""

    name: str
    summary: str
    """One line to read in a table's legend."""
    emotions: tuple[str, ...]
    """The classes that are trained; answers are among those of them that the test set has."""
    corpus: str
    """The corpus that is tested on."""
    make: Callable[[Utterances, int], list[Split]]
    others: bool = False
    """Needs other corpora too."""
    references: tuple[int, ...] = (0,)
    """How many unlabelled recordings of the speaker are given, where a model has use for them."""
    after: str = ""
    """The protocol whose models these go on from with what is trained here: fold by fold, or all
    from the one that it has."""
    begin: str = ""
    """The bundle, by its name, that these models go on from, in place of such a protocol."""

    def splits(self, utterances: Utterances, seed: int = 0) -> list[Split]:
        """Train, valid and test of each fold.

        Raises:
            SplitError: the utterances do not allow it; the message says what would work.
        """
        try:
            return self._checked(utterances, seed)
        except SplitError as e:
            fitting = ", ".join(fitting_protocols(utterances)) or "none"
            named = "" if str(e).startswith(self.name) else f"{self.name}: "
            raise SplitError(
                f"{named}{e} Protocols that work with these recordings: {fitting}."
            ) from e

    def fits(self, utterances: Utterances) -> bool:
        """Whether `splits` can be made of them."""
        try:
            self._checked(utterances, 0)
        except SplitError:
            return False
        return True

    def _checked(self, utterances: Utterances, seed: int) -> list[Split]:
        present = sorted({u.corpus for u in utterances if u.corpus})
        if self.corpus not in present:
            raise SplitError(
                f"It tests on the corpus {self.corpus}; here "
                f"{'is' if len(present) == 1 else 'are'} {', '.join(present) or 'none'}."
            )
        if self.others and len(present) < 2:
            raise SplitError(f"It trains on other corpora too; here is {self.corpus} alone.")
        if self.after:
            protocol(self.after)._checked(utterances, seed)
        return self.make(utterances, seed)


def fitting_protocols(utterances: Utterances) -> list[str]:
    """Names of the protocols that these utterances allow."""
    return [name for name, each in PROTOCOLS.items() if each.fits(utterances)]


def protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"no protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def _random(corpus: str, utterances: Utterances, seed: int) -> list[Split]:
    outer = random_split(_of(corpus, utterances), seed=seed)
    inner = random_split(outer.train, train=0.85, seed=seed)
    return [Split(inner.train, inner.test, outer.test)]


def _folds(name: str, with_others: bool, utterances: Utterances, seed: int) -> list[Split]:
    others = _without("ravdess", utterances) if with_others else []
    return [
        # Models of several seeds, other actors having chosen each, have learnt from more together.
        _joined(fold.with_validation(seed=seed), others)
        for fold in folds(_of("ravdess", utterances), name)
    ]


def _by_manifest(corpus: str, with_others: bool, utterances: Utterances, _: int) -> list[Split]:
    inside = _of(corpus, utterances)
    if not any(u.split for u in inside):
        raise SplitError(f"It needs the manifest's column split for {corpus}: train, valid, test.")
    split = from_manifest(inside)
    if not split.test:
        raise SplitError(f"No row of {corpus} has the split test.")
    if not split.valid:
        split = split.with_validation()
    return [_joined(split, _without(corpus, utterances) if with_others else [])]


def _out(corpus: str, utterances: Utterances, _: int) -> list[Split]:
    split = corpus_out(utterances, corpus)
    named = {(u.corpus, u.speaker) for u in split.train if u.split == "valid"}
    if not named:
        return [split.with_validation()]
    chosen = [(u.corpus, u.speaker) in named for u in split.train]
    pairs = list(zip(split.train, chosen, strict=True))
    train = [u for u, is_valid in pairs if not is_valid]
    if not train:
        raise SplitError("Every other row has the split valid: none is left to train on.")
    return [Split(train, [u for u, is_valid in pairs if is_valid], split.test)]


def _joined(split: Split, others: list[Utterance]) -> Split:
    return Split([*split.train, *others], split.valid, split.test)


def _of(corpus: str, utterances: Utterances) -> list[Utterance]:
    return [u for u in utterances if u.corpus == corpus]


def _without(corpus: str, utterances: Utterances) -> list[Utterance]:
    return [u for u in utterances if u.corpus != corpus]


def _ravdess_folds(name: str) -> list[Protocol]:
    count = len(FOLDS[name])
    text = f"RAVDESS, {count} folds by actor: nobody who is tested was heard in training"
    return [
        Protocol(name, f"{text}; RAVDESS alone", EMOTIONS_8, "ravdess",
                 partial(_folds, name, False)),
        Protocol(f"{name}-with-others", f"{text}; trained on all other corpora too", EMOTIONS_8,
                 "ravdess", partial(_folds, name, True), others=True),
        Protocol(f"{name}-after-others", f"{text}; models of {name}-with-others go on with "
                 "RAVDESS alone", EMOTIONS_8, "ravdess", partial(_folds, name, False), others=True,
                 after=f"{name}-with-others"),
        Protocol(f"{name}-from-others", f"{text}; a model of ravdess-out, which heard all other "
                 "corpora, goes on with RAVDESS alone", EMOTIONS_8, "ravdess",
                 partial(_folds, name, False), others=True, after="ravdess-out"),
        Protocol(f"{name}-from-open", f"{text}; the bundle open, which heard CREMA-D and EmoDB, "
                 "goes on with RAVDESS alone", EMOTIONS_8, "ravdess",
                 partial(_folds, name, False), begin="open"),
    ]  # fmt: skip


def _corpus_out(corpus: str, title: str) -> Protocol:
    return Protocol(
        f"{corpus.replace('cremad', 'crema-d')}-out",
        f"trained on all corpora but {title}, tested on all of it: other people, another "
        f"microphone, other sentences",
        EMOTIONS_7,
        corpus,
        partial(_out, corpus),
        others=True,
        references=(0, 3, 10),
    )


PROTOCOLS = {
    each.name: each
    for each in (
        Protocol(
            "ravdess-random",
            "RAVDESS, 70 : 30 of the recordings at random: everybody who is tested was heard in "
            "training",
            EMOTIONS_8,
            "ravdess",
            partial(_random, "ravdess"),
        ),
        *(each for name in FOLDS for each in _ravdess_folds(name)),
        Protocol(
            "crema-d",
            "CREMA-D, by the manifest's split: nobody who is tested was heard in training; "
            "CREMA-D alone",
            EMOTIONS_6,
            "cremad",
            partial(_by_manifest, "cremad", False),
        ),
        Protocol(
            "crema-d-with-others",
            "the same, trained on all other corpora too",
            EMOTIONS_6,
            "cremad",
            partial(_by_manifest, "cremad", True),
            others=True,
        ),
        Protocol(
            "crema-d-after-others",
            "the same; the model of crema-d-with-others goes on with CREMA-D alone",
            EMOTIONS_6,
            "cremad",
            partial(_by_manifest, "cremad", False),
            others=True,
            after="crema-d-with-others",
        ),
        _corpus_out("ravdess", "RAVDESS"),
        _corpus_out("cremad", "CREMA-D"),
        _corpus_out("tess", "TESS"),
        _corpus_out("emodb", "EmoDB"),
    )
}
"""Every protocol by name, as `ser benchmark --protocol` takes it."""
