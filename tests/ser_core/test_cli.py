"""The `ser` command as it is typed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from ser_core import Recognizer, __version__, cli
from ser_core.cli import main
from tests.acting import act
from tests.ser_core.conftest import Trained
from tests.sounds import encode, silence

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def recordings(tmp_path: Path) -> dict[str, str]:
    """Two that can be judged, and three that cannot."""
    files = {
        "angry.wav": encode(act("b4", "angry", 4.0)),
        "sad.flac": encode(act("b4", "sad"), "flac"),
        "silent.wav": encode(silence(1.0)),
        "letter.wav": b"Dear Sir or Madam, this is a letter.",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in (*files, "none.wav")}


def test_predict_prints_a_json_object_a_line_and_names_bad_files(
    trained: Trained,
    tiny: Recognizer,
    recordings: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = main(["predict", "--json", "--model", str(trained.bundle), *recordings.values()])
    assert status == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.pop("file") for line in lines] == [*recordings.values()]
    assert lines[0] == tiny.predict(recordings["angry.wav"]).to_dict()
    assert lines[1] == tiny.predict(recordings["sad.flac"]).to_dict()
    assert lines[2] == {"error": "The audio is silent."}
    assert [*lines[3]] == ["error"]
    assert lines[4] == {"error": "No such file or directory"}


def test_predict_of_good_files_alone_succeeds(
    trained: Trained, recordings: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["predict", "--json", "--timeline", "--model", str(trained.bundle)]
    assert main([*arguments, recordings["angry.wav"]]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    segments = json.loads(line)["segments"]
    assert [(segment["start"], segment["end"]) for segment in segments] == [(0, 3), (1, 4)]


def test_predict_prints_text_to_read(
    trained: Trained,
    tiny: Recognizer,
    recordings: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [recordings[name] for name in ("angry.wav", "none.wav")]
    assert main(["predict", "--timeline", "--model", str(trained.bundle), *files]) == 1
    answer, errors = capsys.readouterr()
    prediction = tiny.predict(files[0])
    doubt = "  (uncertain)" if prediction.uncertain else ""
    first, last = (f"{s.emotion} {s.confidence:.0%}" for s in prediction.segments)
    assert answer.splitlines() == [
        f"{files[0]}: {prediction.emotion} {prediction.confidence:.0%}{doubt}",
        f"      0.0 - 3.0 s    {first}",
        f"      1.0 - 4.0 s    {last}",
    ]
    assert errors == f"{files[1]}: No such file or directory\n"


def test_a_damaged_bundle_is_one_line_and_exit_status_1(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = shutil.copytree(trained.bundle, tmp_path / "damaged")
    model = damaged / "model.tflite"
    model.write_bytes(model.read_bytes()[:-1])
    assert main(["predict", "--model", str(damaged), "clip.wav"]) == 1
    answer, errors = capsys.readouterr()
    assert answer == ""
    assert errors == f"ser: {model} is damaged: its SHA-256 is not the one in bundle.json\n"


def test_an_unknown_model_lists_the_places(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--model", "unheard-of", "clip.wav"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ser: no bundle 'unheard-of': there is no bundle.json in ")
    assert str(ROOT / "models" / "unheard-of") in line


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for command in ("serve", "predict", "train", "evaluate", "features"):
        assert f"\n    {command} " in text


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"ser {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["listen"], ["predict"], ["serve", "--port", "x"]])
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: ser" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "evaluate", "features"])
def test_the_lab_without_its_extra_says_what_to_install(command: str) -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(['tensorflow', 'keras', 'tqdm']))"
    code = f"{blocked}; from ser_core.cli import main; sys.exit(main(['{command}', '--help']))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"ser {command}: error: `ser {command}` needs ")
    assert last.endswith(": pip install '.[train]' in the project's folder")
    assert "Traceback" not in result.stderr


def test_a_report_that_cannot_be_drawn_is_refused_before_anything_is_judged() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; from ser_core.cli import main\n"
        "sys.exit(main(['evaluate', 'default', '--data', 'nowhere.csv', '--report', 'page']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == (
        "ser evaluate: error: --report needs matplotlib: pip install '.[train]' in the project's "
        "folder"
    )


def test_the_usage_of_predict_can_be_followed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    usage = " ".join(capsys.readouterr().out.split("\n\n")[0].split())
    assert usage.startswith("usage: ser predict FILE [FILE ...] [--model")
    assert usage.endswith("[--reference FILE [FILE ...]]")


def test_evaluating_does_without_what_training_needs() -> None:
    code = (
        "import sys; from ser_core.cli import main\n"
        "try: main(['evaluate', '--help'])\n"
        "finally: print({'tensorflow', 'keras', 'librosa', 'matplotlib'} & {*sys.modules})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("usage: ser evaluate ")
    assert result.stdout.endswith("set()\n")


def test_serve_becomes_gunicorn_with_the_options_as_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    become: list[tuple[str, list[str]]] = []

    def execv(path: str, command: list[str]) -> None:
        become.append((path, command))
        raise SystemExit  # the real one does not return either

    monkeypatch.setattr(cli.os, "execv", execv)
    monkeypatch.setattr(cli.os, "environ", {"HOST": "::1", "SER_THREADS": "3"})
    with pytest.raises(SystemExit):
        main(["serve", "--port", "9999", "--workers", "2"])
    ((path, command),) = become
    assert path == command[0] == sys.executable
    assert command[1:] == [
        "-m", "gunicorn", "--config", "python:api.gunicorn_config", "api:create_app()",
    ]  # fmt: skip
    assert cli.os.environ == {
        "HOST": "::1", "SER_THREADS": "3", "PORT": "9999", "SER_WORKERS": "2",
    }  # fmt: skip


def test_ctrl_c_is_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.Recognizer, "load", interrupted)
    assert main(["predict", "clip.wav"]) == 130
    assert capsys.readouterr().err == "ser: interrupted\n"


@pytest.mark.parametrize("command", ["train", "batch"])
def test_ctrl_c_while_a_command_still_imports_what_it_needs_is_no_traceback(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.importlib, "import_module", interrupted)
    assert main([command, "--help"]) == 130
    assert capsys.readouterr().err == "ser: interrupted\n"


def test_a_reader_that_has_had_enough_ends_it_quietly(
    trained: Trained, recordings: dict[str, str]
) -> None:
    arguments = ["predict", "--json", "--model", str(trained.bundle), recordings["sad.flac"]]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        result = subprocess.run(
            [sys.executable, "-m", "ser_core.cli", *arguments],
            cwd=ROOT, stdout=closed, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert result.returncode == 1
    assert "BrokenPipe" not in result.stderr


def typed(
    *arguments: str | bytes, stdout: int | BinaryIO = subprocess.PIPE, encoding: str = "utf-8"
) -> subprocess.CompletedProcess[bytes]:
    """`ser predict` in a process of its own."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-m", "ser_core.cli", "predict", *arguments], cwd=ROOT,
        env={**buffered, "PYTHONIOENCODING": encoding},
        stdout=stdout, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [("utf-8:strict", b"caf\xe9.flac: "), ("ascii:strict", b"caf\\udce9.flac: ")],
)
def test_a_name_that_is_no_utf8_costs_nothing(
    tmp_path: Path, trained: Trained, encoding: str, printed: bytes
) -> None:
    names = (os.fsencode(tmp_path) + b"/caf\xe9.flac", os.fsencode(tmp_path) + b"/other.flac")
    for name in names:
        Path(os.fsdecode(name)).write_bytes(encode(act("b4", "sad"), "flac"))
    done = typed(*names, "--model", str(trained.bundle), encoding=encoding)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith(os.fsencode(tmp_path) + b"/" + printed)
    assert second.startswith(names[1] + b": ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_under_the_output_is_one_line(
    trained: Trained, recordings: dict[str, str]
) -> None:
    with Path("/dev/full").open("wb") as full:
        done = typed(recordings["sad.flac"], "--model", str(trained.bundle), stdout=full)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1:] == [
        b"ser: the output cannot be written: No space left on device"
    ]
    assert b"Traceback" not in done.stderr


def test_what_is_not_read_is_not_called_the_output(tmp_path: Path) -> None:
    unreadable = Path("/proc/self/mem")  # its error names no file
    if not unreadable.exists():
        pytest.skip("no file here that opens and cannot be read")
    with pytest.raises(OSError, match="Input/output error"):
        main(["calibrate", "default", "--data", str(unreadable), "--out", str(tmp_path / "mine")])
