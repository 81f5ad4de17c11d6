"""The network that hears an utterance only relative to what is normal for its speaker.

It has two kinds of heads whose log-probabilities are averaged, each the same but for their seeds.
Wide ones see everything that is known of the utterance; narrow ones only its functionals, and learn
not to rely on how a corpus was recorded: they are better on corpora never heard. The better the
speaker is known, the more these count, and the less how often an emotion was heard in training,
of which some is taken off all answers (`benchmarks/experiments.md`).
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from ser_core.lab.sampling import balanced_probabilities
from ser_core.lab.targets import AmongTold, targets
from ser_core.profile import Norm

register = keras.saving.register_keras_serializable(package="ser")

SHRINKAGE = 2.0
"""The population's mean counts as this many recordings beside those of the speaker."""
MOST_REFERENCES = 10
NO_REFERENCE = 0.3
"""How often training gives no reference, and judges against the population's mean."""
ONLY_NEUTRAL = 0.2
"""How often the references are all neutral: a profile is often made of ordinary talk."""
SMOOTHING = 0.1
"""Share of the target that is spread over all classes."""
MIXUP = 0.3
"""Parameter of the Beta distribution that two utterances are mixed by."""
FURTHEST = 6.0
"""Standard deviations at which a functional is cut off."""
HEADS = 3
"""How many heads of a kind are averaged, as what one is by chance moves an answer."""
NARROW_SHARE = 0.35
"""Weight of the narrow heads for a voice of which nothing is known, beside a network that learnt
what teachers say, and of heads that go on from a bundle's. One half gains no more on corpora never
heard, and costs up to four points on bad lines, where functionals are soon wrong."""
NARROW_SHARE_BY_HEART = 0.5
"""Their weight then beside a network that was fitted to labels last: it knows its speakers by
heart, and says less of others."""
NARROW_SHARE_KNOWN = 0.55
"""Their weight for a voice that is known for sure: three points more on corpora never heard, and
nothing less on known ones."""
PRIOR, PRIOR_KNOWN = 0.3, 0.6
"""How much of the logarithm of how often an emotion was heard in training is taken off the answer
for a voice of which nothing is known, and for such a one (Menon et al. 2021, arXiv:2007.07314).
More is worth another point on known corpora, and makes surprise of what is none elsewhere."""
SHARPNESS_KNOWN = 1.4
"""What the answer for such a voice is multiplied by, as kinds of heads that differ are less sure
together than one: so confidence, which is fitted without references, is right with them too."""
RATE, RATE_GOING_ON = 3e-3, 1e-3
"""Highest learning rates: of heads that begin anew, and of those that go on from a bundle's."""
STEPS_GOING_ON = 1000
"""Batches for these."""
HELD_OUT = 3.0
"""How many times as often as others utterances are drawn that this network was not fitted to."""
MOVED = 0.5
"""How often, for a narrow head, an utterance is moved to where a random mixture of corpora lies:
its functionals by the difference of means. Tells it that the place of a corpus means nothing."""


@register
class RelativeToProfile(layers.Layer):  # type: ignore[misc]
    """Functionals `(batch, k)` in standard deviations from what is normal for the speaker.

    Beside them come the speaker's profile `(batch, k)`, the mean functionals of reference
    recordings, and their count `(batch, 1)`. Normal is the profile shrunk towards the population's
    mean, as the posterior mean of a normal distribution is; with a count of 0 it is that mean.
    """

    def __init__(self, mean: Sequence[float], spread: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean, self.spread = list(mean), list(spread)
        self._mean = np.asarray(mean, np.float32)
        self._scale = (1.0 / np.asarray(spread, np.float32)).astype(np.float32)

    def call(self, inputs: Any) -> Any:
        functionals, profile, count = inputs
        return self.relative(functionals, profile, count, ops)

    def relative(self, functionals: Any, profile: Any, count: Any, xp: Any = np) -> Any:
        """What the layer says, computed by `xp`: NumPy, which a few numbers cost less, or Keras."""
        # Where nothing counts, whatever stands in the profile must not be looked at.
        known = xp.where(xp.greater(count, 0), profile, self._mean)
        normal = self._mean + trust(count, xp) * (known - self._mean)
        return xp.clip((functionals - normal) * self._scale, -FURTHEST, FURTHEST)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "spread": self.spread}


@register
class WeightedAverage(layers.Average):  # type: ignore[misc]
    """Tensors of one shape -> their mean, each with its share; the shares sum to 1."""

    def __init__(self, shares: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shares = list(shares)

    def _merge_function(self, inputs: Any) -> Any:
        return sum(share * x for share, x in zip(self.shares, inputs, strict=True))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shares": self.shares}


@register
class ByAcquaintance(layers.Layer):  # type: ignore[misc]
    """Logits for an unknown voice and for a known one `(batch, classes)`, and the count of
    references `(batch, 1)` -> those between.

    What is known grows with the count as `RelativeToProfile` trusts the profile. From a known
    voice's logits `prior` `(classes,)` is taken off, and they are multiplied by `sharpness`; from
    an unknown one's a `share` of it.
    """

    def __init__(
        self, prior: Sequence[float], sharpness: float, share: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.prior, self.sharpness, self.share = list(prior), sharpness, share
        self._prior = np.asarray(prior, np.float32)

    def call(self, inputs: Any) -> Any:
        unknown, known, count = inputs
        unknown = unknown - self.share * self._prior
        known = self.sharpness * (known - self._prior)
        return unknown + trust(count) * (known - unknown)

    def get_config(self) -> dict[str, Any]:
        own = {"prior": self.prior, "sharpness": self.sharpness, "share": self.share}
        return {**super().get_config(), **own}


def trust(count: Any, xp: Any = ops) -> Any:
    """What a profile of so many recordings counts beside the population's mean, 0 to 1."""
    count = xp.maximum(count, 0.0)
    return count / (count + SHRINKAGE)


def head(
    size: int, classes: int, width: int = 256, dropout: float = 0.4, name: str = "wide"
) -> keras.Model:
    """Relative functionals `(batch, size)` -> logits.

    Its layers are named after it: heads that were made at other times go into one model.
    """
    relative = keras.Input((size,), name="relative")
    x = layers.GaussianNoise(0.1)(layers.Dropout(0.1)(relative))
    for number, units in enumerate((width, width // 2)):
        x = layers.Dense(units, name=f"{name}_dense_{number}")(x)
        x = layers.BatchNormalization(name=f"{name}_norm_{number}")(x)
        x = layers.Dropout(dropout)(layers.Activation("gelu")(x))
    logits = layers.Dense(classes, name=f"{name}_logits")(x)
    return keras.Model(relative, logits, name=name)


def relative_network(
    relation: RelativeToProfile,
    wide: Sequence[keras.Model],
    narrow: Sequence[keras.Model],
    prior: Sequence[float],
    share: float = NARROW_SHARE,
) -> keras.Model:
    """Functionals, profile and count -> logits: the weighted log-probabilities of all heads.

    The `narrow` ones see as many of the functionals, from the first on, as they have inputs; for an
    unknown voice they have this `share` of the weight.
    `prior` is what is taken off where the speaker is known, as `ByAcquaintance` takes it, and
    `PRIOR` of `PRIOR_KNOWN` parts of it elsewhere.
    """
    size = len(relation.mean)
    functionals = keras.Input((size,), name="functionals")
    profile = keras.Input((size,), name="profile")
    count = keras.Input((1,), name="count")
    relative = relation([functionals, profile, count])
    answers = [
        *(each(relative) for each in wide),
        *(each(relative[:, : each.input_shape[-1]]) for each in narrow),
    ]
    log_probabilities = [layers.Activation("log_softmax")(answer) for answer in answers]
    unknown, known = (
        WeightedAverage([(1 - part) / len(wide)] * len(wide) + [part / len(narrow)] * len(narrow))
        for part in (share, NARROW_SHARE_KNOWN)
    )
    acquaintance = ByAcquaintance(prior, SHARPNESS_KNOWN, PRIOR / PRIOR_KNOWN)
    logits = acquaintance([unknown(log_probabilities), known(log_probabilities), count])
    return keras.Model([functionals, profile, count], logits, name="relative")


@dataclass(frozen=True)
class Described:
    """Functionals of utterances, and who speaks in them."""

    functionals: NDArray[np.float32]
    """`(variants, utterances, k)`; the first variant is the recording as it is."""
    labels: NDArray[np.int64]
    corpora: Sequence[str]
    speakers: Sequence[str]
    neutral: NDArray[np.bool_]
    """Which utterances are ordinary talk."""
    wanted: Collection[str] = ()
    """The corpora that are to be heard, as `balanced_probabilities` takes them."""
    nobody: Collection[str] = ()
    """Those of `speakers` that are no one voice: recordings that name no speaker."""
    held_out: NDArray[np.bool_] | None = None
    """Which utterances the network was not fitted to; None: it was to all, or there is none."""

    def norm(self) -> Norm:
        """Population mean (each corpus counts the same) and spread around speakers' means."""
        clean = self.functionals[0]
        means = {speaker: clean[rows].mean(axis=0) for speaker, rows in self.by_speaker().items()}
        centred = clean - np.array([means[speaker] for speaker in self.speakers])
        mean = np.mean(list(self.means_of_corpora().values()), axis=0)
        return Norm(mean.astype(np.float32), (centred.std(axis=0) + 1e-3).astype(np.float32))

    def means_of_corpora(self) -> dict[str, NDArray[np.float32]]:
        """Mean functionals of each corpus, `(k,)`; each of its speakers counts the same."""
        means: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
        for rows in self.by_speaker().values():
            means[self.corpora[rows[0]]].append(self.functionals[0, rows].mean(axis=0))
        return {corpus: np.mean(of_speakers, axis=0) for corpus, of_speakers in means.items()}

    def probabilities(self) -> NDArray[np.float64]:
        """How often each utterance is drawn in training."""
        drawn = balanced_probabilities(self.corpora, self.labels, self.speakers, self.wanted)
        if self.held_out is not None:
            drawn *= np.where(self.held_out, HELD_OUT, 1.0)
            drawn /= drawn.sum()
        return drawn

    def prior(self, classes: int) -> NDArray[np.float64]:
        """Logarithm of how often each class is drawn, less its mean; 0 for those never drawn."""
        drawn = np.bincount(self.labels, self.probabilities(), classes)
        logarithm = np.log(drawn, where=drawn > 0, out=np.full(classes, np.nan))
        centred: NDArray[np.float64] = np.nan_to_num(logarithm - np.nanmean(logarithm))
        return centred

    def first(self, count: int) -> "Described":
        """The same with the first `count` functionals alone, which no network has learnt."""
        return replace(self, functionals=self.functionals[:, :, :count], held_out=None)

    def without(self, speakers: Collection[str]) -> "Described":
        """The same without these speakers."""
        if not speakers:
            return self
        rows = [row for row, speaker in enumerate(self.speakers) if speaker not in speakers]
        return replace(
            self,
            functionals=self.functionals[:, rows],
            labels=self.labels[rows],
            corpora=[self.corpora[row] for row in rows],
            speakers=[self.speakers[row] for row in rows],
            neutral=self.neutral[rows],
            held_out=None if self.held_out is None else self.held_out[rows],
        )

    def by_speaker(self) -> dict[str, NDArray[np.int64]]:
        """Rows of each speaker."""
        rows: dict[str, list[int]] = defaultdict(list)
        for row, speaker in enumerate(self.speakers):
            rows[speaker].append(row)
        return {speaker: np.array(found) for speaker, found in rows.items()}


@dataclass(frozen=True)
class Parent:
    """What a bundle's heads have learnt, for others to go on from."""

    norm: Norm
    heads: Mapping[str, keras.Model]
    """By their names, as `fit_relative` gives them."""

    def fits(self, functionals: int, classes: int, narrow: int) -> bool:
        """Whether heads for so much of this are the same."""
        kinds = {"wide": functionals, "narrow": narrow}
        wanted = {f"{kind}_{n}": size for kind, size in kinds.items() for n in range(HEADS)}
        shapes = {
            name: (each.input_shape[-1], each.output_shape[-1]) for name, each in self.heads.items()
        }
        same = {name: (size, classes) for name, size in wanted.items()}
        return len(self.norm.mean) == functionals and shapes == same


class References:
    """Draws recordings of the same speaker, never the one that is judged; none of `nobody`."""

    def __init__(self, data: Described, seed: int) -> None:
        self.data, self.rng = data, np.random.default_rng(seed)
        self.rows = data.by_speaker()

    def profile(self, row: int, count: int, variant: int = 0) -> tuple[NDArray[np.float32], int]:
        """Mean functionals of up to `count` others, and how many there were."""
        data = self.data
        if data.speakers[row] in data.nobody:
            return np.zeros(data.functionals.shape[2], np.float32), 0
        others = self.rows[data.speakers[row]]
        others = others[others != row]
        if self.rng.random() < ONLY_NEUTRAL and data.neutral[others].any():
            others = others[data.neutral[others]]
        count = min(count, len(others))
        if not count:
            return np.zeros(data.functionals.shape[2], np.float32), 0
        chosen = self.rng.choice(others, count, replace=False)
        return data.functionals[variant, chosen].mean(axis=0), count


def fit_relative(
    data: Described,
    classes: int,
    narrow: int,
    *,
    seed: int = 0,
    steps: int = 4000,
    batch: int = 128,
    parent: Parent | None = None,
    share: float = NARROW_SHARE,
) -> keras.Model:
    """Fit the relative network; its narrow heads see the first `narrow` functionals.

    These have this `share` of the weight for an unknown voice. With a `parent`, its heads go on,
    relative to its norm.
    """
    norm = data.norm() if parent is None else parent.norm
    relation = RelativeToProfile(norm.mean.tolist(), norm.spread.tolist())

    def fitted(kind: str, n: int, heard: Described, moved: float = 0.0) -> keras.Model:
        begin = None if parent is None else (parent.norm, parent.heads[f"{kind}_{n}"])
        how = {"seed": seed + n, "steps": steps, "batch": batch}
        return fit_head(heard, classes, name=f"{kind}_{n}", moved=moved, begin=begin, **how)

    wide = [fitted("wide", n, data) for n in range(HEADS)]
    first = data.first(narrow)
    others = [fitted("narrow", n, first, MOVED) for n in range(HEADS)]
    prior = (PRIOR_KNOWN * data.prior(classes)).tolist()
    return relative_network(relation, wide, others, prior, share)


def fit_head(
    data: Described,
    classes: int,
    *,
    name: str = "wide",
    moved: float = 0.0,
    seed: int = 0,
    steps: int = 4000,
    batch: int = 128,
    begin: tuple[Norm, keras.Model] | None = None,
) -> keras.Model:
    """Fit one head with 0 to 10 random references in training.

    `begin` is a head to go on from, and the norm of which it knows the first functionals.
    """
    keras.utils.set_random_seed(seed)
    size = data.functionals.shape[2]
    norm = data.norm() if begin is None else begin[0]
    relation = RelativeToProfile(norm.mean[:size].tolist(), norm.spread[:size].tolist())
    model = head(size, classes, name=name)
    if begin is not None:
        model.set_weights(begin[1].get_weights())
    warm_up = steps // 20
    highest = RATE if begin is None else RATE_GOING_ON
    rate = keras.optimizers.schedules.CosineDecay(
        1e-4, steps - warm_up, warmup_target=highest, warmup_steps=warm_up
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.02, global_clipnorm=5.0),
        AmongTold(),
    )
    references = References(data, seed)
    rng = references.rng
    probabilities = data.probabilities()
    truth = targets(data.corpora, data.labels, classes, SMOOTHING)
    # Half of what is heard is as it was recorded, the rest is any of its variants.
    variants = len(data.functionals)
    shares = np.full(variants, 0.5 / max(1, variants - 1))
    shares[0] = 1 - shares[1:].sum()
    moves = _Moves(data, moved, rng)
    for _ in range(steps):
        rows = rng.choice(len(data.labels), batch, p=probabilities)
        drawn = rng.choice(variants, batch, p=shares)
        counts = rng.integers(1, MOST_REFERENCES + 1, size=batch)
        counts[rng.random(batch) < NO_REFERENCE] = 0
        found = [references.profile(*each) for each in zip(rows, counts, drawn, strict=True)]
        profiles = np.array([profile for profile, _ in found])
        count = np.array([[number] for _, number in found], np.float32)
        move = moves(rows)
        x = relation.relative(data.functionals[drawn, rows] + move, profiles + move, count)
        model.train_on_batch(*_mixed(x, truth[rows], rng))
    return model


class _Moves:
    """By how much utterances are moved between corpora, the speaker's references with them."""

    def __init__(self, data: Described, often: float, rng: np.random.Generator) -> None:
        means = data.means_of_corpora()
        names = list(means)
        self.means = np.array(list(means.values()))
        self.homes = np.array([names.index(corpus) for corpus in data.corpora])
        self.often, self.rng = often, rng

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """`(len(rows), k)`; zero for those that stay."""
        shares = self.rng.dirichlet(np.full(len(self.means), 0.5), len(rows))
        stays = self.rng.random((len(rows), 1)) >= self.often
        moves = shares @ self.means - self.means[self.homes[rows]]
        return np.where(stays, 0.0, moves).astype(np.float32)


def _mixed(
    x: NDArray[np.float32], y: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mixup (arXiv:1710.09412), one share for the whole batch."""
    share = np.float32(rng.beta(MIXUP, MIXUP))
    other = rng.permutation(len(x))
    return share * x + (1 - share) * x[other], share * y + (1 - share) * y[other]
