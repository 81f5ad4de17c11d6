"""`ser export` as it is typed."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from examples import edge_int8, edge_pi
from ser_core import Recognizer
from ser_core.bundle import Bundle, sha256, write_info
from ser_core.cli import main
from ser_core.lab import export_command
from ser_core.lab.corpora import read
from ser_core.lab.dataset import voiced
from ser_core.lab.export import load_keras
from ser_core.lab.export_int8 import cut
from ser_core.lab.exported import Int8Runtime
from tests.acting import act, read_rows, write_manifest
from tests.ser_core.conftest import Trained
from tests.sounds import encode, voice

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def export(trained: Trained, *arguments: str) -> int:
    return main(["export", str(trained.bundle), "--data", str(trained.manifest), *arguments])


def described(path: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(Path(path).read_text())
    return result


@pytest.mark.parametrize("target", ["tflite", "onnx", "h5"])
def test_a_float_file_answers_as_keras_on_recordings(
    trained: Trained, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(trained, "--to", target) == 0
    lines = capsys.readouterr().out.splitlines()
    size = Path(f"tiny.{target}").stat().st_size / 1e6
    assert lines[0] == (
        f"wrote tiny.{target} ({size:.2f} MB) and tiny.{target}.json, what a device must know of it"
    )
    assert lines[1] == "compared on 6 recordings of 1 speakers:"
    assert "6 of 6 (100.0%)" in lines[3]
    told = described(f"tiny.{target}.json")
    assert told["compared_with_keras"]["largest_difference"] < 1e-4
    assert told["sha256"] == sha256(Path(f"tiny.{target}"))
    assert told["emotions"][0] == "angry"
    single = [1, 1] if target == "h5" else [1]
    assert told["inputs"] == {"waveform": [1, 48_000], "length": single}
    assert told["outputs"] == {"logits": [1, 7]}
    assert not [*Path().glob("partial*")]
    if target == "h5":
        weights, expected = (
            load_keras(path).get_weights()
            for path in (Path("tiny.h5"), trained.bundle / "model.keras")
        )
        for found, wanted in zip(weights, expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_an_h5_opens_elsewhere_by_the_lines_of_the_documentation(trained: Trained) -> None:
    assert export(trained, "--to", "h5", "--out", "default.h5") == 0
    _, section = (ROOT / "docs/edge.md").read_text("utf-8").split("```python\n", 1)
    lines = section.partition("```")[0] + (
        "import json, numpy\n"
        "shapes = json.loads(Path('default.h5.json').read_text())['inputs']\n"
        "inputs = [numpy.ones(shape, 'float32') for shape in shapes.values()]\n"
        "print(model(inputs)['logits'].shape)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", lines], capture_output=True, text=True, timeout=120, check=True
    )
    assert ended.stdout == "(1, 7)\n"


def test_int8_tells_its_cost_and_what_the_device_must_do(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(trained, "--to", "int8", "--split", "valid") == 0
    output = capsys.readouterr().out
    assert "compared on 12 recordings of 2 speakers:" in output
    assert "int8 costs" in output
    told = described("tiny.int8.tflite.json")
    assert told["inputs"] == {"features": [1, 188, 64], "mask": [1, 188]}
    assert told["quantisation"]["mask"]["scale"] == pytest.approx(1 / 255)
    assert told["left_out"] == ["speaker profile"]
    assert "LogMel" in {step["layer"] for step in told["front_end"]}
    assert len(told["mel_edges"]) == 66
    assert told["fitted_to"] == {"recordings": 30, "judged_too": 0}
    # The example's front end and its answers are those that the UAR was measured with.
    parts = cut(load_keras(trained.bundle / "model.keras"))
    runtime = Int8Runtime(Path("tiny.int8.tflite"), parts)
    for signal in (act("b4", "angry", 1.7), act("a4", "sad", 0.6), voice(4.0)):
        features, mask = edge_int8.front_end(signal, told)
        window = np.zeros((1, 48_000), np.float32)
        window[0, : len(signal)] = signal[:48_000]
        length = np.array([[min(len(signal), 48_000)]], np.int32)
        expected = parts.features((window, length))
        np.testing.assert_array_equal(mask, expected[1][0])
        np.testing.assert_allclose(features, expected[0][0], atol=2e-3)
        heard = edge_int8.hear(Path("tiny.int8.tflite"), signal)
        logits = runtime.logits(window, length[:, 0])[0] / told["temperature"]
        assert max(heard, key=heard.__getitem__) == told["emotions"][logits.argmax()]
        assert sum(heard.values()) == pytest.approx(1)


def test_the_example_for_a_raspberry_pi_hears_what_the_recognizer_hears(
    trained: Trained, tiny: Recognizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(trained, "--to", "tflite") == 0
    # Cut to what sounds, as the example does not look for that.
    utterance = next(u for u in read(trained.manifest).utterances if u.speaker == "b4")
    signal = voiced(utterance.path, 16_000)
    path = tmp_path / "speech.wav"
    path.write_bytes(encode(signal, "wav-float"))
    heard = edge_pi.hear(Path("tiny.tflite"), path)
    expected = tiny.predict(path).probabilities
    assert heard == pytest.approx(dict(expected), abs=0.02)


@pytest.mark.parametrize(("target", "example"), [("tflite", edge_pi), ("int8", edge_int8)])
def test_an_example_names_no_emotion_where_there_is_nothing_to_hear(
    trained: Trained, target: str, example: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(trained, "--to", target, "--out", f"tiny.{target}", "--clips", "2") == 0
    capsys.readouterr()
    silence = np.zeros(16_000, np.float32)
    Path("empty.wav").write_bytes(encode(silence[:0]))
    Path("silent.wav").write_bytes(encode(silence))
    Path("offset.wav").write_bytes(encode(silence + 0.25))
    Path("text.wav").write_bytes(b"no sound at all")
    nothing = "the first 3 s are empty or silent"
    for name, message in {
        "empty.wav": f"^empty.wav: {nothing}$",
        "silent.wav": f"^silent.wav: {nothing}$",
        "offset.wav": f"^offset.wav: {nothing}$",
        "text.wav": "^Error opening .*text.wav.*: Format not recognised.$",
        "gone.wav": "No such file or directory: 'gone.wav'$",
    }.items():
        with pytest.raises(SystemExit, match=message):
            example.main(Path(f"tiny.{target}"), Path(name))
    assert capsys.readouterr().out == ""
    Path("speech.wav").write_bytes(encode(act("b4", "angry")))
    example.main(Path(f"tiny.{target}"), Path("speech.wav"))
    assert len(capsys.readouterr().out.splitlines()) == 7


def test_a_calibrated_bundle_s_home_goes_with_the_file_that_knows_profiles(
    trained: Trained, tmp_path: Path
) -> None:
    shutil.copytree(Bundle.load().path, "mine")
    norm = Bundle.load("mine").norm()
    assert norm is not None
    info: dict[str, Any] = {**Bundle.load("mine").info}
    info["home"] = {"mean": (norm.mean + 3 * norm.spread).tolist(), "count": 2, "speakers": 3}
    write_info(Path("mine"), {key: value for key, value in info.items() if key != "format"})
    utterance = next(u for u in read(trained.manifest).utterances if u.speaker == "b4")
    path = tmp_path / "speech.wav"
    path.write_bytes(encode(voiced(utterance.path, 16_000), "wav-float"))
    for target in ("tflite", "int8"):
        data = ("--data", str(trained.manifest), "--clips", "6")
        assert main(["export", "mine", "--to", target, "--out", f"mine.{target}", *data]) == 0
    heard = edge_pi.hear(Path("mine.tflite"), path)
    mine, shipped = (Recognizer.load(name).predict(path).probabilities for name in ("mine", None))
    assert heard == pytest.approx(dict(mine), abs=0.05)
    assert heard != pytest.approx(dict(shipped), abs=0.05)
    assert "home" not in described("mine.int8.json")


def unsplit(trained: Trained, count: int) -> Path:
    """A manifest of some of the recordings, without a split."""
    folder = trained.manifest.parent
    rows = [
        row | {"path": str(folder / row["path"]), "split": ""}
        for row in read_rows(trained.manifest)[:count]
    ]
    return write_manifest(Path("unsplit.csv"), rows)


@pytest.mark.parametrize(
    ("count", "clips", "judged", "fitted"),
    [
        (30, 200, 20, 10),  # nothing is left over: a third is set aside
        (30, 28, 20, 10),  # too little is left over
        (30, 20, 20, 10),
        (30, 5, 5, 25),
        (2, 200, 1, 1),
    ],
)
def test_int8_is_not_judged_on_what_it_is_fitted_to(
    trained: Trained, count: int, clips: int, judged: int, fitted: int
) -> None:
    bundle, data = Bundle.load(trained.bundle), unsplit(trained, count)
    found = export_command.Recordings.choose(bundle, data, None, clips, fit=True)
    assert (len(found.judged), len(found.fitted), found.in_common) == (judged, fitted, 0)
    assert not {u.path for u in found.judged} & {u.path for u in found.fitted}
    everything = export_command.Recordings.choose(bundle, data, None, clips, fit=False)
    assert len(everything.judged) == min(count, clips)
    assert everything.fitted == []


def test_a_split_s_recordings_are_judged_and_those_to_learn_from_are_fitted_to(
    trained: Trained,
) -> None:
    bundle = Bundle.load(trained.bundle)
    found = export_command.Recordings.choose(bundle, trained.manifest, None, 200, fit=True)
    assert {u.split for u in found.judged} == {"test"}
    assert {u.split for u in found.fitted} == {"train", "valid"}
    assert (len(found.judged), len(found.fitted)) == (6, 42)


def test_int8_of_one_recording_says_that_it_judges_what_it_was_fitted_to(
    trained: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    data = unsplit(trained, 1)
    assert export(trained, "--to", "int8", "--data", str(data)) == 0
    assert described("tiny.int8.tflite.json")["fitted_to"] == {"recordings": 1, "judged_too": 1}
    assert "int8 was fitted to 1 of these recordings, as there are no others" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "onnx", "--out", "no/such/x.onnx"], "there is no folder no/such to write x.onnx"),
        (["--to", "onnx", "--data", "nowhere.csv"], "nowhere.csv: there is no such file"),
    ],
)
def test_what_cannot_be_is_one_line_and_status_1(
    trained: Trained, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(trained, *arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ser: ")
    assert message in line


@pytest.mark.parametrize(
    ("target", "out", "message"),
    [
        ("onnx", "taken", "taken is a folder: name another file with --out"),
        ("onnx", "x.onnx", "x.onnx.json is a folder: name another file with --out"),
        ("h5", "x.keras", "x.keras is no name for an h5: Keras writes one where it ends in .h5"),
        ("onnx", "x" * 300, f"{'x' * 300} cannot be written: File name too long"),
    ],
)
def test_a_place_that_will_not_do_is_refused_before_the_work(
    trained: Trained,
    target: str,
    out: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("taken").mkdir()
    Path("x.onnx.json").mkdir()
    monkeypatch.setattr(export_command, "load_keras", pytest.fail)
    assert export(trained, "--to", target, "--out", out) == 1
    assert capsys.readouterr().err == f"ser: {message}\n"
    assert sorted(path.name for path in Path().iterdir()) == ["taken", "x.onnx.json"]


def test_a_disk_that_takes_no_file_is_one_line(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        assert export(trained, "--to", "tflite", "--clips", "2") == 1
    assert capsys.readouterr().err.endswith(
        "ser: tiny.tflite cannot be written: No space left on device\n"
    )
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        assert export(trained, "--to", "tflite", "--clips", "2", "--out", "there.tflite") == 1
    assert "ser: there.tflite.json cannot be written: No space" in capsys.readouterr().err


def test_an_unknown_target_names_those_there_are(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        export(trained, "--to", "coreml")
    error = capsys.readouterr().err
    assert "coreml" in error
    assert all(target in error for target in export_command.TARGETS)


def test_labels_that_the_model_has_not_are_no_recordings(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained.manifest.parent
    rows = [
        row | {"path": str(folder / row["path"]), "label": "boredom"}
        for row in read_rows(trained.manifest)
    ]
    write_manifest(tmp_path / "bored.csv", rows)
    assert export(trained, "--to", "onnx", "--data", "bored.csv") == 1
    assert "no utterances with a label that tiny knows: angry" in capsys.readouterr().err


def test_a_file_that_answers_otherwise_is_not_kept(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export_command, "TOLERANCE", -1.0)
    assert export(trained, "--to", "tflite") == 1
    assert "tiny.tflite answers otherwise than Keras" in capsys.readouterr().err
    assert not [*Path().iterdir()]
