"""Each design as its users meet it: trained by name, exported, loaded, and posted to."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from api import Settings, create_app
from api.models import Models
from ser_core import Recognizer
from ser_core.cli import main
from ser_core.lab.classics import CLASSICS
from ser_core.lab.presets import preset
from tests.acting import SPEAKERS, act, write_manifest
from tests.sounds import encode

DESIGNS = (*CLASSICS, "logmel-cnn2d", "crnn")
FEW = {"a1": ("train", "F"), "a2": ("train", "M"), "a4": ("valid", "F"), "b4": ("test", "M")}


def write_few(folder: Path, sexes: bool = True, emotions: Sequence[str] = ("angry", "sad")) -> Path:
    """One utterance of each emotion by each of a few speakers; returns the manifest."""
    rows = []
    for speaker, (split, sex) in FEW.items():
        for emotion in emotions:
            path = folder / f"{speaker}_{emotion}.wav"
            path.write_bytes(encode(act(speaker, emotion, 0.8)))
            row = {"path": path.name, "label": emotion, "speaker": speaker, "split": split}
            rows.append({**row, "corpus": "made", "sex": sex if sexes else ""})
    return write_manifest(folder / "manifest.csv", rows)


def test_the_speakers_are_those_of_the_made_up_corpus() -> None:
    assert set(FEW) <= set(SPEAKERS)


def test_what_was_searched_and_changed_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", "--data", str(write_few(tmp_path)), "--preset", "mlp-193", "--epochs", "1"]
    assert main([*command, "--search", "--augment", "noise:20,gain", "--out", "bundle"]) == 0
    info = Recognizer.load(tmp_path / "bundle").bundle.info
    assert info["augmentation"] == ["noise:20", "gain"]
    tried = {(tuple(trial["hidden"]), trial["alpha"]) for trial in info["search"]}
    assert len(tried) == len(info["search"]) == 4
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "   UAR  epochs  hidden  alpha"
    assert float(table[1].split()[0]) == pytest.approx(info["search"][0]["uar"], abs=1e-3)


@pytest.mark.parametrize("name", DESIGNS)
def test_a_design_is_trained_exported_loaded_and_answers_over_http(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    design = preset(name)
    command = ["train", "--data", str(write_few(tmp_path)), "--preset", name, "--epochs", "1"]
    if name not in CLASSICS:
        command += ["--clips", "64"]
    assert main([*command, "--out", "bundle"]) == 0

    recognizer = Recognizer.load(tmp_path / "bundle")
    bundle = recognizer.bundle
    assert bundle.emotions == design.emotions
    assert (bundle.sampling_rate, bundle.window) == (design.sampling_rate, design.window)
    assert bundle.info["preset"] == name
    assert bundle.info["agreement_with_keras"]["model.tflite"] < 1e-3
    assert bundle.info["corpora"] == {"made": 4}

    client = create_app(Settings(), Models([recognizer])).test_client()
    recording = encode(act("b4", "angry", 3.6))
    answer = client.post("/predict?timeline=true", data=recording, content_type="audio/wav")
    assert answer.status_code == 200
    heard = answer.get_json()
    assert heard["duration"] == 3.6
    assert set(heard["probabilities"]) == set(design.emotions)
    assert sum(heard["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    # What is longer than a window is heard in several.
    assert heard["segments"][0]["end"] <= design.window + 0.1
    assert len(heard["segments"]) == 2
