"""`ser benchmark`: cells are trained, judged as users would meet them, kept and not done twice."""

import argparse
import csv
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser_core.bundle import Bundle
from ser_core.cli import main
from ser_core.lab import benchmark
from ser_core.lab.benchmark import Training, run, scored, speakers_heard, trainings
from ser_core.lab.benchmark_command import UnknownSetting, changed
from ser_core.lab.benchmark_results import Results, held
from ser_core.lab.build import NetworksFitted, Order, train_on
from ser_core.lab.checkpoint import CheckpointError
from ser_core.lab.corpora import Utterance, read
from ser_core.lab.evaluation import Outcome
from ser_core.lab.presets import PRESETS
from ser_core.lab.protocols import protocol
from ser_core.lab.splits import Split, SplitError
from ser_core.lab.training import TrainingError
from ser_core.prediction import Heard
from tests.acting import act, write_manifest
from tests.ser_core.lab.test_presets import SMALL
from tests.sounds import encode

QUICK = replace(SMALL.schedule, epochs=1, clips=64, relative_steps=20)
RELATIVE = replace(SMALL, schedule=QUICK)
PLAIN = replace(RELATIVE, name="plain", relative=False)


@pytest.fixture(scope="module")
def ravdess(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of twenty made-up actors, who say everything twice."""
    folder = tmp_path_factory.mktemp("ravdess")
    rows = []
    for actor in range(1, 21):
        for emotion in ("angry", "neutral", "sad"):
            for take in range(2):
                path = folder / f"{actor}_{emotion}_{take}.wav"
                path.write_bytes(encode(act("a1", emotion, 0.5, seed=2 * actor + take)))
                rows.append(
                    {
                        "path": path.name,
                        "label": emotion,
                        "speaker": f"ravdess_{actor:02}",
                        "sex": "M" if actor % 2 else "F",
                        "corpus": "ravdess",
                    }
                )
    return write_manifest(folder / "manifest.csv", rows)


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Features, models and results are made under the working folder."""
    monkeypatch.chdir(tmp_path)
    for preset in (PLAIN, RELATIVE):
        monkeypatch.setitem(PRESETS, preset.name, preset)
    return tmp_path


def ser_benchmark(ravdess: Path, *arguments: str) -> int:
    return main(["benchmark", "--data", str(ravdess), "--results", "results", *arguments])


def first_fold(ravdess: Path, preset: Any = PLAIN, **changes: Any) -> Training:
    """The first of the five folds by actor."""
    five = replace(protocol("ravdess-5x4"), **changes)
    plan = trainings(read(ravdess).utterances, [five], [preset], 1, "data")
    assert [each.name for each in plan] == [
        f"ravdess-5x4 fold {fold}/5, {preset.name}, seed 0" for fold in range(1, 6)
    ]
    return plan[0]


def test_a_fold_is_judged_with_and_without_references(ravdess: Path, tmp_path: Path) -> None:
    training, results = first_fold(ravdess, RELATIVE, references=(0, 3)), Results(tmp_path)
    rows = run(training, results)
    assert rows == results.rows()
    assert [(row.protocol, row.fold, row.folds) for row in rows] == [("ravdess-5x4", 1, 5)] * 2
    assert [row.references for row in rows] == [0, 3]
    bundle = Bundle.load((training.folder / "bundle").resolve())
    tested = {f"ravdess/ravdess_{actor:02}" for actor in (1, 2, 11, 12)}
    # 14 actors taught the network, and the two by whom it was chosen its heads.
    assert len(bundle.info["speakers"]) == 16
    assert tested.isdisjoint(bundle.info["speakers"])
    # Nothing that was tested on was in reach of who wrote the bundle.
    assert [*bundle.info["metrics"]] == ["valid"]
    assert len(bundle.emotions) == 8
    for row in rows:
        assert (row.n, row.seed, row.epochs, row.speakers_heard) == (24, 0, 1, "no")
        assert (row.parameters, row.bytes) == (
            bundle.info["parameters"],
            bundle.model.stat().st_size,
        )
        assert 0 <= row.uar <= 1
        assert row.accuracy == pytest.approx(row.uar, abs=1e-4)  # as many of each emotion
        assert 0 <= row.ece <= 1
        assert row.milliseconds > 0
        assert row.seconds is not None
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row.date)
    # A count of references that comes later needs no training.
    more = replace(training, protocol=replace(training.protocol, references=(0, 3, 10)))
    (later,) = run(more, results)
    assert (later.references, later.seconds) == (10, rows[0].seconds)
    assert run(more, results) == []


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The first training is stopped after an epoch; whether each training was to go on."""
    asked: list[bool] = []

    def stopping(split: Split, order: Order, progress: bool) -> Any:
        asked.append(order.resume)
        if len(asked) == 1:
            (order.out / "work" / "epoch-0001").mkdir(parents=True)
            raise KeyboardInterrupt
        return train_on(split, replace(order, resume=False), progress)

    monkeypatch.setattr(benchmark, "train_on", stopping)
    return asked


def test_the_command_finishes_what_is_missing_and_prints_the_table(
    ravdess: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stopped: list[bool],
) -> None:
    document = tmp_path / "page.md"
    document.write_text("Before\n<!-- benchmark -->\nold\n<!-- /benchmark -->\nafter\n")
    cell = ("--protocol", "ravdess-random", "--preset", "plain")
    assert ser_benchmark(ravdess, *cell) == 130
    assert Results(tmp_path / "results").rows() == []
    capsys.readouterr()
    assert ser_benchmark(ravdess, *cell, "--into", "page.md") == 0
    assert stopped == [False, True]
    said, _, table = capsys.readouterr().out.partition("\n")
    (row,) = Results(tmp_path / "results").rows()
    assert said.startswith(
        f"[1/1] ravdess-random, plain, seed 0, no references: UAR {row.uar:.3f}, accuracy "
    )
    # Nobody knows how long the first part of the training took.
    assert (row.n, row.speakers_heard, row.seconds) == (36, "yes", None)
    assert f"| ravdess-random | yes | `plain` | 0 | {row.uar:.3f}"[:-6] in table
    assert (tmp_path / "results/table.md").read_text() == table
    assert document.read_text() == (
        f"Before\n<!-- benchmark -->\n{table}<!-- /benchmark -->\nafter\n"
    )
    with (tmp_path / "results/table.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert (line["protocol"], float(line["uar"])) == ("ravdess-random", row.uar)

    def never(*_: Any) -> None:
        raise AssertionError("a finished cell was trained once more")

    monkeypatch.setattr(benchmark, "train_on", never)
    assert ser_benchmark(ravdess, *cell) == 0
    assert capsys.readouterr().out == f"[1/1] ravdess-random, plain, seed 0: finished\n{table}"
    assert main(["benchmark", "--table", "--results", "results"]) == 0
    assert capsys.readouterr().out == table


def seeds_together(ravdess: Path, name: str = "ravdess-5x4") -> list[Training]:
    """All trainings of two seeds, and those that are made of both."""
    utterances = read(ravdess).utterances
    return trainings(utterances, [protocol(name)], [PLAIN], 2, "data", together=True)


def test_models_of_all_seeds_answer_together(
    ravdess: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = seeds_together(ravdess)
    assert [len(each.members) for each in plan] == [0] * 10 + [2] * 5
    both, first, second = plan[10], plan[0], plan[5]
    assert both.members == (first, second)
    assert [each.seed for each in both.members] == [0, 1]
    orders: list[Order] = []

    def recording(split: Split, order: Order, progress: bool) -> Any:
        orders.append(order)
        return train_on(split, order, progress)

    monkeypatch.setattr(benchmark, "train_on", recording)
    results = Results(tmp_path)
    run(first, results)
    (row,) = run(both, results)
    # What was trained before is not trained again, and the ensemble not at all.
    assert [order.seed for order in orders] == [0, 1]
    assert (row.preset, row.seed, row.fold, row.n, row.speakers_heard) == (
        "plain-x2",
        0,
        1,
        24,
        "no",
    )
    assert row.key not in {first.key(0), second.key(0)}
    bundle = Bundle.load((both.folder / "bundle").resolve())
    assert bundle.info["members"] == ["plain 1.0.0", "plain 1.0.0"]
    assert bundle.info["command"].endswith(
        "--protocol ravdess-5x4 --preset plain --seeds 2 --together"
    )
    assert row.parameters == 2 * Bundle.load((first.folder / "bundle").resolve()).info["parameters"]
    # The other seed's own cell is not finished by that.
    assert [each.seed for each in Results(tmp_path).rows()] == [0, 0]
    assert run(both, results) == []
    # A member that was trained anew since is heard, and so is a bundle that is gone.
    rewritten = []
    monkeypatch.setattr(benchmark, "write_ensemble", lambda *a, **_: rewritten.append(a[1]))
    monkeypatch.setattr(benchmark, "_judged", lambda *_: [])
    monkeypatch.setattr(benchmark.Recognizer, "load", lambda _: None)
    run(both, Results(tmp_path / "elsewhere"))
    assert rewritten == [both.folder / "bundle"]


def test_an_ensemble_waits_for_its_members(ravdess: Path, tmp_path: Path) -> None:
    both = seeds_together(ravdess)[10]
    with (
        held(both.members[0].folder.with_suffix(".lock")),
        pytest.raises(TrainingError, match="fold 1/5, plain, seed 0 is being trained"),
    ):
        run(both, Results(tmp_path))


def test_seeds_that_test_other_recordings_do_not_answer_together(ravdess: Path) -> None:
    with pytest.raises(SplitError, match="ravdess-random tests other recordings with another seed"):
        seeds_together(ravdess, "ravdess-random")


def test_one_seed_has_nobody_to_answer_with(
    ravdess: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = ("--protocol", "ravdess-5x4", "--preset", "plain", "--together")
    assert ser_benchmark(ravdess, *cell) == 1
    assert capsys.readouterr().err == "ser: --together needs --seeds 2 or more\n"


def after_others(ravdess: Path, preset: Any) -> Training:
    """The first fold of a model that goes on with one corpus after many."""
    other = Utterance(Path("other.wav"), "angry", "someone", "F", "emodb")
    utterances = [*read(ravdess).utterances, other]
    return trainings(utterances, [protocol("ravdess-5x4-after-others")], [preset], 1, "data")[0]


def test_a_model_goes_on_from_the_one_that_heard_the_others(
    ravdess: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[tuple[Split, Order]] = []

    def recording(split: Split, order: Order, _: bool) -> None:
        orders.append((split, order))
        if order.init:
            raise TrainingError("that is enough")
        order.out.mkdir(parents=True)
        (order.out / "bundle.json").touch()

    monkeypatch.setattr(benchmark, "train_on", recording)
    training = after_others(ravdess, PLAIN)
    assert training.epochs == 13
    for _ in range(2):
        with pytest.raises(TrainingError, match="that is enough"):
            run(training, Results(tmp_path))
    # What was trained before is there the second time.
    (many, first), (alone, then), _ = orders
    assert {u.corpus for u in many.train} == {"ravdess", "emodb"}
    assert {u.corpus for u in alone.train} == {"ravdess"}
    assert alone.valid == many.valid
    assert alone.test == many.test == []
    assert (first.preset.schedule.epochs, first.init) == (1, "")
    assert then.preset.schedule.epochs == 12
    assert then.preset.schedule.clips == first.preset.schedule.clips
    assert Path(then.init) == first.out.resolve()
    assert "with-others" in then.init


def test_a_seed_goes_on_from_the_model_that_kept_the_same_actors_away(ravdess: Path) -> None:
    other = Utterance(Path("other.wav"), "angry", "someone", "F", "emodb")
    utterances = [*read(ravdess).utterances, other]
    wanted = [protocol("ravdess-5x4-after-others")]
    plan = trainings(utterances, wanted, [PLAIN], 2, "data")
    assert [each.first.seed for each in plan if each.first] == [0] * 5 + [1] * 5
    for each in plan:
        assert each.first is not None
        assert each.first.split.valid == each.split.valid


def test_all_folds_go_on_from_one_model_where_there_is_one(
    ravdess: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [Utterance(Path("other.wav"), "angry", who, "F", "emodb") for who in ("one", "two")]
    utterances = [*read(ravdess).utterances, *others]
    taught = replace(PLAIN, teachers=2)
    plan = trainings(utterances, [protocol("ravdess-5x4-from-others")], [taught], 1, "data")
    assert len(plan) == 5
    firsts = {each.first.folder for each in plan if each.first is not None}
    assert [folder.name[:11] for folder in firsts] == ["ravdess-out"]
    orders: list[Order] = []

    def recording(split: Split, order: Order, _: bool) -> None:
        orders.append(order)
        if order.init:
            raise TrainingError("that is enough")
        order.out.mkdir(parents=True)
        (order.out / "bundle.json").touch()

    monkeypatch.setattr(benchmark, "train_on", recording)
    for each in plan[:2]:
        with pytest.raises(TrainingError, match="that is enough"):
            run(each, Results(tmp_path))
    # The first learns from its teachers, and who goes on from it has done so already.
    assert [order.preset.teachers for order in orders] == [2, 0, 0]
    assert [Path(order.init) for order in orders[1:]] == [orders[0].out.resolve()] * 2


def test_a_model_waits_for_the_one_that_it_goes_on_from(ravdess: Path, tmp_path: Path) -> None:
    training = after_others(ravdess, PLAIN)
    assert training.first is not None
    with (
        held(training.first.folder.with_suffix(".lock")),
        pytest.raises(TrainingError, match="with-others fold 1/5, plain, seed 0 is being trained"),
    ):
        run(training, Results(tmp_path))


def test_a_classic_design_cannot_go_on_from_a_model(ravdess: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nimble-cnn cannot go on from a model"):
        run(after_others(ravdess, PRESETS["nimble-cnn"]), Results(tmp_path))


def test_a_cell_that_another_process_is_at_is_left_to_it(ravdess: Path, tmp_path: Path) -> None:
    training = first_fold(ravdess)
    with held(training.folder.with_suffix(".lock")) as mine:
        assert mine
        assert run(training, Results(tmp_path)) == []


def test_a_cell_whose_networks_wait_for_tensorflow_is_not_judged_yet(
    ravdess: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fitted(*_: Any) -> float:
        raise NetworksFitted(tmp_path)

    monkeypatch.setattr(benchmark, "_trained", fitted)
    assert run(first_fold(ravdess), Results(tmp_path)) == []


def test_a_training_that_fails_is_told_and_the_next_one_begins(
    ravdess: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    faults = [TrainingError("the loss is nan in epoch 1"), ZeroDivisionError("a fault of ours")]

    def failing(*_: Any) -> None:
        raise faults.pop(0)

    monkeypatch.setattr(benchmark, "train_on", failing)
    cells = ("--protocol", "ravdess-random", "--preset", "plain", "small", "plain")
    assert ser_benchmark(ravdess, *cells) == 1
    assert capsys.readouterr().out == (
        "[1/2] ravdess-random, plain, seed 0: FAILED: the loss is nan in epoch 1\n"
        "[2/2] ravdess-random, small, seed 0: FAILED: ZeroDivisionError: a fault of ours\n"
        "No cell is finished.\n"
    )
    # What nobody expected is shown whole.
    assert [bool(record.exc_info) for record in caplog.records if record.levelname == "ERROR"] == [
        True
    ]


def test_a_checkpoint_of_another_training_is_not_gone_on_with(
    ravdess: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = first_fold(ravdess)
    work = training.folder / "bundle/work"
    (work / "epoch-0001").mkdir(parents=True)

    def another(_: Split, order: Order, __: bool) -> None:
        if order.resume:
            raise CheckpointError("holds a training with another seed")
        assert not work.exists()
        raise TrainingError("begun anew")

    monkeypatch.setattr(benchmark, "train_on", another)
    with pytest.raises(TrainingError, match="begun anew"):
        run(training, Results(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--protocol", "crema-d", "--preset", "plain"],
            "ser: crema-d: It tests on the corpus cremad; here is ravdess. Protocols that work "
            "with these recordings: ravdess-random, ravdess-5x4, ravdess-5x4-from-open.\n",
        ),
        (["--preset", "plain"], "ser: a benchmark needs --protocol and --preset; --table alone"),
        (["--table", "--into", "none.md"], "ser: none.md: No such file"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_training(
    ravdess: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ser_benchmark(ravdess, *arguments) == 1
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize(("option", "known"), [("--protocol", "crema-d"), ("--preset", "plain")])
def test_an_unknown_name_lists_those_there_are(
    ravdess: Path, option: str, known: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        ser_benchmark(ravdess, option, "transformer")
    said = capsys.readouterr().err
    assert "invalid choice: 'transformer'" in said
    assert known in said


def test_without_recordings_it_says_how_to_name_some(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SER_DATA", raising=False)
    assert main(["benchmark", "--protocol", "crema-d", "--preset", "plain"]) == 1
    assert capsys.readouterr().err == (
        "ser: no recordings: name a manifest with --data, or its folder in SER_DATA\n"
    )


def test_another_length_of_training_is_another_design(ravdess: Path) -> None:
    longer = replace(PLAIN, schedule=replace(QUICK, epochs=2))
    one, other = first_fold(ravdess), first_fold(ravdess, longer)
    assert one.design == first_fold(ravdess).design
    assert one.design != other.design
    assert one.folder != other.folder


def test_other_data_is_another_version(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,label\na.wav,sad\n")
    first = benchmark.data_version(manifest)
    assert benchmark.data_version(tmp_path) == first
    manifest.write_text("path,label\na.wav,happy\n")
    assert benchmark.data_version(manifest) != first


def test_a_preset_without_such_a_setting_says_so() -> None:
    @dataclass(frozen=True)
    class Epochs:
        epochs: int = 5

    options = argparse.Namespace(epochs=None, clips=5)
    with pytest.raises(UnknownSetting, match="the preset plain takes no --clips"):
        changed(replace(PLAIN, schedule=Epochs()), options)  # type: ignore[arg-type]


def outcome(labels: list[int], said: list[list[float]], emotions: str = "abc") -> Outcome:
    heard = [
        Heard(1.0, np.array([[0.0, 1.0]]), np.log(np.array([row], np.float32)), np.ones(1))
        for row in said
    ]
    utterances = [Utterance(Path(str(index)), "x") for index in range(len(labels))]
    return Outcome(tuple(emotions), utterances, np.array(labels), heard, [])


def test_answers_are_among_the_emotions_that_the_test_set_has() -> None:
    # The third class, which nobody speaks in, has most of each probability.
    heard = outcome(
        [0, 0, 1, 1], [[0.3, 0.1, 0.6], [0.1, 0.3, 0.6], [0.1, 0.3, 0.6], [1e-9, 0.4, 0.6]]
    )
    figures = scored(heard, 1.0)
    assert (figures["n"], figures["accuracy"], figures["uar"]) == (4, 0.75, 0.75)
    # Confidences of .75 (two of three right) and of 1 (right).
    assert figures["ece"] == pytest.approx(0.75 * (0.75 - 2 / 3), abs=1e-4)


def test_speakers_of_one_name_in_two_corpora_are_two() -> None:
    def by(corpus: str, speaker: str) -> list[Utterance]:
        return [Utterance(Path("x"), "sad", speaker, corpus=corpus)]

    assert speakers_heard(Split(by("a", "1"), by("a", "2"), by("b", "1"))) == "no"
    assert speakers_heard(Split(by("a", "1"), by("a", "2"), by("a", "2"))) == "yes"
    assert speakers_heard(Split(by("a", "1"), by("a", ""), by("b", "1"))) == "unknown"
