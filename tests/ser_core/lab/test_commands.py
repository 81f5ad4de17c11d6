"""`ser train` as it is typed."""

import logging
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ser_core import Recognizer
from ser_core.cli import main
from ser_core.lab import build, classic_training, training, training_command
from ser_core.lab.checkpoint import CheckpointError
from ser_core.lab.export import ExportError
from ser_core.lab.places import Places
from ser_core.lab.presets import PRESETS, Schedule
from tests.acting import read_rows, write_manifest
from tests.ser_core.conftest import Trained
from tests.ser_core.lab.test_presets import SMALL
from tests.sounds import encode, silence


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Features and bundles are made under the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_of(trained: Trained) -> list[dict[str, str]]:
    """The manifest of `trained`, readable from any folder."""
    folder = trained.manifest.parent
    return [row | {"path": str(folder / row["path"])} for row in read_rows(trained.manifest)]


def test_training_reports_the_figure_of_speakers_never_heard(
    trained: Trained, tiny: Recognizer
) -> None:
    figures = tiny.bundle.info["metrics"]["test"]
    assert trained.output == (
        f"wrote models/tiny: UAR {figures['uar']:.3f} on 6 clips "
        "(exported model, speakers never heard, no reference recordings)\n"
    )


def unreadable(rows: list[dict[str, str]], split: str) -> list[dict[str, str]]:
    return [
        row | {"path": f"letter{number}.wav"} if row["split"] == split else row
        for number, row in enumerate(rows)
    ]


def relabelled(rows: list[dict[str, str]], split: str, label: str) -> list[dict[str, str]]:
    return [row | {"label": label} if row["split"] == split else row for row in rows]


BAD_DATA = {
    "one class": (
        lambda rows: [row | {"label": "sad"} for row in rows],
        "needs utterances of at least two of angry",
    ),
    "one class to validate": (
        lambda rows: relabelled(rows, "valid", "sad"),
        "validation needs utterances of at least two of",
    ),
    "one class to train": (
        lambda rows: relabelled(rows, "train", "sad"),
        "training needs utterances of at least two of",
    ),
    "nothing to validate": (
        lambda rows: [row for row in rows if row["split"] != "valid"],
        "validation needs utterances of at least two of",
    ),
    "nothing to train": (
        lambda rows: [row for row in rows if row["split"] != "train"],
        "No row has the split train.",
    ),
    "one speaker": (
        lambda rows: [row | {"speaker": "me", "corpus": "", "split": ""} for row in rows],
        "needs at least 3 speakers, here is 1",
    ),
    "no speakers": (
        lambda rows: [row | {"speaker": "", "split": ""} for row in rows],
        "utterances name no speaker",
    ),
    "a speaker on two sides": (
        lambda rows: [row | {"speaker": "me"} for row in rows],
        "me would be on more than one side",
    ),
    "unknown labels": (
        lambda rows: [row | {"label": "envy"} for row in rows],
        "sad or surprise; the labels there are envy",
    ),
    "unknown labels to test on": (
        lambda rows: relabelled(rows, "test", "envy"),
        "no recording to test on is angry or disgust",
    ),
    "unreadable tests": (
        lambda rows: unreadable(rows, "test"),
        "none of the 6 recordings to test on can be used",
    ),
    "missing files": (
        lambda rows: [row | {"path": f"{row['path']}.bak"} for row in rows],
        "no row can be used (48 x no such file)",
    ),
    "unreadable validation": (
        lambda rows: unreadable(rows, "valid"),
        "validation needs utterances of at least two of",
    ),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_is_told_in_one_line_before_training(
    trained: Trained,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change, message = BAD_DATA[name]
    for index in range(48):
        (tmp_path / f"letter{index}.wav").write_bytes(b"Dear Sir or Madam" + bytes([index]))
    manifest = write_manifest(tmp_path / "bad.csv", change(rows_of(trained)))
    monkeypatch.setattr(training, "fit", None)  # it must not come to that
    assert main(["train", "--data", str(manifest), "--out", "out"]) == 1
    (line,) = [li for li in capsys.readouterr().err.splitlines() if li.startswith("ser: ")]
    assert message in line
    assert not Path("out").exists()


@pytest.mark.parametrize("preset", ["residual-cnn", "ann-193"])
def test_an_emotion_that_nobody_teaches_is_warned_of_or_refused_if_it_was_asked_for(
    preset: str,
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def enough(*_: Any, **__: Any) -> None:
        raise training.TrainingError("that is enough")

    monkeypatch.setattr(training, "fit", enough)
    monkeypatch.setattr(classic_training, "fit", enough)
    letter = tmp_path / "letter.wav"
    letter.write_bytes(b"Dear Sir or Madam")
    rows = rows_of(trained)
    rows = [
        row | {"path": str(letter)} if (row["label"], row["split"]) == ("sad", "train") else row
        for row in rows
    ]
    manifest = write_manifest(tmp_path / "mine.csv", rows)
    command = ["train", "--data", str(manifest), "--preset", preset]
    assert main(command) == 1
    assert "that is enough" in capsys.readouterr().err
    emotions = PRESETS[preset].emotions
    unheard = " or ".join(e for e in emotions if e not in ("angry", "neutral"))
    assert f"no utterance to train on is {unheard}" in caplog.messages
    assert main([*command, "--emotions", "angry,neutral,sadness"]) == 1
    assert "no recording that can be trained on is sad\n" in capsys.readouterr().err
    assert main([*command, "--emotions", "angry,happy,neutrall"]) == 1
    assert capsys.readouterr().err == (
        "ser: no recording to train on is happy or neutrall; the labels there are angry, neutral, "
        "sad\n"
    )


def test_that_there_is_nothing_to_test_on_is_said_before_and_after(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    figures = {"uar": 0.25, "n": 12, "protocol": "exported model, speakers never heard"}
    monkeypatch.setattr(build, "train_on", lambda *_: {"metrics": {"valid": figures}})
    rows = [row for row in rows_of(trained) if row["split"] != "test"]
    manifest = write_manifest(tmp_path / "mine.csv", rows)
    assert main(["train", "--data", str(manifest), "--out", "out"]) == 0
    assert caplog.messages[-1] == (
        "No row is to test on: figures will be those of the validation recordings, which help to "
        "choose the model."
    )
    assert capsys.readouterr().out == (
        "wrote out: UAR 0.250 on 12 validation clips, which helped to choose the model "
        "(exported model, speakers never heard)\n"
    )
    caplog.clear()
    assert main(["train", "--data", str(trained.manifest), "--out", "out"]) == 0
    assert not caplog.messages


def test_a_folder_that_cannot_be_written_is_told_before_training(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file", "utf-8")
    assert main(["train", "--data", str(trained.manifest), "--out", "taken"]) == 1
    (line,) = [li for li in capsys.readouterr().err.splitlines() if li.startswith("ser: ")]
    assert line == "ser: taken/work cannot be made: Not a directory"


@pytest.mark.parametrize(
    "option",
    [
        ["--emotions", "angry,"],
        ["--emotions", "sad,sad"],
        ["--epochs", "0"],
        ["--learning-rate", "2"],
        ["--clips", "-5"],
        ["--preset", "magic"],
    ],
)
def test_options_that_cannot_be_are_refused(
    option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", "--data", "x.csv", *option])
    assert stop.value.code == 2
    assert f"argument {option[0]}: " in capsys.readouterr().err


@pytest.mark.parametrize("error", [ExportError, CheckpointError])
def test_what_goes_wrong_in_training_is_one_line_and_status_1(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error("model.tflite differs from Keras by 1, more than 0.001")

    monkeypatch.setattr(training_command, "train", fail)
    assert main(["train", "--data", "x.csv"]) == 1
    assert capsys.readouterr().err == (
        "ser: model.tflite differs from Keras by 1, more than 0.001\n"
    )


def test_ctrl_c_keeps_what_was_trained_and_resume_makes_the_bundle(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a folder that holds a bundle, with recordings that cannot be read in every part."""
    small = replace(
        SMALL,
        options={"channels": (4, 8), "embedding": 8},
        schedule=Schedule(epochs=2, clips=32, batch=16, relative_steps=20),
    )
    monkeypatch.setitem(PRESETS, "small", small)
    rows = rows_of(trained)
    for split in ("train", "valid", "test"):
        odd = next(row for row in rows if row["split"] == split)
        odd["path"] = f"{split}.wav"
        (tmp_path / f"{split}.wav").write_bytes(encode(silence(1.0)))
        rows.append({**odd, "path": "nowhere.wav"})
    manifest = write_manifest(tmp_path / "mine.csv", rows)
    out = shutil.copytree(trained.bundle, tmp_path / "models/mine")
    command = ["train", "--data", str(manifest), "--preset", "small", "--out", str(out)]
    first = [*command, "--overwrite"]

    with monkeypatch.context() as patch, caplog.at_level(logging.INFO):
        patch.setattr(build, "fit_to_profiles", lambda *_, **__: signal.raise_signal(signal.SIGINT))
        assert main(first) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "ser: interrupted"
    assert caplog.messages[-1] == (
        "Finished epochs are kept: the same command with --resume goes on."
    )
    assert f"skipped {tmp_path / 'train.wav'}: The audio is silent." in caplog.messages
    assert f"skipped {tmp_path / 'test.wav'}: The audio is silent." in caplog.messages
    assert f"left out 3 (no such file): {', '.join([str(tmp_path / 'nowhere.wav')] * 3)}" in (
        caplog.messages
    )
    assert (out / "work/epoch-0002/model.keras").is_file()
    assert Recognizer.load(out).bundle.name == "tiny"

    assert main([*command, "--resume"]) == 0
    assert not (out / "work").exists()
    recognizer = Recognizer.load(out)
    assert recognizer.bundle.name == "mine"
    metrics = recognizer.bundle.info["metrics"]
    assert (metrics["valid"]["n"], metrics["test"]["n"]) == (11, 5)
    assert recognizer.bundle.info["corpora"] == {"a": 22, "b": 18}
    places = Places.of_bundle(recognizer.bundle)
    assert places is not None
    assert {*places.means} == {"a", "b"}
    assert len(places.spread) < len(recognizer.check_profiles().mean)
    sad, angry = (trained.manifest.parent / f"b4_{emotion}_1.wav" for emotion in ("sad", "angry"))
    prediction = recognizer.predict(sad)
    assert prediction.duration == 1.3
    relative = recognizer.predict(sad, profile=recognizer.profile(angry))
    assert relative.probabilities != prediction.probabilities
    assert sum(relative.probabilities.values()) == pytest.approx(1, abs=1e-9)
