"""`ser calibrate` as it is typed, with the shipped bundle and made-up voices."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser_core import Recognizer
from ser_core.bundle import Bundle, BundleError, write_info
from ser_core.cli import main
from ser_core.lab import calibrate_command, evaluation
from ser_core.lab.calibrate import Calibration, CalibrationError
from ser_core.lab.calibrate_command import hear_at_home, recalibrate, write
from ser_core.lab.corpora import read
from ser_core.lab.home import COUNT
from ser_core.lab.places import UNLIKE
from ser_core.profile import Profile
from tests.acting import act, read_rows, write_corpus, write_manifest
from tests.sounds import encode, silence


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 clips of 8 speakers."""
    return write_corpus(tmp_path_factory.mktemp("acted"))


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """New bundles are made under the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rows_of(manifest: Path) -> list[dict[str, str]]:
    """Its rows, readable from any folder."""
    return [row | {"path": str(manifest.parent / row["path"])} for row in read_rows(manifest)]


def told(choice: str, speakers: int = 1) -> dict[str, Any]:
    """What a bundle might say of its calibration."""
    row = {
        "accuracy": 0.5, "uar": 0.5, "ece": 0.1, "log_loss": 1.0, "coverage": 0.0,
        "accuracy_when_certain": None,
    }  # fmt: skip
    return {
        "data": "x.csv", "n": 20, "speakers": speakers, "choice": choice, "protocol": "p",
        "before": row, "after": row,
    }  # fmt: skip


def test_the_new_bundle_answers_by_what_was_fitted(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = Bundle.load()
    before = files(shipped.path)
    assert main(["calibrate", "default", "--data", str(manifest), "--out", "mine", "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert files(shipped.path) == before
    assert result["bundle"] == "mine"
    assert result["protocol"] == "each of 8 speakers judged by what the others gave"
    mine = Recognizer.load("mine")
    assert (mine.bundle.name, mine.bundle.version) == ("mine", f"{shipped.version}+calibrated")
    assert result["temperature"] == [shipped.temperature, mine.bundle.temperature]
    assert mine.bundle.threshold == result["threshold"][1]
    assert (mine.bundle.bias or (0.0,) * 7) == pytest.approx([*result["bias"].values()])
    clip = (act("b4", "sad"), 16_000)
    expected = mine.hear(clip).overall(mine.bundle.temperature, bias=mine.bundle.bias)
    assert [*mine.predict(clip).probabilities.values()] == pytest.approx(expected.tolist())
    figures = result["figures"]
    assert figures["kept"] | {"coverage": 0, "accuracy_when_certain": 0} == (
        figures[result["choice"]] | {"coverage": 0, "accuracy_when_certain": 0}
    )
    assert figures["kept"]["log_loss"] <= figures["as it is"]["log_loss"]
    calibration = mine.bundle.info["calibration"]
    assert (calibration["data"], calibration["n"], calibration["speakers"]) == (
        "manifest.csv", 48, 8,
    )  # fmt: skip
    assert calibration["after"] == figures["kept"]
    assert str(manifest.parent) not in json.dumps(dict(mine.bundle.info))
    assert (
        "## Calibrated afterwards\n\nOn 48 clips of 8 speakers (manifest.csv)" in mine.bundle.card
    )
    token = Recognizer.load().profile(clip).to_token(Recognizer.load().check_profiles())
    assert mine.profile(clip).to_token(mine.check_profiles()) == token


def test_what_was_gained_is_shown_as_a_table(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = write_manifest(Path("few.csv"), rows_of(manifest)[:24])
    assert main(["calibrate", "default", "--data", str(few)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("24 clips (8 angry, 8 neutral, 8 sad); each of 4 speakers")
    assert lines[1].startswith("They are from elsewhere than what it was trained on: ")
    assert lines[3].split() == ["UAR", "accuracy", "ECE", "log-loss", "certain", "right"]
    assert [line[:28].strip() for line in lines[4:10]] == [
        "as it is", "temperature", "temperature and bias", "home and temperature",
        "home, temperature and bias", "what is kept",
    ]  # fmt: skip
    assert lines[-1] == (
        "wrote models/default-calibrated: SER_MODEL=models/default-calibrated ser serve"
    )
    assert Bundle.load("models/default-calibrated").name == "default-calibrated"


def test_where_the_model_is_at_home_no_home_is_tried(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(Bundle.load().path, "mine")
    info = {key: value for key, value in Bundle.load("mine").info.items() if key != "format"}
    order = ["calibrate", "mine", "--data", str(manifest), "--json"]
    tried = {}
    for name, places in (
        ("known", {"spread": [1000.0], "means": {"": [0.0]}}),
        ("unknown", {"spread": [1e-3], "means": {"": [0.0]}}),
        ("not told", None),
    ):
        write_info(Path("mine"), info | {"places": places})
        assert main([*order, "--out", name]) == 0
        result = json.loads(capsys.readouterr().out)
        tried[name] = [each for each in result["figures"] if "home" in each]
        assert (result["nearest"], result["distance"] is None) == (
            (None, True) if places is None else ("", False)
        )
    assert tried["known"] == []
    assert tried["unknown"] == tried["not told"] == [
        "home and temperature", "home, temperature and bias",
    ]  # fmt: skip
    write_info(Path("mine"), info | {"places": {"spread": [1.0], "means": {"": [0.0, 0.0]}}})
    assert main([*order, "--out", "other"]) == 1
    assert "the places in its bundle.json are damaged" in capsys.readouterr().err


def test_the_distance_decides_what_a_home_must_show(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = Recognizer.load()
    outcome = evaluation.hear_all(shipped, read(manifest).utterances)
    asked = []

    def note(*_: Any, at_home: Any, elsewhere: bool, **__: Any) -> None:
        asked.append((at_home is not None, elsewhere))

    monkeypatch.setattr(calibrate_command, "refit", note)
    for where in (None, ("here", UNLIKE), ("there", UNLIKE + 0.01)):
        recalibrate(shipped, outcome, where)
    assert asked == [(True, False), (False, False), (True, True)]


def test_a_bundle_is_changed_in_place_only_when_asked_to(manifest: Path) -> None:
    shutil.copytree(Bundle.load().path, "mine")
    before = files(Path("mine"))
    assert main(["calibrate", "mine", "--data", str(manifest), "--out", "mine"]) == 1
    assert files(Path("mine")) == before
    for _ in range(2):
        assert main(["calibrate", "mine", "--data", str(manifest), "--in-place"]) == 0
    after = files(Path("mine"))
    assert after.keys() == before.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"bundle.json", "MODEL_CARD.md"}
    loaded = Bundle.load("mine")
    assert (loaded.name, loaded.version) == ("default", f"{Bundle.load().version}+calibrated")


def test_the_shipped_bundle_is_never_changed(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in ("default", str(Bundle.load().path), "open", "ravdess8"):
        before = files(Bundle.load(given).path)
        assert main(["calibrate", given, "--data", str(manifest), "--in-place"]) == 1
        assert capsys.readouterr().err.endswith(
            "ser: a shipped bundle is not changed in place: name another with --out\n"
        )
        assert files(Bundle.load(given).path) == before


def test_what_is_there_is_not_overwritten(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("taken").mkdir()
    Path("taken/diary.txt").write_text("dear diary", "utf-8")
    Path("file").write_text("x", "utf-8")
    for out, message in (
        ("taken", "taken is there already: name another folder with --out"),
        ("file", "file is there already: name another folder with --out"),
        ("file/mine", "file cannot be made: "),
    ):
        assert main(["calibrate", "default", "--data", str(manifest), "--out", out]) == 1
        assert f"ser: {message}" in capsys.readouterr().err
    assert files(Path("taken")) == {"diary.txt": b"dear diary"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:19], "at least 20 clips that can be judged, better 50; here are 19"),
        (
            lambda rows: [row | {"label": "sad"} for row in rows],
            "needs clips of at least two emotions; here is sad",
        ),
        (
            lambda rows: [row | {"label": "envy"} for row in rows],
            "here are none; 48 were left out",
        ),
        (
            lambda rows: [row | {"path": "quiet.wav" if i else "letter.wav"} for i, row in
                          enumerate(rows[:2])],
            "here are none; 2 were left out",
        ),
        (
            lambda rows: [row | {"path": "nowhere.wav"} for row in rows],
            "no row can be used (48 x no such file)",
        ),
    ],
    ids=["few", "one class", "unknown labels", "unreadable", "missing"],
)  # fmt: skip
def test_clips_that_cannot_calibrate_are_told_in_one_line(
    manifest: Path, change: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("quiet.wav").write_bytes(encode(silence(1.0)))
    Path("letter.wav").write_bytes(b"Dear Sir or Madam")
    bad = write_manifest(Path("bad.csv"), change(rows_of(manifest)))
    assert main(["calibrate", "default", "--data", str(bad)]) == 1
    (line,) = [li for li in capsys.readouterr().err.splitlines() if li.startswith("ser: ")]
    assert message in line
    assert not Path("models/default-calibrated").exists()


def test_what_is_left_out_is_counted(
    manifest: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of(manifest)
    rows[0]["label"], rows[1]["path"], rows[2]["label"] = "boredom", "nowhere.wav", "calm"
    odd = write_manifest(Path("odd.csv"), rows)
    assert main(["calibrate", "default", "--data", str(odd), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"]["kept"]["n"] == 46
    assert "left out 1 (label 'boredom' is not one of the model's)" in caplog.messages
    assert "left out 1 (no such file): nowhere.wav" in caplog.messages
    counted = "counted 1 x 'calm' as 'neutral', the nearest of the model's emotions"
    assert caplog.messages.count(counted) == 1


def test_clips_are_heard_at_home_where_the_model_knows_profiles(manifest: Path) -> None:
    shipped = Recognizer.load()
    heard = evaluation.hear_all(shipped, read(manifest).utterances)
    deaf = replace(heard, heard=[replace(each, functionals=None) for each in heard.heard])
    assert hear_at_home(shipped, deaf) is None
    again = hear_at_home(shipped, heard)
    assert again is not None
    assert again.labels.tolist() == heard.labels.tolist()
    assert not np.allclose(again.heard[0].logits, heard.heard[0].logits, atol=0.01)


def test_a_clip_that_is_gone_the_second_time_is_an_error(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = Recognizer.load()
    heard = evaluation.hear_all(shipped, read(manifest).utterances)
    gone = replace(heard.utterances[3], path=Path("nowhere.wav"))
    heard.utterances[3] = gone
    with pytest.raises(CalibrationError, match="1 of the clips could be read once and not again"):
        hear_at_home(shipped, heard)


def test_a_bundle_that_has_a_home_is_calibrated_away_from_it(
    manifest: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(Bundle.load().path, "mine")
    norm = Recognizer.load().check_profiles()
    info = {key: value for key, value in Bundle.load("mine").info.items() if key != "format"}
    home = {"mean": (norm.mean - 3 * norm.spread).tolist(), "count": 20, "speakers": 2}
    info |= {"home": home, "calibration": {"n": 20, "before": {}}}
    write_info(Path("mine"), info)
    there, shipped = Recognizer.load("mine"), Recognizer.load()
    assert Calibration.of(there.bundle).home is not None
    utterances = read(manifest).utterances
    outcomes = [evaluation.hear_all(each, utterances) for each in (there, shipped)]
    again, expected = (
        hear_at_home(each, outcome)
        for each, outcome in zip((there, shipped), outcomes, strict=True)
    )
    assert again is not None
    assert expected is not None
    for one, other in zip(again.heard, expected.heard, strict=True):
        np.testing.assert_array_equal(one.logits, other.logits)
    assert main(["calibrate", "mine", "--data", str(manifest), "--out", "twice"]) == 0
    assert (
        "Warning: default is calibrated already: clips that it was calibrated with count twice."
    ) in caplog.messages


def test_who_calibrated_a_bundle_no_longer_tests_it() -> None:
    shipped = Bundle.load()
    kept = Calibration(1.25, (0.0,) * 7, 0.5)
    judged = shipped.info["judged_by"]
    gone = judged["test"][0]
    trained = shipped.info["speakers"][0]
    heard = {gone, "mine/anna", judged["valid"][0], trained}
    write(shipped, kept, Path("mine"), told("temperature"), heard)
    now = Bundle.load("mine").info["judged_by"]
    assert now["test"] == judged["test"][1:]
    assert now["valid"] == sorted([*judged["valid"], gone, "mine/anna"])


def test_who_calibrated_a_bundle_that_names_nobody_is_named() -> None:
    shipped = Bundle.load()
    nobody = replace(shipped, info={**shipped.info, "judged_by": {}})
    kept = Calibration(1.25, (0.0,) * 7, 0.5)
    write(nobody, kept, Path("mine"), told("temperature"), {"mine/anna"})
    assert Bundle.load("mine").info["judged_by"] == {"valid": ["mine/anna"], "test": []}


def test_a_home_is_written_and_heard_against(manifest: Path) -> None:
    """What is calibrated once more is heard against it, and with another home away from it."""
    shipped = Recognizer.load()
    norm = shipped.check_profiles()
    home = Profile(norm.mean + norm.spread, COUNT)
    for speakers, whose in (
        (1, "It may describe a voice: then it is personal data."),
        (2, "of 2 speakers have in common"),
    ):
        made = told("home and temperature", speakers)
        kept = Calibration(1.25, (0.0,) * 7, 0.5, home)
        shutil.rmtree("mine", ignore_errors=True)
        write(shipped.bundle, kept, Path("mine"), made)
        assert whose in Bundle.load("mine").card
    mine = Recognizer.load("mine")
    clip = (act("b4", "sad"), 16_000)
    expected = shipped.hear(clip, profile=home)
    np.testing.assert_array_equal(mine.hear(clip).logits, expected.logits)
    np.testing.assert_array_equal(mine.away().hear(clip).logits, shipped.hear(clip).logits)
    # A calibration that leaves the home as it is says no other of it.
    kept = replace(kept, temperature=1.5)
    write(mine.bundle, kept, Path("mine"), told("temperature", 7))
    assert Bundle.load("mine").info["home"] == mine.bundle.info["home"]
    assert "of 2 speakers have in common" in Bundle.load("mine").card


def test_a_calibration_can_be_told_from_none_and_taken_back(manifest: Path) -> None:
    """A bias of nothing is not written, so that such a bundle stays readable everywhere."""
    for bias in ((0.1, -0.1, 0, 0, 0, 0, 0), (0.0,) * 7):
        kept = Calibration(1.25, tuple(map(float, bias)), 0.5)
        shutil.rmtree("mine", ignore_errors=True)
        write(Bundle.load(), kept, Path("mine"), told("as it is"))
        written = Bundle.load("mine")
        assert ("bias" in written.info) == any(bias)
        assert (written.temperature, written.threshold) == (1.25, 0.5)
        assert "On 20 clips (x.csv); kept: as it is." in written.card
        assert "| as it is | 0.500 | 0.500 | 0.100 | 1.000 | 0% | - |" in written.card


def test_a_bundle_of_which_no_card_can_be_made_is_one_line_and_leaves_nothing(
    manifest: Path,
) -> None:
    odd = replace(Bundle.load(), info={**Bundle.load().info, "metrics": {"valid": {}}})
    with pytest.raises(BundleError, match=r"no card can be made of its bundle.json: KeyError"):
        write(odd, Calibration(1.25, (0.0,) * 7, 0.5), Path("mine"), told("as it is"))
    assert not [path.name for path in Path().iterdir() if "mine" in path.name]


def test_a_bundle_that_cannot_be_changed_in_place_stays_as_it_was(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(Bundle.load().path, "mine")
    info = Path("mine/bundle.json")
    told = json.loads(info.read_text("utf-8"))
    info.write_text(json.dumps({**told, "metrics": {"valid": {}}}), "utf-8")
    before = files(Path("mine"))
    assert main(["calibrate", "mine", "--data", str(manifest), "--in-place"]) == 1
    assert "no card can be made of its bundle.json: KeyError" in capsys.readouterr().err
    assert files(Path("mine")) == before


def test_a_bundle_that_may_only_be_read_is_calibrated_elsewhere(manifest: Path) -> None:
    shutil.copytree(Bundle.load().path, "mine")
    for file in Path("mine").iterdir():
        file.chmod(0o444)
    assert main(["calibrate", "mine", "--data", str(manifest), "--out", "other"]) == 0
    assert all(file.stat().st_mode & 0o200 for file in Path("other").iterdir())
