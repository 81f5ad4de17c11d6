"""The bundle that ships, on real recordings of speakers it never heard."""

import contextlib
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser_core import Recognizer, audio
from ser_core.cli import main
from ser_core.emotions import EMOTIONS_7
from tests.acting import read_rows, write_manifest
from tests.sounds import voice

CORPORA = ("ravdess", "emodb")


@pytest.fixture(scope="module")
def default() -> Recognizer:
    return Recognizer.load()


def test_a_model_whose_file_is_written_over_goes_on_as_it_was(
    default: Recognizer, tmp_path: Path
) -> None:
    folder = shutil.copytree(default.bundle.path, tmp_path / "default")
    recognizer = Recognizer.load(folder)
    file = recognizer.bundle.model
    file.write_bytes(bytes(file.stat().st_size))
    assert recognizer.predict(voice(3.0), 16_000) == default.predict(voice(3.0), 16_000)


@pytest.fixture(scope="module")
def rows(ser_data: Path) -> list[dict[str, str]]:
    """The test speakers of two corpora, with absolute paths."""
    return [
        row | {"path": str(ser_data / row["path"])}
        for row in read_rows(ser_data / "manifest.csv")
        if row["split"] == "test" and row["corpus"] in CORPORA
    ]


@pytest.fixture(scope="module")
def evaluated(
    rows: Sequence[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What `ser evaluate` says of them."""
    manifest = write_manifest(tmp_path_factory.mktemp("test") / "test.csv", rows)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main(["evaluate", "default", "--data", str(manifest), "--json"]) == 0
    result: dict[str, Any] = json.loads(output.getvalue())
    return result


def test_the_default_knows_seven_emotions_in_their_order(default: Recognizer) -> None:
    assert default.bundle.name == "default"
    assert default.bundle.emotions == EMOTIONS_7
    assert (default.bundle.sampling_rate, default.bundle.window) == (16_000, 3.0)
    assert default.bundle.info["parameters"] <= 2_000_000


def test_it_was_trained_on_none_of_the_speakers_it_is_tested_on(
    default: Recognizer, ser_data: Path
) -> None:
    trained_on = set(default.bundle.info["speakers"])
    held_out = {
        f"{row['corpus']}/{row['speaker']}"
        for row in read_rows(ser_data / "manifest.csv")
        if row["split"] == "test"
    }
    assert trained_on
    assert held_out == set(default.bundle.info["judged_by"]["test"])
    assert trained_on & held_out == set()


def test_its_figures_are_those_that_its_card_claims(
    default: Recognizer, evaluated: dict[str, Any]
) -> None:
    claimed = default.bundle.info["metrics"]["test"]["corpora"]
    for corpus in CORPORA:
        got = evaluated["corpora"][corpus]
        assert got["n"] == claimed[corpus]["n"]
        assert got["uar"] == pytest.approx(claimed[corpus]["uar"], abs=0.02)
        assert f"| {corpus} | {got['n']} | {claimed[corpus]['accuracy']:.3f} |" in (
            default.bundle.card
        )


def test_it_hears_unknown_actors_far_better_than_chance(evaluated: dict[str, Any]) -> None:
    for corpus in CORPORA:
        assert evaluated["corpora"][corpus]["uar"] > 0.5
        assert set(evaluated["corpora"][corpus]["recall"]) >= {"angry", "happy", "neutral", "sad"}


@pytest.mark.parametrize("decibels", [-20, 20])
def test_the_level_of_a_real_recording_does_not_count(
    default: Recognizer, rows: Sequence[dict[str, str]], decibels: float
) -> None:
    for row in rows[::30]:
        signal = audio.load(row["path"])
        plain = default.predict(signal, 16_000).probabilities
        louder = default.predict(signal * np.float32(10 ** (decibels / 20)), 16_000).probabilities
        assert [*louder.values()] == pytest.approx([*plain.values()], abs=0.03)


def test_silence_around_real_recordings_changes_little(
    default: Recognizer, rows: Sequence[dict[str, str]]
) -> None:
    quiet = np.zeros(16_000, np.float32)
    changes = []
    for row in rows[::10]:
        signal = audio.load(row["path"])
        plain = default.predict(signal, 16_000)
        around = default.predict(np.concatenate([quiet, signal, quiet]), 16_000)
        assert around.duration == pytest.approx(plain.duration + 2)
        pairs = zip(plain.probabilities.values(), around.probabilities.values(), strict=True)
        changes.append(max(abs(one - other) for one, other in pairs))
    assert np.mean(changes) < 0.1


def test_both_exported_files_answer_as_the_keras_model_does(
    default: Recognizer, rows: Sequence[dict[str, str]]
) -> None:
    from ser_core.lab.export import agreement, load_keras

    folder = default.bundle.path
    signals = [audio.load(row["path"])[16_000:] for row in rows[::40]]
    keras_model = load_keras(folder / "model.keras")
    assert agreement(keras_model, folder / "model.tflite", signals) < 1e-4
    assert agreement(keras_model, folder / "model.int8.tflite", signals) < 0.1
