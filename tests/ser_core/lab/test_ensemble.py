"""`ser ensemble`: several bundles as one."""

import contextlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ser_core import Recognizer
from ser_core.bundle import CARD, Bundle, BundleError, write_info
from ser_core.cli import main
from ser_core.lab.corpora import read
from ser_core.lab.ensemble import EnsembleError, check, described, members_of, together, unheard
from ser_core.lab.export import export_litert, load_keras
from ser_core.lab.networks import EMBEDDING, NETWORK
from ser_core.lab.presets import FUNCTIONALS, LOGITS, Preset
from ser_core.lab.relative import RelativeToProfile, head, relative_network
from ser_core.lab.splits import Split
from ser_core.lab.transfer import TransferError, begin_with_bundle
from tests.acting import write_corpus
from tests.ser_core.lab.test_presets import SMALL

THREE = replace(SMALL, emotions=("angry", "neutral", "sad"))
PLAIN = replace(THREE, name="plain", relative=False)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 clips of 8 speakers, of whom b4 tests."""
    return write_corpus(tmp_path_factory.mktemp("acted"))


def member(folder: Path, preset: Preset, seed: int) -> Bundle:
    """A bundle with random weights, which says that it was trained on the made-up corpus."""
    keras.utils.set_random_seed(seed)
    trained = preset.build()
    classes, profile = len(preset.emotions), {}
    if preset.relative:
        describer = preset.describer(trained)
        size, narrow = describer.output_shape[-1], describer.get_layer(FUNCTIONALS).output.shape[-1]
        profile = {"profile": {"mean": [0.0] * size, "spread": [20.0] * size}}
        relation = RelativeToProfile(**profile["profile"])
        heads = [head(size, classes)], [head(narrow, classes, name="narrow")]
        whole = preset.whole_relative(
            describer, relative_network(relation, *heads, [0.0] * classes)
        )
    else:
        whole = preset.whole(trained)
    folder.mkdir()
    whole.save(folder / "model.keras")
    info = {
        "name": folder.name, "version": f"1.{seed}.0", "emotions": list(preset.emotions),
        "sampling_rate": 16_000, "window": 0.5, "hop": 0.25, "temperature": 0.9,
        "threshold": 0.5 + seed / 10, "serve": "model.keras", "artefacts": ["model.keras"],
        "parameters": whole.count_params(), "corpora": {"a": 18, "b": 12},
        "speakers": ["a/a1", "a/a2", "a/a3", "b/b1", "b/b2"],
        "judged_by": {"valid": ["a/a4", "b/b3"], "test": ["b/b4"]},
    }  # fmt: skip
    write_info(folder, info | profile)
    return Bundle.load(folder)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """Two that know profiles, and one that does not."""
    folder = tmp_path_factory.mktemp("members")
    designs = {"one": THREE, "plain": PLAIN, "other": THREE}
    return [
        member(folder / name, preset, seed) for seed, (name, preset) in enumerate(designs.items())
    ]


@pytest.fixture(scope="module")
def three(
    tmp_path_factory: pytest.TempPathFactory, members: list[Bundle], manifest: Path
) -> tuple[Recognizer, str]:
    """What the command makes of all of them, and what it says of it."""
    out, said = tmp_path_factory.mktemp("ensembles") / "three", io.StringIO()
    with contextlib.redirect_stdout(said):
        note = "--note", "Three of a kind."
        assert ser_ensemble(manifest, members, "--out", str(out), *note) == 0
    return Recognizer.load(out), said.getvalue()


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """New bundles are made under the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ser_ensemble(manifest: Path, members: list[Bundle], *arguments: str) -> int:
    paths = [str(bundle.path) for bundle in members]
    return main(["ensemble", *paths, "--data", str(manifest), *arguments])


def changed(bundle: Bundle, folder: Path, **keys: Any) -> Bundle:
    """A copy of it in `folder`, of which `bundle.json` says otherwise."""
    shutil.copytree(bundle.path, folder)
    info = {**bundle.info, **keys}
    write_info(folder, {key: value for key, value in info.items() if value is not None})
    return Bundle.load(folder)


def log_softmax(values: np.ndarray) -> np.ndarray:
    return values - np.log(np.exp(values).sum(axis=-1, keepdims=True))


def test_it_answers_what_its_members_say_on_average(members: list[Bundle], tmp_path: Path) -> None:
    first = changed(members[0], tmp_path / "biased", temperature=2.0, bias=[0.5, 0.0, -0.5])
    bundles = [first, *members[1:]]
    model = together(bundles)
    rng = np.random.default_rng(0)
    window = rng.normal(0, 0.1, (4, SMALL.samples)).astype(np.float32)
    length = np.full((4, 1), SMALL.samples, np.int32)
    sizes = [len(norm.mean) if (norm := each.norm()) else 0 for each in bundles]
    profile = rng.normal(0, 5, (4, sum(sizes))).astype(np.float32)
    count = np.array([[0], [1], [3], [10]], np.float32)
    expected, described = [], []
    for bundle, part in zip(bundles, np.split(profile, np.cumsum(sizes)[:-1], axis=1), strict=True):
        own = [part, count] if part.size else []
        answer = load_keras(bundle.path / "model.keras")([window, length, *own])
        bias = np.array(bundle.bias or [0.0] * 3)
        expected.append(log_softmax(np.asarray(answer[LOGITS]) / bundle.temperature + bias))
        described += [np.asarray(answer[FUNCTIONALS])] if own else []
    answers = model([window, length, profile, count])
    np.testing.assert_allclose(answers[LOGITS], np.mean(expected, axis=0), atol=1e-4)
    np.testing.assert_allclose(answers[FUNCTIONALS], np.concatenate(described, 1), rtol=1e-4)
    assert np.abs(expected[0] - expected[2]).max() > 0.01


def test_members_without_profiles_make_one_without(members: list[Bundle], tmp_path: Path) -> None:
    plain = [members[1], member(tmp_path / "second", PLAIN, 3)]
    model = together(plain)
    assert [each.name for each in model.inputs] == ["waveform", "length"]
    assert [*model.output] == [LOGITS]
    assert "profile" not in described(plain, model)


def test_the_command_writes_a_bundle_that_is_judged(
    members: list[Bundle], three: tuple[Recognizer, str]
) -> None:
    bundle, said = three[0].bundle, three[1]
    assert f"wrote {bundle.path}: UAR 0." in said
    assert "on 6 clips (exported model, speakers never heard, no reference recordings)" in said
    info = bundle.info
    assert info["members"] == ["one 1.0.0", "plain 1.1.0", "other 1.2.0"]
    assert info["parameters"] == sum(each.info["parameters"] for each in members)
    assert (bundle.temperature, bundle.threshold) == (1.0, 0.6)
    assert info["serve"] == "model.tflite"
    assert info["metrics"]["test"]["n"] == 6
    assert "speakers never heard" in info["metrics"]["test"]["protocol"]
    assert info["judged_by"] == {"valid": ["a/a4", "b/b3"], "test": ["b/b4"]}
    card = (bundle.path / CARD).read_text()
    assert "It is made of 3 bundles, one 1.0.0, plain 1.1.0, other 1.2.0:" in card
    assert "Three of a kind." in card


def test_each_member_is_given_its_part_of_a_profile(
    three: tuple[Recognizer, str], manifest: Path
) -> None:
    recognizer = three[0]
    clips = [u.path for u in read(manifest).utterances if u.speaker == "b4"]
    profile = recognizer.profile(clips[0])
    alone, known = (recognizer.predict(clips[1], profile=p) for p in (None, profile))
    assert alone.probabilities != known.probabilities
    # The functionals are the same for both that know profiles, what their networks say is not.
    one, other = np.split(profile.mean, 2)
    embedding = THREE.build().get_layer(NETWORK).get_layer(EMBEDDING).output.shape[-1]
    np.testing.assert_array_equal(one[:-embedding], other[:-embedding])
    assert np.abs(one[-embedding:] - other[-embedding:]).max() > 0.01


def test_the_front_end_is_there_once(
    members: list[Bundle], three: tuple[Recognizer, str], tmp_path: Path
) -> None:
    """Three networks behind one spectrum, not three whole models."""
    model = load_keras(members[0].path / "model.keras")
    export_litert(model, tmp_path / "alone.tflite")
    alone = (tmp_path / "alone.tflite").stat().st_size
    front = alone - 4 * model.count_params()
    file = three[0].bundle.path / "model.tflite"
    assert file.stat().st_size - 4 * three[0].bundle.info["parameters"] < 1.5 * front


def test_it_is_served_in_8_bits_where_all_its_members_are(members: list[Bundle]) -> None:
    model = together(members[::2])
    # Their names alone are looked at.
    served = [
        replace(each, info={**each.info, "serve": "model.int8.tflite"}) for each in members[::2]
    ]
    assert described(served, model)["serve"] == "model.int8.tflite"
    assert described([served[0], members[2]], model)["serve"] == "model.tflite"


def test_who_knows_whom_is_said_of_all_members(members: list[Bundle]) -> None:
    judges = {"valid": ["b/b1"], "test": []}
    speakers = ["b/b4", "b/b3"]
    own = members[0].info
    knowing = replace(members[0], info={**own, "speakers": speakers, "judged_by": judges})
    model = together(members[::2])
    info = described([knowing, members[2]], model)
    assert info["speakers"] == ["a/a1", "a/a2", "a/a3", "b/b1", "b/b2", "b/b3", "b/b4"]
    assert info["judged_by"] == {"valid": ["a/a4", "b/b1", "b/b3"], "test": []}
    # Where one does not say by whom it was chosen, nobody can say so of the ensemble.
    silent = replace(members[0], info={**own, "judged_by": {}})
    assert described([silent, members[2]], model)["judged_by"] == {}


def test_terms_of_what_a_member_began_with_are_its_own(members: list[Bundle]) -> None:
    init = {"name": "old", "version": "1.0.0", "corpora": {"tess": 9, "a": 1}, "model.keras": "0"}
    grown = replace(members[0], info={**members[0].info, "init": init})
    # Of what both heard the larger number counts: how much of it is the same is nowhere said.
    assert described([grown, members[2]], together(members[::2]))["corpora"] == {
        "a": 19, "b": 12, "tess": 9,
    }  # fmt: skip


def test_where_its_corpora_lie_is_said_where_all_members_heard_the_same(
    members: list[Bundle],
) -> None:
    model, first, other = together(members[::2]), members[0], members[2]

    def placed(bundle: Bundle, *corpora: str, value: float = 0.0) -> Bundle:
        places = {"spread": [1.0], "means": {corpus: [value] for corpus in corpora}}
        return replace(bundle, info={**bundle.info, "places": places})

    same = [placed(first, "a", "b"), placed(other, "b", "a", value=1.0)]
    assert described(same, model)["places"] == same[0].info["places"]
    assert "places" not in described([same[0], placed(other, "a")], model)
    assert "places" not in described([same[0], other], model)
    assert "places" not in described([first, other], model)


def test_nobody_left_to_test_is_said(
    members: list[Bundle], manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    knowing = changed(members[1], tmp_path / "knowing", speakers=["a/a1", "b/b4"])
    Path("two").mkdir()  # an empty folder is no bundle
    assert ser_ensemble(manifest, [knowing, members[1]], "--out", "two") == 0
    said = capsys.readouterr().out
    assert "not judged: there is no test speaker, named, whom no member knows" in said
    assert json.loads(Path("two/bundle.json").read_text())["metrics"] == {}
    assert "lowers its accuracy." in Path("two", CARD).read_text()


def test_bundles_that_do_not_go_together_are_refused(
    members: list[Bundle], manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = members[0]
    other = changed(first, tmp_path / "other", emotions=["angry", "neutral", "happy"])
    bare = changed(first, tmp_path / "bare")
    (bare.path / "model.keras").unlink()
    norm = first.norm()
    assert norm is not None
    home = {"mean": norm.mean.tolist(), "count": 2.0, "speakers": 1}
    homely = changed(first, tmp_path / "homely", home=home)
    for bundles, message in (
        ([first], "an ensemble has two bundles or more"),
        ([first, first], "is named twice"),
        ([first, other], r"emotions angry, neutral, sad, and angry, neutral, happy"),
        ([first, changed(first, tmp_path / "long", window=0.75)], r"window 0\.5, and 0\.75"),
        ([first, changed(first, tmp_path / "slow", hop=0.5)], r"hop 0\.25, and 0\.5"),
        ([first, bare], r"has no model\.keras"),
        ([first, homely], "was fitted to where it is used"),
    ):
        with pytest.raises(EnsembleError, match=message):
            check(bundles)
    assert ser_ensemble(manifest, [first, other], "--out", "odd") == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not Path("odd").exists()
    with pytest.raises(BundleError, match="no bundle 'nowhere'"):
        members_of([str(first.path), "nowhere"])


def test_damaged_members_are_told_in_one_line(
    members: list[Bundle], manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junk = changed(members[1], tmp_path / "junk")
    (junk.path / "model.keras").write_bytes(b"weights")
    write_info(junk.path, junk.info)
    emotions = [*members[1].emotions, "happy"]
    two = [changed(members[1], tmp_path / name, emotions=emotions) for name in ("more", "most")]
    for bundles, message in (
        ([members[1], junk], "has no model.keras that can be loaded: "),
        (two, "does not answer with logits of 4 emotions"),
    ):
        assert ser_ensemble(manifest, bundles, "--out", "odd") == 1
        said = capsys.readouterr().err
        assert message in said
        assert said.splitlines()[-1].startswith("ser: ")
    assert not Path("odd").exists()


def test_who_may_have_been_heard_is_not_called_new(
    members: list[Bundle], manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A member that does not name all its speakers may know those who test."""
    silent = changed(members[1], tmp_path / "silent", judged_by={})
    assert ser_ensemble(manifest, [silent, members[1]], "--out", "two") == 0
    assert "speakers not all named, perhaps heard before" in capsys.readouterr().out
    info = json.loads(Path("two/bundle.json").read_text())
    assert "perhaps heard before" in info["metrics"]["test"]["protocol"]
    assert info["judged_by"] == {}


def test_an_ensemble_needs_tensorflow(
    members: list[Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(EnsembleError, match="leave KERAS_BACKEND out"):
        check(members)


def test_what_is_there_is_not_overwritten(
    members: list[Bundle], manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("there").mkdir()
    Path("there/file").touch()
    assert ser_ensemble(manifest, members, "--out", "there") == 1
    assert "there is there already" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["there"]


def test_a_recording_by_which_to_compare_is_needed(
    members: list[Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = write_corpus(tmp_path, emotions=("sad",))
    text = empty.read_text().replace(",sad,", ",bored,")
    empty.write_text(text)
    assert ser_ensemble(empty, members, "--out", "none") == 1
    assert "no recording that can be read with a label that they know" in capsys.readouterr().err
    assert not Path("none").exists()


def test_nothing_begins_with_an_ensemble(three: tuple[Recognizer, str]) -> None:
    path = str(three[0].bundle.path)
    with pytest.raises(TransferError, match=r"is an ensemble: begin with .*\(one 1\.0\.0, "):
        begin_with_bundle(path, THREE, Split([], [], []))


def test_a_training_that_is_refused_leaves_no_folder(
    three: tuple[Recognizer, str], manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data", str(manifest), "--init", str(three[0].bundle.path)]
    assert main([*command, "--out", "refused"]) == 1
    assert "is an ensemble: begin with one of its members" in capsys.readouterr().err
    assert not Path("refused").exists()


def test_who_is_known_to_a_member_is_no_test(members: list[Bundle], manifest: Path) -> None:
    utterances = read(manifest).utterances
    assert {u.speaker for u in unheard(members, utterances)} == {"b4"}
    nameless = [replace(u, speaker="") for u in utterances]
    assert unheard(members, nameless) == []
