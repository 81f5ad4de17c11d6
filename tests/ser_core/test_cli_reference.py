"""`ser predict --reference`: a voice is heard against other recordings of it."""

import json
from pathlib import Path

import numpy as np
import pytest

from ser_core import Recognizer
from ser_core.cli import main
from tests.api import fakes
from tests.sounds import encode, noise, silence, voice


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(
        Recognizer, "load", lambda name: fakes.recognizer() if name else fakes.listener()
    )
    sounds = {
        "loud": voice(2.0, level=0.8),
        "quiet": voice(2.0, level=0.2),
        "nothing": silence(1.0),
        "rising": np.concatenate([voice(6.0, level=0.2), voice(6.0, level=0.8)]),
        "pause": np.concatenate([voice(3.0), noise(6.0, 1e-4), voice(3.0)]),
    }
    for name, sound in sounds.items():
        (tmp_path / f"{name}.wav").write_bytes(encode(sound))
    return {name: str(tmp_path / f"{name}.wav") for name in (*sounds, "none")}


def heard(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["emotion"] for line in capsys.readouterr().out.splitlines()]


def test_references_change_what_is_normal(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    loud, quiet = files["loud"], files["quiet"]
    assert main(["predict", "--json", loud, "--reference", loud]) == 0
    assert main(["predict", "--json", loud, quiet, "--reference", quiet, quiet]) == 0
    assert main(["predict", "--json", loud, "--reference", quiet, "--reference", quiet]) == 0
    assert heard(capsys) == ["happy", "angry", "happy", "angry"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nothing", "The audio is silent."), ("none", "No such file or directory")],
)
def test_a_reference_that_cannot_be_used_is_one_line(
    files: dict[str, str], capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    assert main(["predict", files["loud"], "--reference", files["quiet"], files[name]]) == 1
    assert capsys.readouterr().err == f"ser: reference {files[name]}: {reason}\n"


def test_a_model_that_knows_no_profiles_is_one_line(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for option in (["--reference", files["quiet"]], ["--adapt"]):
        assert main(["predict", files["loud"], "--model", "default", *option]) == 1
        assert capsys.readouterr().err == "ser: The model default knows no profiles of speakers.\n"


def test_a_long_recording_may_say_itself_what_is_normal(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "--json", "--timeline", files["rising"]]) == 0
    assert main(["predict", "--json", "--timeline", "--adapt", files["rising"]]) == 0
    plain, adapted = (
        [segment["emotion"] for segment in json.loads(line)["segments"]]
        for line in capsys.readouterr().out.splitlines()
    )
    assert plain == ["happy"] * 7
    assert "angry" in adapted[3:]


def test_a_timeline_says_where_nobody_speaks(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "--timeline", "--model", "default", files["pause"]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["0.0", "-", "3.0", "s", "happy", "83%"]
    assert lines[3].split() == ["3.0", "-", "6.0", "s", "no", "speech"]
