"""From labelled recordings to a bundle: what `ser train` writes."""

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from ser_core import Recognizer
from ser_core.bundle import Bundle, sha256
from ser_core.cli import main
from ser_core.lab import build, plots, training
from ser_core.lab.build import Fitted, plot_curves
from ser_core.lab.corpora import Utterance, read
from ser_core.lab.evaluation import hear_all, scores
from ser_core.lab.presets import PRESETS, preset
from ser_core.lab.splits import Split
from tests.ser_core.conftest import Trained
from tests.ser_core.lab.test_evaluation import outcome
from tests.ser_core.lab.test_presets import SMALL

PNG = b"\x89PNG\r\n\x1a\n"


def test_the_folder_holds_the_bundle_and_nothing_else(trained: Trained) -> None:
    assert sorted(path.name for path in trained.bundle.iterdir()) == [
        "MODEL_CARD.md", "bundle.json", "model.int8.tflite", "model.keras", "model.tflite",
        "training.png",
    ]  # fmt: skip


def test_bundle_json_says_what_was_made_of_what(trained: Trained) -> None:
    info = json.loads((trained.bundle / "bundle.json").read_text("utf-8"))
    assert (info["name"], info["version"], info["preset"]) == ("tiny", "1.0.0", "residual-cnn")
    assert info["emotions"] == [
        "angry", "disgust", "fear", "happy", "neutral", "sad", "surprise",
    ]  # fmt: skip
    assert (info["sampling_rate"], info["window"], info["hop"]) == (16_000, 3.0, 1.5)
    assert info["corpora"] == {"a": 18, "b": 12}
    assert info["speakers"] == ["a/a1", "a/a2", "a/a3", "b/b1", "b/b2"]
    assert info["judged_by"] == {"valid": ["a/a4", "b/b3"], "test": ["b/b4"]}
    assert info["command"] == "ser " + " ".join(trained.command)
    assert info["serve"] in ("model.tflite", "model.int8.tflite")
    assert info["agreement_with_keras"]["model.tflite"] < 1e-4
    assert 0.3 <= info["temperature"] <= 4
    assert 0 < info["threshold"] < 1
    assert info["artefacts"] == {
        name: sha256(trained.bundle / name)
        for name in ("model.tflite", "model.int8.tflite", "model.keras")
    }


def test_the_figures_in_the_bundle_are_those_its_files_give(
    trained: Trained, tiny: Recognizer
) -> None:
    utterances = read(trained.manifest).utterances
    for split, count in (("valid", 12), ("test", 6)):
        outcome = hear_all(tiny, [u for u in utterances if u.split == split])
        result = scores(outcome, tiny.bundle.temperature)
        figures = tiny.bundle.info["metrics"][split]
        assert figures["n"] == result["n"] == count
        assert figures["uar"] == pytest.approx(result["uar"])
        assert figures["recall"] == pytest.approx(result["recall"])
        assert figures["protocol"] == (
            "exported model, speakers never heard, no reference recordings"
        )
        confidence = outcome.probabilities(tiny.bundle.temperature).max(axis=1)
        certain = (confidence >= tiny.bundle.threshold).mean()
        assert figures["coverage"] == pytest.approx(certain)
    assert tiny.bundle.info["metrics"]["valid"]["coverage"] >= 0.4


def test_what_is_served_is_the_smaller_file_unless_it_is_worse(tiny: Recognizer) -> None:
    uars = tiny.bundle.info["metrics"]["valid"]["uar_by_artefact"]
    int8_will_do = uars["model.int8.tflite"] >= uars["model.tflite"] - 0.005
    assert tiny.bundle.info["serve"] == ("model.int8.tflite" if int8_will_do else "model.tflite")


def test_what_was_learnt_carries_over_to_a_voice_never_heard(trained: Trained) -> None:
    figures = Bundle.load(trained.bundle).info["metrics"]["test"]
    assert figures["uar"] > 1 / 3


def test_learning_curves_are_a_picture(trained: Trained) -> None:
    assert (trained.bundle / "training.png").read_bytes().startswith(PNG)


def spoken_by(speaker: str) -> Utterance:
    return Utterance(Path("a.wav"), "sad", speaker, corpus="a")


def test_curves_say_what_was_held_out_and_where_the_last_epochs_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []
    draw = plots.learning_curves
    monkeypatch.setattr(plots, "learning_curves", lambda *a: (asked.append(a[1:]), draw(*a))[1])
    history = [{"loss": 2 - 0.1 * e, "uar": 0.1 * e, "a": 0.2, "": 0.3} for e in range(5)]
    spectral, classic = preset("residual-cnn"), preset("ann-193")
    for heard, design in (("1", spectral), ("2", classic)):
        split = Split([spoken_by("1")], [spoken_by(heard)], [])
        plot_curves(Fitted(None, history, split), design, tmp_path / "curves.png")
    assert asked == [("Recordings", spectral.schedule.first_finishing), ("Speakers", None)]
    content = (tmp_path / "curves.png").read_bytes()
    assert content.startswith(PNG)
    width, height = np.frombuffer(content[16:24], ">u4")
    assert (width, height) == (1200, 480)


def test_networks_fitted_on_an_accelerator_wait_for_tensorflow(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PRESETS, "small", replace(SMALL, relative=False))
    command = [
        "train", "--data", str(trained.manifest), "--preset", "small",
        "--epochs", "1", "--clips", "64", "--out", "made",
    ]  # fmt: skip
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(keras.backend, "backend", lambda: "jax")
        elsewhere.setattr(build, "_accelerated", lambda: training.fit)
        assert main(command) == 0
        assert "--resume and without KERAS_BACKEND goes on" in capsys.readouterr().out
        assert not Path("made/bundle.json").exists()
        assert main([*command[:3], "--preset", "ann-193", "--out", "other"]) == 1
        assert "ann-193 is fitted with TensorFlow alone" in capsys.readouterr().err
    monkeypatch.setattr(keras.Model, "fit", None)  # nothing is left to fit
    assert main([*command, "--resume"]) == 0
    assert Bundle.load(Path("made")).info["preset"] == "small"


def test_the_figures_of_a_bundle_are_by_corpus_and_by_sex() -> None:
    judged = outcome("xy", [0, 1], [0, 0])
    judged.utterances[0] = replace(judged.utterances[0], sex="F")
    info = {"temperature": 1.0, "threshold": 0.5}
    figures = build.summary(judged, info, "speakers never heard")
    assert figures["corpora"]["y"] == {"n": 1, "accuracy": 0.0, "uar": 0.0}
    assert figures["sexes"] == {"female": {"n": 1, "accuracy": 1.0, "uar": 1.0}}
