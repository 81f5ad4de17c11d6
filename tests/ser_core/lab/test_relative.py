"""What is heard relative to a profile, and what a network learns from it."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from ser_core.lab import relative as of_profiles
from ser_core.lab import targets
from ser_core.lab.relative import (
    NARROW_SHARE,
    NARROW_SHARE_KNOWN,
    PRIOR,
    PRIOR_KNOWN,
    SHARPNESS_KNOWN,
    SHRINKAGE,
    Described,
    Parent,
    References,
    RelativeToProfile,
    fit_head,
    fit_relative,
    head,
    relative_network,
)

SIZE = 6


def relation() -> RelativeToProfile:
    return RelativeToProfile([1.0] * SIZE, [2.0] * SIZE)


def relative(functionals: float, profile: float, count: float) -> float:
    inputs = [np.full((1, SIZE), value, np.float32) for value in (functionals, profile)]
    return float(np.asarray(relation()([*inputs, np.array([[count]], np.float32)]))[0, 0])


def test_without_references_the_profile_is_not_looked_at() -> None:
    assert relative(5.0, np.nan, 0.0) == relative(5.0, 100.0, 0.0) == (5.0 - 1.0) / 2.0


def test_few_references_are_shrunk_towards_the_population() -> None:
    normal = 1.0 + 3.0 / (3.0 + SHRINKAGE) * (4.0 - 1.0)
    assert relative(5.0, 4.0, 3.0) == pytest.approx((5.0 - normal) / 2.0, rel=1e-6)


def test_far_off_values_are_cut() -> None:
    assert relative(1e9, 4.0, 3.0) == 6.0


def test_numpy_computes_what_the_layer_does() -> None:
    rng = np.random.default_rng(0)
    functionals, profile = rng.normal(1, 9, (2, 4, SIZE)).astype(np.float32)
    profile[0] = np.nan
    count = np.array([[0], [1], [3], [10]], np.float32)
    heard = relation().relative(functionals, profile, count)
    assert heard.dtype == np.float32
    np.testing.assert_allclose(heard, relation()([functionals, profile, count]), rtol=1e-5)
    assert np.abs(heard).max() == 6.0


def described(speakers: int, utterances: int, seed: int) -> Described:
    """Speakers differ far more than emotions: the label is a small step from one's own normal."""
    rng = np.random.default_rng(seed)
    offsets = np.repeat(rng.normal(0, 3, (speakers, SIZE)), utterances, axis=0)
    labels = np.tile(np.arange(utterances) % 2, speakers)
    steps = np.where(labels, 1.0, -1.0)[:, None] * np.ones(SIZE)
    values = offsets + steps + rng.normal(0, 0.5, offsets.shape)
    names = [f"s{speaker}" for speaker in range(speakers) for _ in range(utterances)]
    return Described(
        functionals=values[None].astype(np.float32),
        labels=labels.astype(np.int64),
        corpora=["x"] * len(names),
        speakers=names,
        neutral=labels == 0,
    )


def test_references_are_others_of_the_same_speaker() -> None:
    data = described(2, 3, 0)
    mean, count = References(data, 0).profile(0, 10)
    others = {1: data.functionals[0, 2], 2: data.functionals[0, 1:3].mean(axis=0)}
    # Of the speaker's others, either both, or the neutral one alone.
    np.testing.assert_allclose(mean, others[count], rtol=1e-6)


def test_a_speaker_of_one_utterance_has_no_reference() -> None:
    data = described(2, 1, 0)
    assert References(data, 0).profile(0, 10)[1] == 0


def test_recordings_that_name_no_speaker_are_nobodys_references() -> None:
    data = replace(described(2, 3, 0), nobody={"s1"})
    references = References(data, 0)
    assert [references.profile(row, 10)[1] > 0 for row in range(6)] == [True] * 3 + [False] * 3


def test_the_norm_counts_corpora_alike() -> None:
    data = described(3, 4, 0)
    data = replace(data, corpora=["large"] * 8 + ["small"] * 4)
    large, small = data.functionals[0, :8].mean(axis=0), data.functionals[0, 8:].mean(axis=0)
    np.testing.assert_allclose(data.norm().mean, (large + small) / 2, rtol=1e-5)


def test_the_norm_spreads_around_the_means_of_speakers() -> None:
    norm = described(40, 10, 0).norm()
    np.testing.assert_allclose(norm.mean, 0.0, atol=1.5)
    np.testing.assert_allclose(norm.spread, np.sqrt(1 + 0.25), atol=0.1)


def test_what_the_network_has_not_learnt_from_is_drawn_three_times_as_often() -> None:
    data = described(4, 6, 0)
    held_out = np.arange(24) >= 18
    drawn = replace(data, held_out=held_out).probabilities()
    np.testing.assert_allclose(data.probabilities(), 1 / 24)
    assert drawn.sum() == pytest.approx(1)
    np.testing.assert_allclose(drawn[held_out], 3 * drawn[0])
    # Functionals were learnt by nobody.
    functionals = replace(data, held_out=held_out).first(SIZE - 2)
    np.testing.assert_allclose(functionals.probabilities(), 1 / 24)


def test_without_some_speakers_all_else_stays() -> None:
    data = replace(described(4, 6, 0), held_out=np.arange(24) >= 18)
    left = data.without({"s1", "s3"})
    assert left.by_speaker().keys() == {"s0", "s2"}
    kept = [*range(6), *range(12, 18)]
    np.testing.assert_array_equal(left.functionals, data.functionals[:, kept])
    np.testing.assert_array_equal(left.labels, data.labels[kept])
    np.testing.assert_array_equal(left.neutral, data.neutral[kept])
    assert left.held_out is not None
    assert not left.held_out.any()
    assert len(left.corpora) == 12


@pytest.fixture(scope="module")
def fitted() -> keras.Model:
    """A relative network of 60 speakers."""
    return fit_relative(described(60, 12, 0), 2, SIZE - 2, steps=200)


def answers(model: keras.Model, count: int, test: Described) -> np.ndarray:
    """Logits of utterances with so many references."""
    references = References(test, 0)
    drawn = [references.profile(row, count) for row in range(len(test.labels))]
    profiles = np.array([profile for profile, _ in drawn])
    counts = np.array([[found] for _, found in drawn], np.float32)
    return np.asarray(model.predict_on_batch([test.functionals[0], profiles, counts]))


def test_knowing_the_speaker_tells_apart_what_is_small_beside_the_speakers(
    fitted: keras.Model,
) -> None:
    test = described(20, 12, 1)
    unknown, known = (
        (answers(fitted, count, test).argmax(axis=1) == test.labels).mean() for count in (0, 10)
    )
    assert known > 0.9
    assert unknown < known - 0.05


def test_heads_that_go_on_know_what_their_parent_s_have_learnt(fitted: keras.Model) -> None:
    heads = [layer for layer in fitted.layers if isinstance(layer, keras.Model)]
    parent = Parent(described(60, 12, 0).norm(), {each.name: each for each in heads})
    assert parent.fits(SIZE, 2, SIZE - 2)
    child, alone = (
        fit_relative(described(2, 2, 2), 2, SIZE - 2, steps=1, parent=each)
        for each in (parent, None)
    )
    (relation,) = (layer for layer in child.layers if isinstance(layer, RelativeToProfile))
    np.testing.assert_allclose(relation.mean, parent.norm.mean)
    test = described(20, 12, 1)
    before, after, anew = (answers(each, 10, test) for each in (fitted, child, alone))
    assert np.abs(after - before).mean() < 0.1
    assert np.abs(anew - before).mean() > 0.2


def test_several_heads_of_each_kind_are_fitted_from_other_seeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeds: list[int] = []

    def fit(data: Described, classes: int, *, name: str, seed: int, **_: object) -> keras.Model:
        seeds.append(seed)
        return head(data.functionals.shape[2], classes, name=name)

    monkeypatch.setattr(of_profiles, "HEADS", 3)
    monkeypatch.setattr(of_profiles, "fit_head", fit)
    model = fit_relative(described(2, 2, 0), 2, SIZE - 2, seed=5)
    assert seeds == [5, 6, 7] * 2
    heads = {each.name: each for each in model.layers if isinstance(each, keras.Model)}
    assert {name: each.input_shape[-1] for name, each in heads.items()} == {
        f"{kind}_{n}": size
        for kind, size in (("wide", SIZE), ("narrow", SIZE - 2))
        for n in range(3)
    }


@pytest.mark.parametrize(
    ("functionals", "classes", "narrow", "fits"),
    [
        (SIZE, 2, SIZE - 2, True),
        (SIZE + 1, 2, SIZE - 2, False),
        (SIZE, 3, SIZE - 2, False),
        (SIZE, 2, SIZE - 1, False),
    ],
)
def test_heads_of_another_kind_do_not_fit(
    functionals: int, classes: int, narrow: int, *, fits: bool
) -> None:
    kinds = {"wide": SIZE, "narrow": SIZE - 2}
    heads = {
        f"{kind}_{n}": head(size, 2)
        for kind, size in kinds.items()
        for n in range(of_profiles.HEADS)
    }
    parent = Parent(described(3, 4, 0).norm(), heads)
    assert parent.fits(functionals, classes, narrow) == fits
    fewer = replace(parent, heads={"wide_0": heads["wide_0"]})
    assert not fewer.fits(functionals, classes, narrow)


def test_the_answer_weighs_heads_by_how_well_the_speaker_is_known() -> None:
    wide = [head(SIZE, 3, name=name) for name in "ab"]
    narrow = [head(2, 3, name=name) for name in "cd"]
    prior = [0.5, -0.75, 0.25]
    model = relative_network(relation(), wide, narrow, prior)
    x = np.random.default_rng(0).normal(1, 2, (4, SIZE)).astype(np.float32)
    z = (x - 1.0) / 2.0
    heard = [*(each.predict_on_batch(z) for each in wide)]
    heard += [each.predict_on_batch(z[:, :2]) for each in narrow]
    logs = [
        each - np.log(np.exp(each).sum(axis=1, keepdims=True)) for each in map(np.asarray, heard)
    ]
    wider, narrower = (logs[0] + logs[1]) / 2, (logs[2] + logs[3]) / 2
    unknown = (1 - NARROW_SHARE) * wider + NARROW_SHARE * narrower
    unknown -= PRIOR / PRIOR_KNOWN * np.array(prior)
    known = (1 - NARROW_SHARE_KNOWN) * wider + NARROW_SHARE_KNOWN * narrower - np.array(prior)
    known *= SHARPNESS_KNOWN
    for count, expected in ((0, unknown), (2, (unknown + known) / 2), (1e6, known)):
        # A profile that is what the population is changes nothing else.
        counts = np.full((4, 1), count, np.float32)
        answer = model.predict_on_batch([x, np.ones_like(x), counts])
        np.testing.assert_allclose(answer, expected, atol=1e-4)


def test_the_prior_is_how_often_an_emotion_is_drawn() -> None:
    data = described(2, 6, 0)
    labels, corpora = np.array([0, 0, 0, 2, 2, 2] + [0] * 6), ["a"] * 6 + ["b"] * 6
    data = replace(data, labels=labels, corpora=corpora)
    drawn = data.probabilities()
    shares = np.log([drawn[data.labels == label].sum() for label in (0, 2)])
    expected = shares - shares.mean()
    # Of what nobody has nothing is known.
    np.testing.assert_allclose(data.prior(3), [expected[0], 0, expected[1]], atol=1e-9)
    assert expected[0] > expected[1]


def test_an_emotion_that_a_corpus_lacks_is_found_in_voices_like_its(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two corpora that lie apart; only in the second is anybody surprised."""
    rng = np.random.default_rng(0)
    rows = np.arange(600)
    labels, second = rows % 3, rows // 300
    labels = np.where(second, labels, labels % 2)
    values = rng.normal(0, 0.7, (600, SIZE))
    values[rows, labels] += 3
    values[:, 5] += 8 * second
    data = Described(
        functionals=values[None].astype(np.float32),
        labels=labels,
        corpora=[f"corpus {number}" for number in second],
        speakers=[f"speaker {row % 4} of {number}" for row, number in enumerate(second)],
        neutral=labels == 0,
    )
    surprised = np.zeros((1, SIZE), np.float32)
    surprised[0, 2] = 3
    x = (surprised - data.norm().mean) / data.norm().spread

    def probability() -> float:
        logits = np.asarray(fit_head(data, 3, steps=300).predict_on_batch(x))[0]
        return float((np.exp(logits) / np.exp(logits).sum())[2])

    found = probability()
    monkeypatch.setattr(
        targets, "told", lambda corpora, labels, classes: np.ones((600, classes), bool)
    )
    assert found > probability() + 0.1


def test_a_head_that_was_moved_does_not_tell_by_where_a_corpus_lies() -> None:
    """The label moves the first functional a little; the others by much, but in two corpora that
    lie apart to opposite sides: who relies on them has to know the corpus."""
    rng = np.random.default_rng(0)
    rows, labels = np.arange(400), np.arange(400) // 2 % 2
    place = np.where(rows % 2, 8, -8)[:, None]
    values = rng.normal(0, 1, (400, SIZE))
    values[:, 0] += 2 * labels
    values[:, 1:] += place + np.where(rows % 2, 3, -3)[:, None] * (2 * labels - 1)[:, None]
    data = Described(
        functionals=values[None].astype(np.float32),
        labels=labels.astype(np.int64),
        corpora=[f"corpus {row % 2}" for row in rows],
        speakers=[f"speaker {row % 4}" for row in rows],
        neutral=labels == 0,
    )
    elsewhere = data.functionals[0].copy()
    elsewhere[:, 1:] -= 2 * place
    x = (elsewhere - data.norm().mean) / data.norm().spread

    def accuracy(moved: float) -> float:
        model = fit_head(data, 2, moved=moved, steps=300)
        return float((np.asarray(model.predict_on_batch(x)).argmax(axis=1) == labels).mean())

    assert accuracy(0.9) > accuracy(0.0) + 0.1
