"""Cells of models that begin with a shipped bundle."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ser_core.bundle import INFO, Bundle, sha256
from ser_core.cli import main
from ser_core.lab import benchmark
from ser_core.lab.benchmark import Training, run, trainings
from ser_core.lab.benchmark_results import Results
from ser_core.lab.build import Order
from ser_core.lab.corpora import Utterance
from ser_core.lab.presets import DEFAULT, DISTILLED
from ser_core.lab.protocols import PROTOCOLS, protocol
from ser_core.lab.splits import Split
from ser_core.lab.training import TrainingError

RAVDESS = [
    Utterance(Path(f"{actor}-{emotion}.wav"), emotion, f"ravdess_{actor:02}", sex, "ravdess")
    for actor in range(1, 21)
    for sex in ("M" if actor % 2 else "F",)
    for emotion in ("angry", "sad")
]


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are made under the working folder."""
    monkeypatch.chdir(tmp_path)


def planned(name: str, *presets: Any) -> list[Training]:
    return trainings(RAVDESS, [protocol(name)], presets or [DEFAULT], 1, "data")


def from_a_copy(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Training:
    """The first fold, where it begins with `open`, but for these changes of its bundle.json."""
    shutil.copytree(Bundle.load("open").path, folder)
    info = json.loads((folder / INFO).read_text())
    (folder / INFO).write_text(json.dumps(info | changes))
    beginning(str(folder), monkeypatch)
    return planned("ravdess-5x4-from-open")[0]


def beginning(bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol begins with this bundle in place of `open`."""
    other = replace(protocol("ravdess-5x4-from-open"), begin=bundle)
    monkeypatch.setitem(PROTOCOLS, other.name, other)


def test_every_fold_begins_with_the_shipped_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[tuple[Split, Order]] = []

    def recording(split: Split, order: Order, _: bool) -> None:
        orders.append((split, order))
        raise TrainingError("that is enough")

    monkeypatch.setattr(benchmark, "train_on", recording)
    plan = planned("ravdess-5x4-from-open", DISTILLED)
    assert [each.epochs for each in plan] == [12] * 5
    for each in plan:
        with pytest.raises(TrainingError, match="that is enough"):
            run(each, Results(tmp_path / "results"))
    for split, order in orders:
        assert order.init == "open"
        assert order.preset.schedule.epochs == 12
        # It has learnt from its teachers already.
        assert order.preset.teachers == 0
        assert split.test == []


def test_a_bundle_that_heard_who_is_tested_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = ["ravdess/ravdess_01"]
    training = from_a_copy(tmp_path / "knows", monkeypatch, speakers=heard)
    wrong = r"knows was trained on 1 of these speakers \(ravdess/ravdess_01\), who are tested here"
    with pytest.raises(TrainingError, match=wrong):
        run(training, Results(tmp_path / "results"))


def test_another_network_to_begin_with_is_another_design(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = planned("ravdess-5x4-from-open")[0]
    copied = from_a_copy(tmp_path / "copy", monkeypatch, version="9.9.9")
    assert copied.design == shipped.design
    keras = tmp_path / "copy" / "model.keras"
    with keras.open("ab") as file:
        file.write(b"more")
    info = json.loads((tmp_path / "copy" / INFO).read_text())
    info["artefacts"][keras.name] = sha256(keras)
    (tmp_path / "copy" / INFO).write_text(json.dumps(info))
    assert copied.design != shipped.design


def test_a_bundle_to_begin_with_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    beginning("nowhere", monkeypatch)
    rows = [f"{u.path},{u.emotion},{u.speaker},{u.sex},{u.corpus}" for u in RAVDESS]
    (tmp_path / "mine.csv").write_text("\n".join(["path,label,speaker,sex,corpus", *rows]))
    for utterance in RAVDESS:
        (tmp_path / utterance.path).touch()
    cell = ["--protocol", "ravdess-5x4-from-open", "--preset", "relative-cnn"]
    assert main(["benchmark", "--data", "mine.csv", *cell]) == 1
    said = capsys.readouterr()
    assert "'nowhere'" in said.err
    assert said.out == ""
