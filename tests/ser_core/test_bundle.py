"""A model on disk: found, read, verified, and refused in one clear line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ser_core import bundle as bundles
from ser_core.bundle import Bundle, BundleError, find_bundle, sha256, write_info

INFO: dict[str, Any] = {
    "name": "mine",
    "version": "2.1.0",
    "emotions": ["angry", "happy"],
    "sampling_rate": 16_000,
    "window": 3.0,
    "hop": 1.5,
    "temperature": 0.7,
    "threshold": 0.4,
    "serve": "model.tflite",
    "artefacts": ["model.tflite", "model.keras"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle whose network is a few bytes."""
    path = tmp_path / "mine"
    path.mkdir()
    (path / "model.tflite").write_bytes(b"network")
    (path / "model.keras").write_bytes(b"the same, to train on")
    write_info(path, INFO)
    return path


def change(folder: Path, **changes: Any) -> None:
    """Edit `bundle.json` as a person would; None takes a key out."""
    info = json.loads((folder / "bundle.json").read_text("utf-8")) | changes
    kept = {key: value for key, value in info.items() if value is not None}
    (folder / "bundle.json").write_text(json.dumps(kept), "utf-8")


def test_what_is_written_is_read(folder: Path) -> None:
    (folder / "MODEL_CARD.md").write_text("# mine\n", "utf-8")
    loaded = Bundle.load(folder)
    assert (loaded.name, loaded.version) == ("mine", "2.1.0")
    assert loaded.emotions == ("angry", "happy")
    assert (loaded.sampling_rate, loaded.window, loaded.hop) == (16_000, 3.0, 1.5)
    assert (loaded.temperature, loaded.threshold) == (0.7, 0.4)
    assert loaded.path == folder
    assert loaded.model == folder / "model.tflite"
    assert loaded.card == "# mine\n"
    assert loaded.info["format"] == 1
    assert loaded.info["artefacts"] == {
        name: sha256(folder / name) for name in ("model.tflite", "model.keras")
    }


def test_a_bias_is_read_where_there_is_one(folder: Path) -> None:
    assert Bundle.load(folder).bias == ()
    change(folder, bias=[0.25, -1])
    assert Bundle.load(folder).bias == (0.25, -1.0)


def test_a_bundle_without_a_card_has_an_empty_one(folder: Path) -> None:
    assert Bundle.load(folder).card == ""


def test_the_checksum_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # the first example of FIPS 180-2
    assert sha256(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def truncated(folder: Path) -> None:
    (folder / "model.tflite").write_bytes(b"net")


def altered(folder: Path) -> None:
    (folder / "model.keras").write_bytes(b"the same, to train oN")


def missing(folder: Path) -> None:
    (folder / "model.keras").unlink()


def broken_json(folder: Path) -> None:
    text = (folder / "bundle.json").read_text("utf-8")
    (folder / "bundle.json").write_text(text[: len(text) // 2], "utf-8")


def not_text(folder: Path) -> None:
    (folder / "bundle.json").write_bytes(b"\xff\xfe\x00")


def not_a_number(folder: Path) -> None:
    text = (folder / "bundle.json").read_text("utf-8")
    (folder / "bundle.json").write_text(text.replace("0.4", "NaN"), "utf-8")


def an_infinite_one(folder: Path) -> None:
    text = (folder / "bundle.json").read_text("utf-8")
    (folder / "bundle.json").write_text(text.replace("3.0", "1e999"), "utf-8")


def a_list(folder: Path) -> None:
    (folder / "bundle.json").write_text("[1, 2]", "utf-8")


@pytest.mark.parametrize(
    ("damage", "file", "message"),
    [
        (truncated, "model.tflite", "is damaged: its SHA-256 is not the one in bundle.json"),
        (altered, "model.keras", "is damaged: its SHA-256 is not the one in bundle.json"),
        (missing, "model.keras", "is missing; fetch the bundle again"),
        (broken_json, "bundle.json", "is damaged: "),
        (not_text, "bundle.json", "is damaged: "),
        (not_a_number, "bundle.json", "is damaged: NaN is no number"),
        (an_infinite_one, "bundle.json", "is damaged: window inf is not a finite number"),
        (a_list, "bundle.json", "is not a bundle of format 1"),
    ],
)
def test_damage_is_told_in_one_line_that_names_the_file(
    folder: Path, damage: Callable[[Path], None], file: str, message: str
) -> None:
    damage(folder)
    with pytest.raises(BundleError) as error:
        Bundle.load(folder)
    assert str(error.value).startswith(f"{folder / file} {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "is not a bundle of format 1"),
        ({"window": None}, "is damaged: it has no 'window'"),
        ({"serve": None}, "is damaged: it has no 'serve'"),
        ({"serve": "other.tflite"}, "'other.tflite' is served, but is none of its artefacts"),
        ({"hop": 0}, "hop 0.0 is not above 0"),
        ({"sampling_rate": "fast"}, "sampling_rate 'fast' is not a whole number from 4000 to"),
        ({"sampling_rate": 0}, "sampling_rate 0 is not a whole number"),
        ({"sampling_rate": 1.5}, "sampling_rate 1.5 is not a whole number"),
        ({"sampling_rate": True}, "sampling_rate True is not a whole number"),
        ({"sampling_rate": 10**9}, "sampling_rate 1000000000 is not a whole number"),
        ({"window": "inf"}, "window 'inf' is not a finite number"),
        ({"window": 10**400}, "is damaged: int too large"),
        ({"window": 1e-5}, "window 1e-05 is shorter than a sample"),
        ({"hop": 1e-5}, "hop 1e-05 is shorter than a sample"),
        ({"hop": 1e305}, "is damaged: cannot convert float infinity"),
        ({"hop": True}, "hop True is not a finite number"),
        ({"temperature": "0.7"}, "temperature '0.7' is not a finite number"),
        ({"threshold": "0.4"}, "threshold '0.4' is not a finite number"),
        ({"temperature": -1}, "temperature -1.0 is not above 0"),
        ({"threshold": 40}, "threshold 40.0 is not between 0 and 1"),
        ({"emotions": ["sad", "sad"]}, "emotions ['sad', 'sad'] are not two or more"),
        ({"emotions": "angry"}, "emotions 'angry' is not a list of texts"),
        ({"emotions": ["angry", 1]}, "emotions ['angry', 1] is not a list of texts"),
        ({"artefacts": ["model.tflite"]}, "is damaged: "),
        ({"bias": [0.1]}, "bias has 1 numbers for 2 emotions"),
        ({"bias": [0.1, float("inf")]}, "is damaged: "),
        ({"bias": ["much", "little"]}, "bias 'much' is not a finite number"),
        ({"name": ""}, "name '' is not a text"),
        ({"name": 5}, "name 5 is not a text"),
        ({"name": "../x"}, "name '../x' is no name of a file"),
        ({"name": ".."}, "name '..' is no name of a file"),
        ({"name": "a\\b"}, "name 'a\\\\b' is no name of a file"),
        ({"name": "a\0"}, "name 'a\\x00' is no name of a file"),
        ({"speakers": 5}, "speakers 5 is not a list of texts"),
        ({"judged_by": []}, "judged_by [] is not an object"),
        ({"judged_by": {"valid": 3, "test": []}}, "valid of judged_by 3 is not a list of texts"),
        ({"judged_by": {"valid": ["a/1"]}}, "test of judged_by None is not a list of texts"),
        ({"metrics": 1}, "metrics 1 is not an object"),
        ({"metrics": {"valid": 1}}, "valid of metrics 1 is not an object"),
        ({"corpora": [1]}, "corpora [1] is not an object"),
        ({"corpora": {"own": "many"}}, "'own' of corpora 'many' is not a finite number"),
        ({"init": "default"}, "init 'default' is not an object"),
        ({"init": {"corpora": ["ravdess"]}}, "corpora of init ['ravdess'] is not an object"),
        ({"members": "one"}, "members 'one' is not a list of texts"),
        ({"calibration": "yes"}, "calibration 'yes' is not an object"),
        ({"note": 1}, "note 1 is not a text"),
        ({"version": 2}, "version 2 is not a text"),
        ({"artefacts": [["model.tflite", ""]]}, "is not an object"),
        ({"artefacts": {"model.tflite": "", "../x": ""}}, "artefact '../x' is no name of a file"),
        ({"bias": 0.1}, "is damaged: 'float' object is not iterable"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    change(folder, **changes)
    with pytest.raises(BundleError) as error:
        Bundle.load(folder)
    assert str(error.value).startswith(f"{folder / 'bundle.json'} is ")
    assert message in str(error.value)


def test_a_key_that_is_null_is_not_one_that_is_left_out(folder: Path) -> None:
    write_info(folder, INFO | {"metrics": None})
    with pytest.raises(BundleError, match="metrics None is not an object"):
        Bundle.load(folder)


def test_what_says_nothing_is_taken(folder: Path) -> None:
    change(folder, judged_by={}, metrics={}, corpora={}, speakers=[], note="")
    assert Bundle.load(folder).info["judged_by"] == {}


def test_an_unknown_name_lists_where_it_was_looked_for() -> None:
    with pytest.raises(BundleError) as error:
        Bundle.load("unheard-of")
    places = [bundles._SOURCE_TREE / "unheard-of", bundles._PACKAGED / "unheard-of", "unheard-of"]
    assert str(error.value) == (
        "no bundle 'unheard-of': there is no bundle.json in "
        + ", ".join(str(place) for place in places)
    )


def test_a_path_is_looked_for_there_alone(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"there is no bundle.json in [^,]*/nothing$"):
        find_bundle(tmp_path / "nothing")


def test_names_are_those_of_the_source_tree_then_of_the_package(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "packaged/mine").mkdir(parents=True)
    (tmp_path / "packaged/mine/bundle.json").write_text("{}", "utf-8")
    (tmp_path / "packaged/other").mkdir()
    (tmp_path / "packaged/other/bundle.json").write_text("{}", "utf-8")
    monkeypatch.setattr(bundles, "_SOURCE_TREE", tmp_path)
    monkeypatch.setattr(bundles, "_PACKAGED", tmp_path / "packaged")
    assert find_bundle("mine") == folder
    assert find_bundle("other") == tmp_path / "packaged/other"


def test_a_bundle_in_the_working_folder_is_found_by_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert Bundle.load("mine").name == "mine"


def test_numbers_that_json_has_not_are_not_written(folder: Path) -> None:
    before = (folder / "bundle.json").read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_info(folder, INFO | {"threshold": float("nan")})
    assert (folder / "bundle.json").read_bytes() == before
