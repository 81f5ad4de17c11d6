"""Batches: balanced, cropped, mixed."""

from dataclasses import replace

import numpy as np
import pytest

from ser_core.lab.dataset import FeatureSet
from ser_core.lab.presets import DEFAULT, Schedule
from ser_core.lab.sampling import (
    Batches,
    balanced_probabilities,
    mixed,
    padded,
    random_crop,
    restyled,
)
from ser_core.lab.targets import targets

PRESET = replace(DEFAULT, window=0.5, bands=16, schedule=Schedule(clips=40, batch=8, mixup=0))
"""32 frames a window, 5 batches an epoch."""


class Fixed:
    """A generator that mixes each clip with the next one, by a given share."""

    def __init__(self, share: float) -> None:
        self.share = share

    def beta(self, a: float, b: float, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, self.share)

    def permutation(self, count: int) -> np.ndarray:
        return np.roll(np.arange(count), -1)


def batches(finishing: bool = False, seed: int = 0, **schedule: float) -> Batches:
    rng = np.random.default_rng(0)
    lengths = [10, 31, 32, 33, 60, 200]
    features = FeatureSet(
        frames=rng.normal(-40, 10, (sum(lengths), 16)).astype(np.float16),
        offsets=np.cumsum([0, *lengths]),
        kept=np.arange(6),
        skipped=(),
    )
    labels = np.array([0, 1, 2, 3, 4, 4])
    preset = replace(PRESET, schedule=replace(PRESET.schedule, **schedule))
    shares = np.full(6, 1 / 6)
    truth = targets(["one"] * 6, labels, 7, smoothing=0)
    return Batches(features, truth, shares, preset, seed, finishing=finishing)


def test_a_corpus_counts_as_the_root_of_its_size_and_its_classes_alike() -> None:
    corpora = ["small"] * 4 + ["large"] * 16
    labels = np.array([0, 0, 0, 1] + [0] * 8 + [1] * 6 + [2] * 2)
    shares = balanced_probabilities(corpora, labels, ["one"] * 20)
    assert shares.sum() == pytest.approx(1)
    assert shares[:4].sum() == pytest.approx(1 / 3)  # roots of 4 and 16: one to two
    np.testing.assert_allclose(shares[:4], [1 / 18] * 3 + [1 / 6])
    large = [shares[4:12].sum(), shares[12:18].sum(), shares[18:].sum()]
    np.testing.assert_allclose(large, [2 / 9] * 3)
    np.testing.assert_allclose(shares[18:], 1 / 9)


def test_corpora_that_are_to_be_heard_have_most_of_the_draws() -> None:
    corpora, speakers = ["own"] * 4 + ["large"] * 36 + ["other"] * 4, ["one"] * 44
    labels = np.zeros(44, np.int64)
    plain = balanced_probabilities(corpora, labels, speakers)
    assert plain[:4].sum() == pytest.approx(0.2)
    shares = balanced_probabilities(corpora, labels, speakers, wanted={"own"})
    assert shares[:4].sum() == pytest.approx(0.6)
    assert shares[4:40].sum() / shares[40:].sum() == pytest.approx(3)
    assert shares.sum() == pytest.approx(1)
    # Nothing changes where they have it already, are all there is, or are not there.
    for wanted in ({"own", "large"}, {"own", "large", "other"}, {"elsewhere"}):
        same = balanced_probabilities(corpora, labels, speakers, wanted=wanted)
        np.testing.assert_allclose(same, plain)


def test_a_corpus_of_more_voices_counts_more() -> None:
    corpora = ["few"] * 16 + ["many"] * 16
    speakers = [*"ab" * 8, *(f"{number}" for number in range(16))]
    shares = balanced_probabilities(corpora, np.zeros(32, np.int64), speakers)
    assert shares[16:].sum() / shares[:16].sum() == pytest.approx(8**0.25)


def test_crops_are_heard_until_the_last_epochs_hear_whole_windows() -> None:
    def frames(finishing: bool, crop: float) -> int:
        return batches(finishing, crop=crop)[0][0][0].shape[1]

    assert (frames(finishing=False, crop=0.25), frames(finishing=True, crop=0.25)) == (16, 32)
    assert frames(finishing=False, crop=0) == 32


def test_an_epoch_is_as_long_as_the_schedule_says() -> None:
    assert len(batches()) == 5
    assert len(batches(clips=3)) == 1


def test_a_batch_holds_windows_masks_and_labels() -> None:
    (x, mask), y = batches()[0]
    assert x.shape == (8, 32, 16)
    assert mask.shape == (8, 32)
    assert y.shape == (8, 2, 7)
    np.testing.assert_array_equal(y[:, 0].sum(axis=1), 1)
    assert (x[mask == 0] == -100).all()
    assert (x[mask == 1] > -100).all()
    for row in mask:
        np.testing.assert_array_equal(row, np.sort(row)[::-1])


def test_draws_depend_on_seed_epoch_and_place_alone() -> None:
    one, same, other = batches(seed=1), batches(seed=1), batches(seed=2)
    (first, _), labels = one[3]
    np.testing.assert_array_equal(same[3][0][0], first)
    np.testing.assert_array_equal(same[3][1], labels)
    assert (one[2][0][0] != first).any()
    assert (other[3][0][0] != first).any()
    one.on_epoch_end()
    assert (one[3][0][0] != first).any()


def test_every_class_is_drawn_as_often_as_it_should_be() -> None:
    truth = np.concatenate([batches(batch=64)[index][1] for index in range(5)])
    drawn = truth[:, 0].mean(axis=0)
    np.testing.assert_allclose(drawn, [1 / 6] * 4 + [1 / 3, 0, 0], atol=0.08)


def test_a_crop_is_a_stretch_of_the_clip() -> None:
    clip = np.arange(100, dtype=np.float16)[:, None]
    starts = set()
    for seed in range(30):
        crop = random_crop(clip, 60, np.random.default_rng(seed))
        np.testing.assert_array_equal(crop[:, 0], crop[0, 0] + np.arange(60))
        starts.add(crop[0, 0])
    assert len(starts) > 10
    assert 0 <= min(starts) < max(starts) <= 40
    np.testing.assert_array_equal(random_crop(clip, 200, np.random.default_rng(0)), clip)


def test_padding_stands_after_the_sound() -> None:
    x, mask = padded([np.ones((2, 3), np.float32), np.ones((9, 3), np.float32)], 4)
    np.testing.assert_array_equal(mask, [[1, 1, 0, 0], [1, 1, 1, 1]])
    np.testing.assert_array_equal(x[0, :, 0], [1, 1, -100, -100])
    np.testing.assert_array_equal(x[1], 1)


def test_mixup_joins_clips_of_one_level_and_shares_labels() -> None:
    x = np.full((2, 4, 3), -100, np.float32)
    x[0, :2], x[1, :3] = -20, -50
    mask = (x[:, :, 0] > -100).astype(np.float32)
    y = targets(["one"] * 2, np.arange(2), 2, smoothing=0)
    both, united, shared = mixed(x, mask, y, 0.2, Fixed(0.25))  # type: ignore[arg-type]
    # A share below one half counts for the other clip; levels are relative to each clip's peak.
    np.testing.assert_allclose(shared[:, 0], [[0.75, 0.25], [0.25, 0.75]], atol=1e-6)
    np.testing.assert_array_equal(united, [[1, 1, 1, 0], [1, 1, 1, 0]])
    np.testing.assert_allclose(both[:, :2], 0, atol=1e-3)
    assert (both[0, 2] < both[1, 2]).all()
    assert both[:, 3].max() < -40
    louder = x + np.array([30, 0], np.float32)[:, None, None]
    again, _, _ = mixed(louder, mask, y, 0.2, Fixed(0.25))  # type: ignore[arg-type]
    np.testing.assert_allclose(again, both, atol=1e-3)


def test_a_share_of_one_leaves_a_clip_what_it_is() -> None:
    x = np.random.default_rng(0).normal(-30, 10, (3, 8, 4)).astype(np.float32)
    y = targets(["one"] * 3, np.arange(3), 3, smoothing=0)
    both, _, shared = mixed(x, np.ones((3, 8), np.float32), y, 0.2, Fixed(1.0))  # type: ignore[arg-type]
    np.testing.assert_allclose(both, x - x.max(axis=(1, 2), keepdims=True), atol=0.01)
    np.testing.assert_array_equal(shared, y)


class Styles:
    """A generator that gives the first clip, and no other, part of the style of the next."""

    def beta(self, a: float, b: float, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, 0.25)

    def random(self, count: int) -> np.ndarray:
        return np.where(np.arange(count) == 0, 0.0, 0.9)

    def permutation(self, count: int) -> np.ndarray:
        return np.roll(np.arange(count), -1)


def test_a_clip_takes_on_how_another_was_recorded() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(-20, 2, (3, 50, 4)).astype(np.float32)
    x[1] = rng.normal([-20, -25, -30, -35], 6, (50, 4))
    mask = np.ones((3, 50), np.float32)
    mask[0, 40:] = 0
    x[0, 40:] = -100
    changed = restyled(x, mask, 0.5, Styles())  # type: ignore[arg-type]
    peaks = x.max(axis=(1, 2), keepdims=True)
    own, other = x[0, :40] - peaks[0], x[1] - peaks[1]
    mean = 0.25 * own.mean(axis=0) + 0.75 * other.mean(axis=0)
    spread = 0.25 * own.std(axis=0) + 0.75 * other.std(axis=0)
    np.testing.assert_allclose(changed[0, :40].mean(axis=0), mean, atol=0.05)
    np.testing.assert_allclose(changed[0, :40].std(axis=0), spread, rtol=0.15)
    assert (changed[0, 40:] == -100).all()
    # What is said, when each band is louder than usual and when not, stays.
    together = np.corrcoef(changed[0, :40, 0], x[0, :40, 0])[0, 1]
    assert together == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(changed[1:], (x - peaks)[1:], atol=1e-3)


def test_styles_are_mixed_where_the_design_says_so() -> None:
    (plain, mask), _ = batches()[0]
    (styled, _), _ = batches(mixstyle=1.0)[0]
    peaked = plain - plain.max(axis=(1, 2), keepdims=True)
    assert not np.allclose(peaked[mask > 0], styled[mask > 0], atol=1)


def test_the_labels_of_mixed_batches_sum_to_one() -> None:
    _, y = batches(mixup=0.4)[0]
    np.testing.assert_allclose(y[:, 0].sum(axis=1), 1, atol=1e-6)
    assert ((y[:, 0] > 0).sum(axis=1) == 2).any()


def test_the_last_epochs_are_not_mixed() -> None:
    def shares(finishing: bool) -> np.ndarray:
        return batches(finishing, mixup=5.0)[0][1][:, 0].max(axis=1)

    assert (shares(finishing=False) < 1).any()
    assert (shares(finishing=True) == 1).all()


def test_the_last_epochs_are_a_share_of_all() -> None:
    assert Schedule(epochs=40, finish=0.15).first_finishing == 34
    assert Schedule(epochs=1).first_finishing == 1
