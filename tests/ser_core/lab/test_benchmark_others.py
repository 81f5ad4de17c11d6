"""Cells of models that begin with a shipped bundle, and of several that answer together."""

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


def planned(name: str, *presets: Any, seeds: int = 1, together: bool = False) -> list[Training]:
    wanted = [protocol(name)]
    return trainings(RAVDESS, wanted, presets or [DEFAULT], seeds, "data", together=together)


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


def test_models_of_two_protocols_answer_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned("ravdess-5x4-together", seeds=2, together=True)
    assert [[member.name for member in each.members] for each in plan[5:11:5]] == [
        [
            "ravdess-5x4 fold 1/5, relative-cnn, seed 1",
            "ravdess-5x4-from-open fold 1/5, relative-cnn, seed 1",
        ],
        [
            "ravdess-5x4-together fold 1/5, relative-cnn, seed 0",
            "ravdess-5x4-together fold 1/5, relative-cnn, seed 1",
        ],
    ]
    for each in plan:
        assert all(member.split.test == each.split.test for member in each.members)
    made: list[tuple[list[Path], Path, str]] = []

    def writing(bundles: list[Path], out: Path, *, command: str, **_: Any) -> None:
        made.append((bundles, out, command))
        out.mkdir(parents=True)
        (out / INFO).touch()

    def training(_: Split, order: Order, __: bool) -> None:
        order.out.mkdir(parents=True)
        (order.out / INFO).touch()

    class Loaded:
        emotions, sampling_rate = plan[0].preset.emotions, 16_000

        def __init__(self, folder: str) -> None:
            self.folder = Path(folder).parent

    monkeypatch.setattr(benchmark, "train_on", training)
    monkeypatch.setattr(benchmark, "members_of", lambda names: [Loaded(name) for name in names])
    monkeypatch.setattr(benchmark, "usable", lambda *_: [])
    monkeypatch.setattr(benchmark, "write_ensemble", writing)
    monkeypatch.setattr(benchmark.Recognizer, "load", lambda _: None)
    monkeypatch.setattr(benchmark, "_judged", lambda *_: [])
    both = plan[10]
    run(both, Results(tmp_path / "results"))
    # Those of each seed are made first, of models that are trained first, and then those of both.
    assert [out.parent.name for _, out, _ in made] == [
        each.folder.name for each in (*both.members, both)
    ]
    for (bundles, _, _), each in zip(made, (*both.members, both), strict=True):
        folders = [bundle.folder for bundle in bundles]  # type: ignore[attr-defined]
        assert folders == [member.folder.resolve() for member in each.members]
    command = "ser benchmark --protocol ravdess-5x4-together --preset relative-cnn"
    assert [said for *_, said in made] == [command, command, f"{command} --seeds 2 --together"]


def test_answers_of_other_members_are_of_another_design(monkeypatch: pytest.MonkeyPatch) -> None:
    both = planned("ravdess-5x4-together")[0]
    assert both.design != both.members[0].design
    alone = replace(protocol("ravdess-5x4-together"), members=("ravdess-5x4",))
    monkeypatch.setitem(PROTOCOLS, alone.name, alone)
    assert planned(alone.name)[0].design != both.design


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
