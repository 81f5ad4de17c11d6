"""`ser calibrate --recordings` as it is typed: where recordings without labels are from."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser_core import Recognizer
from ser_core.bundle import Bundle, write_info
from ser_core.cli import main
from ser_core.lab.home import COUNT, UNLABELLED
from tests.acting import act, write_corpus
from tests.sounds import encode, silence


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 made-up voices, unlike any corpus, and a manifest that nobody reads."""
    return write_corpus(tmp_path_factory.mktemp("calls")).parent


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """New bundles are made under the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def changed(name: str, **keys: Any) -> Path:
    """A copy of the shipped bundle that says something else, or nothing where that is None."""
    shutil.copytree(Bundle.load().path, name)
    info = {**Bundle.load(name).info, **keys}
    write_info(Path(name), {k: v for k, v in info.items() if k != "format" and v is not None})
    return Path(name)


def answers(recognizer: Recognizer, folder: Path) -> dict[str, int]:
    """How many of the recordings are which emotion."""
    named = [recognizer.predict(path).emotion for path in folder.glob("*.wav")]
    return {emotion: named.count(emotion) for emotion in recognizer.bundle.emotions}


def at(folder: Path) -> dict[str, Any]:
    """Places among which the recordings of `folder` lie at the first."""
    shipped = Recognizer.load()
    profiles = [shipped.profile(path) for path in sorted(folder.glob("*.wav"))]
    size = len(shipped.bundle.info["places"]["spread"])
    mean = np.mean([each.mean[:size] for each in profiles], axis=0)
    means = {"here": mean.tolist(), "there": (mean + 100).tolist()}
    return {"spread": [1.0] * size, "means": means}


def test_recordings_from_elsewhere_become_what_is_normal(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = ["calibrate", "default", "--recordings", str(folder), "--out", "mine"]
    assert main([*order, "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    shipped, mine = Recognizer.load(), Recognizer.load("mine")
    assert (told["bundle"], told["n"], told["unlike"]) == ("mine", 48, True)
    assert told["nearest"] in shipped.bundle.info["corpora"]
    assert sum(told["answers"]["before"].values()) == sum(told["answers"]["now"].values()) == 48
    home = mine.bundle.home()
    assert home is not None
    profiles = [shipped.profile(path).mean for path in sorted(folder.glob("*.wav"))]
    np.testing.assert_allclose(home.mean, np.mean(profiles, axis=0), rtol=1e-4, atol=1e-3)
    assert (home.count, mine.bundle.info["home"]["speakers"]) == (COUNT, 0)
    assert mine.bundle.version == f"{shipped.bundle.version}+calibrated"
    for kept in ("temperature", "threshold", "bias"):
        assert getattr(mine.bundle, kept) == getattr(shipped.bundle, kept)
    assert told["answers"] == {"before": answers(shipped, folder), "now": answers(mine, folder)}
    made = mine.bundle.info["calibration"]
    assert made == {
        "n": 48, "speakers": 0, "choice": UNLABELLED,
        "nearest": told["nearest"], "distance": round(told["distance"], 3),
    }  # fmt: skip
    assert folder.name not in json.dumps(dict(mine.bundle.info))
    card = mine.bundle.card
    assert "To 48 recordings without labels, which lie " in card
    assert "this threshold and the temperature were chosen on the validation speakers." in card
    assert "It may describe a voice: then it is personal data." in card


def test_what_was_found_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(path) for path in sorted(folder.glob("*.wav"))[:24]]
    Path("letter.wav").write_text("Dear Sir or Madam", "utf-8")
    assert main(["calibrate", "default", "--recordings", *files, "letter.wav"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "24 recordings, 1 left out."
    assert lines[1].startswith("They are from elsewhere than what it was trained on: ")
    assert lines[1].endswith(", the limit is 1.10.")
    assert [line.split()[0] for line in lines[4:12]] == ["answers", *Bundle.load().emotions]
    assert lines[-1] == (
        "wrote models/default-calibrated: SER_MODEL=models/default-calibrated ser serve"
    )


def test_recordings_like_what_it_knows_change_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(changed("known", places=at(folder)))
    order = ["calibrate", model, "--recordings", str(folder), "--out", "new/mine"]
    assert main(order) == 0
    out = capsys.readouterr().out
    assert "They are like what it was trained on: 0.00 deviations of a speaker from here" in out
    assert "There is nothing to gain, and nothing is written." in out
    assert main([*order, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["bundle"], told["nearest"], told["unlike"]) == (None, "here", False)
    assert "now" not in told["answers"]
    assert not Path("new").exists()


def test_a_home_elsewhere_is_taken_off(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mean = Recognizer.load().check_profiles().mean - 30
    home = {"mean": mean.tolist(), "count": COUNT, "speakers": 2}
    changed("mine", places=at(folder), home=home)
    shutil.copytree("mine", "twin")
    order = ["--recordings", str(folder), "--in-place"]
    assert main(["calibrate", "mine", *order]) == 0
    assert "The home that it had is taken off." in capsys.readouterr().out
    mine, shipped = Recognizer.load("mine"), Recognizer.load()
    assert main(["calibrate", "twin", *order, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["bundle"], told["answers"]["now"]) == ("twin", answers(shipped, folder))
    assert told["answers"]["before"] != told["answers"]["now"]
    assert mine.bundle.home() is None
    assert "the home that it had is taken off" in mine.bundle.card
    assert "temperature were chosen on the validation speakers." in mine.bundle.card
    assert main(["calibrate", "mine", *order]) == 0
    assert "There is nothing to gain" in capsys.readouterr().out
    clip = (act("b4", "sad"), 16_000)
    np.testing.assert_array_equal(mine.hear(clip).logits, shipped.hear(clip).logits)
    # With labels it is taken off as well.
    changed("other", places=at(folder), home=home)
    data = str(folder / "manifest.csv")
    assert main(["calibrate", "other", "--data", data, "--in-place"]) == 0
    assert Bundle.load("other").home() is None
    figures = Bundle.load("other").info["calibration"]["before"]
    assert main(["calibrate", "default", "--data", data, "--out", "third", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]["as it is"] == figures


def test_a_second_time_replaces_the_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mean = Recognizer.load().check_profiles().mean - 30
    changed("mine", home={"mean": mean.tolist(), "count": 50, "speakers": 0})
    before = answers(Recognizer.load("mine"), folder)
    homes = []
    for _ in range(2):
        order = ["calibrate", "mine", "--recordings", str(folder), "--in-place", "--json"]
        assert main(order) == 0
        mine = Recognizer.load("mine")
        now = answers(mine, folder)
        assert json.loads(capsys.readouterr().out)["answers"] == {"before": before, "now": now}
        assert mine.bundle.version == f"{Bundle.load().version}+calibrated"
        homes.append(mine.bundle.info["home"])
        before = now
    assert homes[0] == homes[1]


def test_what_labels_told_is_not_overruled(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(changed("mine", calibration={"choice": "temperature"}))
    assert main(["calibrate", model, "--recordings", str(folder), "--out", "twice"]) == 1
    assert "default was calibrated with labels, which tell more" in capsys.readouterr().err
    assert not Path("twice").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere"], "nowhere: there is no such file or folder"),
        (["empty"], "empty: no recordings there"),
        (["quiet"], "here are none; 2 were left out"),
        (["one"], "20 recordings that can be judged, better 50; here is 1; 1 was left out"),
        (["list.csv"], "list.csv is a table: with labels it goes to --data"),
        (["x" * 300], "File name too long"),
        (["one", "one/../one", "one/b.wav"], "here is 1; 1 was left out"),
        (["link"], "here is 1; 1 was left out"),
    ],
    ids=["missing", "empty folder", "silent", "few", "table", "long", "copies", "broken link"],
)
def test_recordings_that_tell_nothing_are_told_in_one_line(
    given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("empty", "quiet", "one", "link"):
        Path(name).mkdir()
    Path("list.csv").write_text("path,label", "utf-8")
    Path("link/a.wav").symlink_to("nowhere")
    Path("link/b.wav").write_bytes(encode(act("a1", "sad")))
    Path("empty/letter.txt").write_text("Dear Sir or Madam", "utf-8")
    for place in ("quiet/a.wav", "quiet/b.wav", "one/a.wav"):
        Path(place).write_bytes(encode(silence(1.0)))
    Path("one/b.wav").write_bytes(encode(act("a1", "sad")))
    assert main(["calibrate", "default", "--recordings", *given]) == 1
    (line,) = [li for li in capsys.readouterr().err.splitlines() if li.startswith("ser: ")]
    assert message in line
    assert not Path("models/default-calibrated").exists()


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (None, "default does not say what its corpora are like"),
        ({"spread": [1.0], "means": []}, "the places in its bundle.json are damaged"),
        ({"spread": [1.0], "means": {"a": ["x"]}}, "the places in its bundle.json are damaged"),
    ],
    ids=["none", "no means", "no numbers"],
)
def test_a_bundle_must_know_where_it_is_from(
    folder: Path, places: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(changed("mine", places=places))
    assert main(["calibrate", model, "--recordings", str(folder), "--out", "other"]) == 1
    assert message in capsys.readouterr().err


def test_a_bundle_without_profiles_has_no_home(
    tiny: Recognizer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = ["calibrate", str(tiny.bundle.path), "--recordings", str(folder), "--out", "other"]
    assert main(order) == 1
    assert "tiny does not say what its corpora are like" in capsys.readouterr().err


def test_an_empty_path_is_not_the_working_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["calibrate", "default", "--recordings", ""])
    assert "argument --recordings: a path is empty" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--split", "test"], ["--balanced"]])
def test_what_needs_labels_is_refused(
    folder: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", "default", "--recordings", str(folder), *option]) == 1
    assert f"{option[0]} goes with --data" in capsys.readouterr().err


def test_a_recording_that_is_gone_the_second_time_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, "calls")
    hear = Recognizer.hear
    times: list[Path] = []

    def once(self: Recognizer, recording: Any, **how: Any) -> Any:
        heard = hear(self, recording, **how)
        times.append(recording)
        if len(times) == 48:
            Path("calls/a1_sad_0.wav").unlink()
        return heard

    monkeypatch.setattr(Recognizer, "hear", once)
    assert main(["calibrate", "default", "--recordings", "calls", "--out", "mine"]) == 1
    assert "1 of the recordings could be read once and not again" in capsys.readouterr().err
    assert not Path("mine").exists()
