"""`ser evaluate` as it is typed, and what other commands have in common with it."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ser_core import Recognizer
from ser_core.cli import main
from tests.acting import write_manifest
from tests.ser_core.conftest import Trained
from tests.ser_core.lab.test_commands import rows_of
from tests.sounds import encode, silence

ROOT = Path(__file__).resolve().parents[3]
KEYS = {"n", "accuracy", "uar", "recall", "confusion", "skipped"}


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Features and bundles are made under the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(*arguments: Path | str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["evaluate", *map(str, arguments), "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_evaluate_prints_figures_as_json(
    trained: Trained,
    tiny: Recognizer,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = ("--data", trained.manifest, "--split", "test")
    result = evaluate(trained.bundle, *data, capsys=capsys)
    assert {*result} == KEYS | {"corpora", "sexes", "trust"}
    assert [*result["corpora"]] == ["b"]
    assert {*result["corpora"]["b"]} == KEYS
    figures = tiny.bundle.info["metrics"]["test"]
    assert result["n"] == figures["n"] == 6
    assert result["uar"] == pytest.approx(figures["uar"])
    assert result["skipped"] == {}
    for name in ("ece", "coverage", "accuracy_when_certain"):
        assert result["trust"][name] == pytest.approx(figures[name])
    assert sum(sum(row.values()) for row in result["confusion"].values()) == 6
    assert "Warning" not in caplog.text


def test_evaluate_warns_of_speakers_the_model_was_trained_on(
    trained: Trained, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    result = evaluate(trained.bundle, "--data", trained.manifest, capsys=capsys)
    assert result["n"] == 48
    assert {name: row["n"] for name, row in result["corpora"].items()} == {"a": 24, "b": 24}
    assert (
        "Warning: the model was trained on 5 of these speakers (a/a1, a/a2, a/a3, b/b1, b/b2) and "
        "was chosen and calibrated by 2 of these speakers (a/a4, b/b3); the figures flatter it."
    ) in caplog.messages


def test_evaluate_knows_whom_the_training_left_to_test_where_the_data_does_not(
    trained: Trained,
    tmp_path: Path,
    tiny: Recognizer,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [{name: row[name] for name in row if name != "split"} for row in rows_of(trained)]
    data = ("--data", write_manifest(tmp_path / "mine.csv", rows))
    caplog.set_level(logging.INFO)
    result = evaluate(trained.bundle, *data, "--split", "test", capsys=capsys)
    figures = tiny.bundle.info["metrics"]
    assert result["n"] == 6
    assert result["uar"] == pytest.approx(figures["test"]["uar"])
    assert (
        "No row names a split: the model's own list of test speakers is taken." in caplog.messages
    )
    assert "Warning" not in caplog.text
    result = evaluate(trained.bundle, *data, "--split", "valid", capsys=capsys)
    assert result["uar"] == pytest.approx(figures["valid"]["uar"])
    assert (
        "Warning: the model was chosen and calibrated by 2 of these speakers (a/a4, b/b3); the "
        "figures flatter it."
    ) in caplog.messages


def test_other_commands_know_them_as_well(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{name: row[name] for name in row if name != "split"} for row in rows_of(trained)]
    mine = str(write_manifest(tmp_path / "mine.csv", rows))
    options = [str(trained.bundle), "--data", mine, "--split", "test"]
    assert main(["robustness", *options]) == 0
    assert capsys.readouterr().out.startswith("| 6 recordings |")
    assert main(["export", *options, "--to", "h5"]) == 0
    assert "compared on 6 recordings of 1 speakers:" in capsys.readouterr().out
    assert main(["calibrate", *options]) == 1
    assert "needs at least 20 clips that can be judged, better 50; here are 6" in (
        capsys.readouterr().err
    )


def test_evaluate_counts_what_it_leaves_out(
    trained: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [row for row in rows_of(trained) if row["split"] == "test"]
    (tmp_path / "quiet.wav").write_bytes(encode(silence(1.0)))
    rows[0]["label"], rows[3]["label"] = "boredom", "calm"
    rows[1]["path"] = "nowhere.wav"
    rows[2]["path"] = "quiet.wav"
    manifest = write_manifest(tmp_path / "odd.csv", rows)
    result = evaluate(trained.bundle, "--data", manifest, capsys=capsys)
    assert result["n"] == 3
    assert result["skipped"] == {
        "no such file": 1,
        "label 'boredom' is not one of the model's": 1,
        "cannot be read: Silent": 1,
    }
    counted = "counted 1 x 'calm' as 'neutral', the nearest of the model's emotions"
    assert caplog.messages.count(counted) == 1


def test_evaluate_prints_a_table_to_read(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(trained.manifest), "--split", "test"]
    assert main(["evaluate", str(trained.bundle), *arguments]) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert table[0] == ["n", "accuracy", "UAR"]
    assert table[1][:2] == ["all", "6"]
    (certain,) = [line for line in table if line[:1] == ["certain"]]
    assert certain[2:5] == ["of", "the", "answers,"]
    assert any(line[:2] == ["calibration", "error"] for line in table)


def test_evaluate_says_how_many_references_there_were(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row for row in rows_of(trained) if row["split"] in {"valid", "test"}]
    (lonely, *_), others = rows, [row for row in rows if row["corpus"] == "b"]
    manifest = write_manifest(tmp_path / "some.csv", [lonely, *others])
    asked = ("--data", manifest, "--references", "10")
    result = evaluate("default", *asked, capsys=capsys)
    assert result["references"] == {
        "most": 10, "of": "speaker", "mean": pytest.approx(12 * 5 / 13), "none": 1,
    }  # fmt: skip
    assert main(["evaluate", "default", *map(str, asked), "--report", "page"]) == 0
    told = "references: up to 10 of the speaker, 4.6 on average, none for 1 clips"
    assert capsys.readouterr().out.startswith(f"{told}\n\n")
    assert told in (tmp_path / "page/evaluation.html").read_text("utf-8")


def test_evaluate_with_references_that_nobody_has_is_an_error(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row for row in rows_of(trained) if row["split"] == "test"]
    manifest = write_manifest(tmp_path / "one.csv", rows)
    asked = ["--data", str(manifest), "--references", "3", "--of-others"]
    assert main(["evaluate", "default", *asked]) == 1
    assert "no recording has another one of another speaker" in capsys.readouterr().err


def test_of_others_says_nothing_without_references(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "default", "--data", "mine.csv", "--of-others"])
    assert stop.value.code == 2
    assert "--of-others says whose recordings" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate default", "robustness default", "train"])
def test_a_seed_below_0_is_wrong_usage(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--data", "mine.csv", "--seed", "-1"])
    assert stop.value.code == 2
    assert "argument --seed: '-1' is no whole number from 0 on" in capsys.readouterr().err


def test_evaluate_of_what_cannot_be_judged_fails(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.wav").write_text("Dear all")
    rows = [row | {"label": "boredom"} for row in rows_of(trained)[:3]]
    rows.append(rows[0] | {"label": "angry", "path": str(tmp_path / "letter.wav")})
    manifest = write_manifest(tmp_path / "bad.csv", rows)
    for form in ([], ["--json"]):
        assert main(["evaluate", str(trained.bundle), "--data", str(manifest), *form]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert "bad.csv: none of the recordings can be judged (3 x " in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere.csv"], "nowhere.csv: there is no such file or folder."),
        (["--data", "{manifest}", "--split", "train"], "has no utterances of the split 'train'"),
    ],
)
def test_evaluate_of_nothing_is_one_line_and_status_1(
    trained: Trained,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = write_manifest(
        tmp_path / "test.csv", [row for row in rows_of(trained) if row["split"] == "test"]
    )
    given = [argument.format(manifest=manifest) for argument in arguments]
    assert main(["evaluate", str(trained.bundle), *given]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ser: ")
    assert message in line


@pytest.mark.parametrize(
    ("command", "option", "error"),
    [
        ("evaluate", "--report", "ser: a file cannot be written: File too large"),
        ("calibrate", "--out", "ser: made cannot be written: File too large"),
    ],
)
def test_a_full_disk_is_one_line(
    trained: Trained, working_folder: Path, command: str, option: str, error: str
) -> None:
    typed = [command, trained.bundle, "--data", trained.manifest, option, "made"]
    # What Python, Numba and Matplotlib keep for themselves is not to be cut off.
    program = """
import resource
import ser_core.lab.report
from ser_core.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
raise SystemExit(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, typed)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == error
    assert "Traceback" not in done.stderr
    # Nothing looks as if it was whole.
    assert [path for path in working_folder.rglob("*") if path.is_file()] == []
    assert command == "evaluate" or not list(working_folder.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_output_that_takes_no_more_is_one_line(trained: Trained) -> None:
    typed = ["evaluate", str(trained.bundle), "--data", str(trained.manifest)]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ser_core.cli", *typed],
            env={**buffered, "PYTHONPATH": str(ROOT)},
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == "ser: the output cannot be written: No space left on device"
