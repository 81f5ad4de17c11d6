"""Heads hear the validation speakers too, and nobody is judged by those who heard him."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from ser_core import Recognizer
from ser_core.cli import main
from ser_core.lab import build, export, heads
from ser_core.lab.corpora import Utterance, read
from ser_core.lab.evaluation import Outcome, hear_all
from ser_core.lab.export import load_keras
from ser_core.lab.heads import Headed, fit_to_profiles, halves_of
from ser_core.lab.places import Places
from ser_core.lab.presets import PRESETS, Schedule
from ser_core.lab.relative import (
    NARROW_SHARE,
    NARROW_SHARE_BY_HEART,
    NARROW_SHARE_KNOWN,
    Described,
    Parent,
    WeightedAverage,
    fit_relative,
)
from ser_core.lab.splits import Split, from_manifest
from ser_core.lab.training import prepare
from tests.ser_core.conftest import Trained
from tests.ser_core.lab.test_presets import SMALL

QUICK = replace(SMALL, schedule=Schedule(epochs=1, clips=64, batch=16, relative_steps=5))


def spoken(corpus: str, sex: str, speaker: str) -> Utterance:
    return Utterance(Path("a.wav"), "sad", speaker, sex=sex, corpus=corpus)


def test_the_halves_are_alike_in_corpora_and_sexes() -> None:
    people = [("x", "F", n) for n in range(4)] + [("x", "M", n) for n in range(4, 8)]
    people += [("y", "", 0), ("z", "", 0)]
    halves = halves_of([spoken(corpus, sex, f"{n}") for corpus, sex, n in [*people, *people]])
    assert [len(half) for half in halves] == [5, 5]
    assert not set.intersection(*halves)
    for half in halves:
        assert sum(key.startswith("x/") for key in half) == 4
        assert len(half & {"x/0", "x/1", "x/2", "x/3"}) == 2


def test_there_are_no_halves_of_fewer_than_two_speakers() -> None:
    assert halves_of([]) == halves_of([spoken("x", "F", "1")] * 3) == []


def test_a_speaker_whose_sex_is_told_in_part_is_in_one_half_even_so() -> None:
    told = [spoken("x", "F", "1"), spoken("x", "", "1"), spoken("x", "M", "2")]
    assert sorted(halves_of(told), key=len) == sorted([{"x/1"}, {"x/2"}], key=len)
    assert halves_of(told[:2]) == []


def weights(model: Any) -> list[NDArray[np.float32]]:
    """Of the heads of a whole model."""
    return model.get_layer("relative").get_weights()  # type: ignore[no-any-return]


def same(some: Sequence[NDArray[np.float32]], others: Sequence[NDArray[np.float32]]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(some, others, strict=True))


Fits = list[tuple[Described, keras.Model]]
"""What the heads of each model were fitted to, and what came of it."""


@pytest.fixture
def fits(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> Fits:
    """All that are made in a test, in the corpus's folder."""
    made: Fits = []

    def noting(data: Described, **how: Any) -> keras.Model:
        made.append((data, fit_relative(data, **how)))
        return made[-1][1]

    monkeypatch.setattr(heads, "fit_relative", noting)
    monkeypatch.chdir(trained.manifest.parent)
    return made


def headed(
    trained: Trained, valid: Callable[[Split], list[Utterance]], known: Collection[str] = ()
) -> Headed:
    split = from_manifest(read(trained.manifest).utterances)
    train, other = (prepare(part, QUICK) for part in (split.train, valid(split)))
    return fit_to_profiles(QUICK, QUICK.build(), train, other, seed=0, progress=False, known=known)


TRAIN = {"a/a1", "a/a2", "a/a3", "b/b1", "b/b2"}


def test_each_half_is_judged_by_a_model_that_heard_all_but_it(trained: Trained, fits: Fits) -> None:
    found = headed(trained, lambda split: split.valid)
    heard = [{*data.speakers} for data, _ in fits]
    assert heard == [TRAIN | {"b/b3"}, TRAIN | {"a/a4"}, TRAIN | {"a/a4", "b/b3"}]
    # The model that hears a half is the one whose heads were fitted without it, and no other.
    assert [{u.speaker for u in judge.utterances} for judge in found.judges] == [{"a4"}, {"b3"}]
    models = [judge.whole for judge in found.judges] + [found.whole]
    alike = [[same(weights(model), fit.get_weights()) for _, fit in fits] for model in models]
    assert alike == np.eye(3, dtype=bool).tolist()
    for data, _ in fits:
        assert data.held_out is not None
        pairs = zip(data.speakers, data.held_out, strict=True)
        assert {speaker for speaker, out in pairs if not out} == TRAIN
        assert {*data.wanted} == {"a", "b"}
    everybody = fits[-1][0]
    np.testing.assert_array_equal(found.norm.mean, everybody.norm().mean)
    assert found.places is not None
    expected = Places.of(everybody.first(len(found.places.spread)))
    assert expected is not None
    np.testing.assert_array_equal(found.places.means["a"], expected.means["a"])


@pytest.mark.parametrize(
    ("valid", "known"),
    [
        (lambda split: [u for u in split.valid if u.speaker == "a4"], ()),
        (lambda split: [replace(u, speaker=u.speaker.replace("b3", "")) for u in split.valid], ()),
        (lambda split: [*split.valid, *split.train[:3]], ()),
        (lambda split: split.valid, ("a/a4",)),
    ],
    ids=["one", "a nameless one", "one who trains", "one whom the parent heard"],
)
def test_who_validates_is_not_heard_where_nobody_new_would_be_left_to_judge(
    trained: Trained,
    fits: Fits,
    valid: Callable[[Split], list[Utterance]],
    known: Collection[str],
) -> None:
    found = headed(trained, valid, known)
    assert found.judges == []
    assert [{*data.speakers} for data, _ in fits] == [TRAIN]


def narrow_shares(model: Any) -> list[float]:
    """What the narrow heads weigh for an unknown voice, and for a known one."""
    weighing = [x for x in model.get_layer("relative").layers if isinstance(x, WeightedAverage)]
    return [sum(layer.shares[len(layer.shares) // 2 :]) for layer in weighing]


def test_narrow_heads_weigh_more_beside_a_network_that_had_no_teachers(
    trained: Trained, fits: Fits
) -> None:
    split = from_manifest(read(trained.manifest).utterances)
    train, valid = (prepare(part, QUICK) for part in (split.train, split.valid[:6]))
    network = QUICK.build()

    def shares(teachers: int, parent: Parent | None = None) -> list[float]:
        preset = replace(QUICK, teachers=teachers)
        how: dict[str, Any] = {"seed": 0, "progress": False, "parent": parent}
        return narrow_shares(fit_to_profiles(preset, network, train, valid, **how).whole)

    assert shares(teachers=0) == pytest.approx([NARROW_SHARE_BY_HEART, NARROW_SHARE_KNOWN])
    assert shares(teachers=2) == pytest.approx([NARROW_SHARE, NARROW_SHARE_KNOWN])
    described, model = fits[-1]
    heads_of_it = [x for x in model.layers if x.name.startswith(("wide_", "narrow_"))]
    parent = Parent(described.norm(), {each.name: each for each in heads_of_it})
    assert shares(teachers=0, parent=parent) == pytest.approx([NARROW_SHARE, NARROW_SHARE_KNOWN])


def test_a_bundle_says_whom_its_heads_heard_and_is_judged_by_others(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: Fits
) -> None:
    monkeypatch.setitem(PRESETS, "quick", replace(QUICK, name="quick"))
    exported: list[Any] = []
    export_both = export.export_both
    monkeypatch.setattr(export, "export_both", lambda *a: (exported.append(a[0]), export_both(*a)))
    asked: list[list[str]] = []

    def hearing(recognizer: Recognizer, utterances: Sequence[Utterance]) -> Outcome:
        asked.append(sorted({u.speaker for u in utterances}))
        return hear_all(recognizer, utterances)

    monkeypatch.setattr(build, "hear_all", hearing)
    out = tmp_path / "made"
    command = ["train", "--data", str(trained.manifest), "--preset", "quick", "--out", str(out)]
    assert main(command) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(
        path.name for path in trained.bundle.iterdir()
    )
    info = json.loads((out / "bundle.json").read_text("utf-8"))
    assert info["corpora"] == {"a": 24, "b": 18}
    assert info["speakers"] == ["a/a1", "a/a2", "a/a3", "a/a4", "b/b1", "b/b2", "b/b3"]
    assert info["judged_by"] == {"valid": ["a/a4", "b/b3"], "test": ["b/b4"]}
    valid, test = info["metrics"]["valid"], info["metrics"]["test"]
    assert valid["protocol"] == (
        "exported model, its heads fitted without the half of the validation speakers that judges "
        "them, speakers never heard, no reference recordings"
    )
    assert test["protocol"] == "exported model, speakers never heard, no reference recordings"
    assert (valid["n"], test["n"]) == (12, 6)
    # What is served heard all; those that are judged are the other two, by their halves.
    first, second, whole = (fit.get_weights() for _, fit in fits)
    assert same(weights(load_keras(out / "model.keras")), whole)
    for model, expected in zip(exported, (whole, first, second), strict=True):
        assert same(weights(model), expected)
    assert asked == [["a4"], ["a4"], ["b3"], ["b3"], ["b4"]]
    card = (out / "MODEL_CARD.md").read_text("utf-8")
    assert "7 speakers, listed in `bundle.json`, 2 of them heard by its heads alone: " in card
