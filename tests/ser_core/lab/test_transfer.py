"""A network that begins with what a bundle has learnt."""

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ser_core.bundle import Bundle, BundleError, write_info
from ser_core.cli import main
from ser_core.lab import build, heads, presets, relative, training, training_command
from ser_core.lab.card import model_card
from ser_core.lab.corpora import Utterance, read
from ser_core.lab.export import load_keras
from ser_core.lab.networks import NETWORK
from ser_core.lab.presets import Preset
from ser_core.lab.relative import Parent
from ser_core.lab.splits import Split
from ser_core.lab.training import TrainingError, fit
from ser_core.lab.transfer import (
    TransferError,
    begin_with,
    begin_with_bundle,
    gentle,
    heads_of,
    lineage,
)
from ser_core.profile import Norm, Profile, ProfileError
from tests.ser_core.conftest import Trained
from tests.ser_core.lab.test_presets import SMALL
from tests.ser_core.lab.test_training import TINY, TRAIN, VALID

INFO: dict[str, Any] = {
    "name": "parent",
    "version": "3.1.0",
    "sampling_rate": 16_000,
    "window": 0.5,
    "hop": 0.25,
    "temperature": 1.0,
    "threshold": 0.5,
    "serve": "model.keras",
    "artefacts": ["model.keras"],
    "preset": "small",
    "corpora": {"cremad": 100, "ravdess": 50},
    "speakers": ["ravdess/01", "cremad/1001"],
}


def save(folder: Path, preset: Preset, whole: keras.Model, **info: Any) -> Bundle:
    folder.mkdir()
    whole.save(folder / "model.keras")
    write_info(folder, {**INFO, "emotions": list(preset.emotions), **info})
    return Bundle.load(folder)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle without profiles and with random weights."""
    keras.utils.set_random_seed(1)
    whole = TINY.whole(TINY.build())
    return save(tmp_path_factory.mktemp("parents") / "parent", TINY, whole)


def weights(model: Any) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in model.get_layer(NETWORK).get_weights()]


def inside(bundle: Bundle) -> list[np.ndarray]:
    """The weights of a plain bundle's network."""
    whole = load_keras(bundle.path / "model.keras")
    (trained,) = [layer for layer in whole.layers if isinstance(layer, keras.Model)]
    return weights(trained)


def same(one: list[np.ndarray], other: list[np.ndarray]) -> list[bool]:
    return [np.array_equal(a, b) for a, b in zip(one, other, strict=True)]


def test_the_whole_network_comes_along_where_the_emotions_are_the_same(parent: Bundle) -> None:
    keras.utils.set_random_seed(2)
    model = TINY.build()
    assert not all(same(weights(model), inside(parent)))
    begin_with(model, parent, TINY)
    assert all(same(weights(model), inside(parent)))


def test_for_other_emotions_the_last_layer_begins_anew(parent: Bundle) -> None:
    fewer = replace(TINY, emotions=("angry", "neutral", "sad"))
    model = fewer.build()
    before = weights(model)
    begin_with(model, parent, fewer)
    assert all(same(weights(model)[:-2], inside(parent)[:-2]))
    assert same(weights(model)[-2:], before[-2:]) == [True, True]
    renamed = replace(TINY, emotions=(*TINY.emotions[:-1], "calm"))
    model = renamed.build()
    begin_with(model, parent, renamed)
    assert same(weights(model), inside(parent))[-2] is False


def test_a_bundle_that_knows_profiles_gives_its_network_as_well(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    trained = SMALL.build()
    describer = SMALL.describer(trained)
    size = describer.output_shape[-1]
    inputs = [keras.Input((width,)) for width in (size, size, 1)]
    relative = keras.Model(inputs, keras.layers.Dense(len(SMALL.emotions))(inputs[0]))
    bundle = save(tmp_path / "knowing", SMALL, SMALL.whole_relative(describer, relative))
    model = SMALL.build()
    begin_with(model, bundle, SMALL)
    assert all(same(weights(model)[:-2], weights(trained)[:-2]))


def test_another_network_is_refused(parent: Bundle, tmp_path: Path) -> None:
    wider = replace(TINY, options={"channels": (4, 12), "embedding": 8})
    with pytest.raises(TransferError, match=r"another network than the preset small: .* small$"):
        begin_with(wider.build(), parent, wider)
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(7)])
    with pytest.raises(TransferError, match="has no network that small could begin with"):
        begin_with(TINY.build(), save(tmp_path / "plain", TINY, plain), TINY)


def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/model.keras").write_bytes(b"weights")
    write_info(tmp_path / "odd", {**INFO, "emotions": list(TINY.emotions)})
    with pytest.raises(TransferError, match=r"has no model\.keras that can be loaded: ") as error:
        begin_with(TINY.build(), Bundle.load(tmp_path / "odd"), TINY)
    assert "\n" not in str(error.value)


def test_training_begins_with_those_weights(parent: Bundle, tmp_path: Path) -> None:
    still = replace(TINY, schedule=replace(TINY.schedule, epochs=1, learning_rate=1e-9))
    model, _ = fit(
        still, TRAIN, VALID, tmp_path / "still", progress=False,
        begin=lambda fresh: begin_with(fresh, parent, still),
    )  # fmt: skip
    kernels = [i for i, each in enumerate(inside(parent)) if each.ndim == 4]
    for index in kernels:
        np.testing.assert_allclose(weights(model)[index], inside(parent)[index], atol=1e-6)


def test_the_schedule_is_shorter_and_gentler() -> None:
    usual = TINY.schedule
    changed = gentle(replace(usual, epochs=60, clips=8192))
    assert changed.epochs < 60
    assert changed.learning_rate < usual.learning_rate / 3
    assert changed.mixup == usual.mixup


def utterances(corpus: str, *speakers: str) -> list[Utterance]:
    return [Utterance(Path("x"), "sad", speaker, corpus=corpus) for speaker in speakers]


def test_speakers_that_the_bundle_heard_are_warned_of_and_stay_heard(
    parent: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    split = Split(
        utterances("mine", "m1"), utterances("ravdess", "01"), utterances("mine", "m2", "")
    )
    with caplog.at_level(logging.WARNING):
        begin, details = begin_with_bundle(str(parent.path), TINY, split)
    assert "parent was trained on 1 of these speakers (ravdess/01), by whom" in caplog.text
    assert details["speakers"] == ["cremad/1001", "mine/m1", "ravdess/01"]
    assert details["init"] == {
        "name": "parent", "version": "3.1.0", "corpora": {"cremad": 100, "ravdess": 50},
        "model.keras": parent.info["artefacts"]["model.keras"],
    }  # fmt: skip
    model = TINY.build()
    begin(model)
    assert all(same(weights(model), inside(parent)))
    with pytest.raises(BundleError, match="no bundle"):
        begin_with_bundle("unheard-of", TINY, split)


def test_what_is_resumed_is_known_by_the_bundle_it_began_with(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[Any] = []

    def note(*_: Any, **options: Any) -> None:
        told.append(options["init"])
        raise TrainingError("that is enough")

    monkeypatch.setattr(training, "fit", note)
    data = ["--data", str(trained.manifest), "--preset", "residual-cnn"]
    assert main(["train", *data, "--out", "new"]) == 1
    assert main(["train", *data, "--out", "new", "--init", str(trained.bundle)]) == 1
    bundle = Bundle.load(trained.bundle)
    assert told == [None, lineage(bundle)]
    assert told[1]["model.keras"] == bundle.info["artefacts"]["model.keras"]


def test_terms_of_data_go_on_from_generation_to_generation(parent: Bundle) -> None:
    child = replace(
        parent,
        name="child",
        info={**parent.info, "corpora": {"mine": 7, "ravdess": 1}, "init": lineage(parent)},
    )
    assert lineage(child)["corpora"] == {"mine": 7, "ravdess": 51, "cremad": 100}
    info = {
        **child.info, "metrics": {}, "parameters": 1, "command": "ser train", "seed": 0,
    }  # fmt: skip
    card = model_card(replace(child, info=info))
    assert (
        "Its network began with that of `parent` 3.1.0, which was trained on cremad (ODbL 1.0), "
        "ravdess (CC BY-NC-SA 4.0): these terms are this model's as well"
    ) in card


def test_the_command_takes_a_bundle_to_begin_with(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[build.Order] = []

    def note(order: build.Order, progress: bool) -> dict[str, Any]:
        orders.append(order)
        return {"metrics": {"valid": {"uar": 0.5, "n": 1, "protocol": "p"}}}

    monkeypatch.setattr(training_command, "train", note)
    for options in ([], ["--init", "default"], ["--init", "default", "--epochs", "3"]):
        assert main(["train", "--data", "x.csv", *options]) == 0
    usual, begun, short = (order.preset.schedule for order in orders)
    assert [order.init for order in orders] == ["", "default", "default"]
    assert begun.epochs < usual.epochs
    assert short.epochs == 3
    assert short.learning_rate == begun.learning_rate < usual.learning_rate


def test_the_classes_are_those_of_the_bundle_to_begin_with_unless_others_are_named() -> None:
    parser = argparse.ArgumentParser()
    training_command.add_arguments(parser)

    def emotions(*options: str) -> tuple[str, ...]:
        given = parser.parse_args(["--data", "x.csv", *options])
        return training_command.chosen_preset(given).emotions

    assert emotions() == emotions("--init", "default")
    assert emotions("--init", "models/open") == tuple(Bundle.load("models/open").emotions)
    assert "calm" in emotions("--init", "models/ravdess8")
    assert emotions("--init", "models/open", "--emotions", "angry,sad") == ("angry", "sad")


def spoken_by(corpus: str, speaker: str) -> Utterance:
    return Utterance(Path("a.wav"), "sad", speaker, corpus=corpus)


def test_heads_go_on_from_those_of_a_bundle_that_hears_the_same_emotions(
    parent: Bundle,
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    preset = presets.preset("relative-cnn")
    theirs = heads_of("default", preset)
    assert theirs is not None
    assert sorted(theirs.heads) == [f"{kind}_{n}" for kind in ("narrow", "wide") for n in range(3)]
    assert heads_of("default", replace(preset, emotions=("angry", "sad"))) is None
    assert heads_of("default", preset, [spoken_by("cremad", "9999")]) is not None
    heard = Bundle.load().info["speakers"][0].split("/")
    assert heads_of("default", preset, [spoken_by(*heard)]) is None
    assert "The heads of default heard some who validate here: others begin anew." in caplog.text
    assert heads_of(str(parent.path), TINY) is None
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(relative, "HEADS", 3)  # as many as the bundle has
    monkeypatch.setattr(heads, "STEPS_GOING_ON", 2)
    monkeypatch.setattr(heads, "halves_of", lambda _: [])  # no judges: they would go on alike
    options = ["--init", "default", "--epochs", "1", "--clips", "64", "--out", "mine"]
    assert main(["train", "--data", str(trained.manifest), *options]) == 0
    mine, shipped = Bundle.load("mine"), Bundle.load()
    found = heads_of("mine", preset)
    assert found is not None
    np.testing.assert_array_equal(found.norm.mean, theirs.norm.mean)
    np.testing.assert_allclose(theirs.norm.mean, shipped.info["profile"]["mean"], rtol=1e-6)
    # The networks differ, and so do profiles: one's tokens are not the other's.
    norms = mine.norm(), shipped.norm()
    assert norms[0] is not None
    assert norms[1] is not None
    with pytest.raises(ProfileError, match="of another model"):
        Profile.from_token(Profile(norms[1].mean, 1.0).to_token(norms[1]), norms[0])
    for name, head in theirs.heads.items():
        # Statistics of batches move at once, what is learnt by little.
        kernel = head.get_layer(f"{name}_logits").kernel
        np.testing.assert_allclose(
            found.heads[name].get_layer(f"{name}_logits").kernel, kernel, atol=0.01
        )


def test_heads_of_another_kind_begin_anew(
    trained: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    preset = presets.preset("relative-cnn")
    begun: list[Any] = []
    other = Parent(Norm(np.zeros(3, np.float32), np.ones(3, np.float32)), {})

    def note(*_: Any, parent: Any, **__: Any) -> Any:
        begun.append(parent)
        raise InterruptedError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(heads, "fit_relative", note)
        data = training.prepare(read(trained.manifest).utterances[:4], preset)
        with pytest.raises(InterruptedError):
            heads.fit_to_profiles(preset, preset.build(), data, data, seed=0, parent=other)
    assert begun == [None]
    assert "heads of another kind: these begin anew" in caplog.text


def test_classic_designs_begin_anew(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--data", "x.csv", "--preset", "ann-193", "--init", "default"]
    assert main(arguments) == 1
    assert capsys.readouterr().err == (
        "ser: --init is not for ann-193: classic designs begin anew\n"
    )
