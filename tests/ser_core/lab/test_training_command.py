"""Options of `ser train` that do not go together are told apart before any data is read."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ser_core.bundle import write_info
from ser_core.cli import main
from ser_core.lab import training_command
from ser_core.lab.build import Order
from ser_core.lab.presets import PRESETS
from ser_core.lab.training_command import UsageError, add_arguments, chosen_preset


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--augment", "noise"], "--augment is for classic designs: nimble-cnn, edge-cnn, ann-193"),
        (["--search"], "--search is for classic designs: nimble-cnn"),
        (["--preset", "edge-cnn", "--clips", "5"], "--clips is not for edge-cnn"),
        (["--preset", "edge-cnn", "--search"], "--search knows mlp-193 and ann-193, not edge-cnn"),
        (
            ["--preset", "mlp-193", "--search", "huge"],
            "no grid 'huge' for mlp-193; there are quick",
        ),
        (["--preset", "mlp-193", "--search", "--resume"], "--search begins anew"),
        (["--preset", "mlp-193", "--resume"], "mlp-193 begins anew, so --resume does not go"),
        (["--emotions", "angry,anger,happy"], "names angry more than once: angry, anger"),
        (["--name", "calls/en"], "--name must be a name as of a file"),
        (["--version", " "], "--version must not be empty"),
        (["--preset", "ann-193", "--augment", "echo"], "no augmentation is called 'echo'; there"),
        (["--preset", "ann-193", "--augment", "pitch:3..1"], "must rise and lie in -12..12"),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_does(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--data", "nowhere", *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith("ser: ")
    assert message in error


def test_an_unknown_preset_is_answered_with_all_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--data", "nowhere", "--preset", "transformer"])
    error = capsys.readouterr().err
    for name in ("relative-cnn", "nimble-cnn", "mfcc-cnn1d-8", "logmel-cnn2d", "crnn"):
        assert name in error


def test_what_begins_with_a_bundle_has_its_design(tmp_path: Path) -> None:
    (tmp_path / "model.keras").touch()
    for design in ("relative-distilled", "unheard-of"):
        write_info(
            tmp_path,
            {
                "name": "parent",
                "version": "1.0.0",
                "emotions": ["angry", "sad"],
                "sampling_rate": 16_000,
                "window": 3.0,
                "hop": 1.5,
                "temperature": 1.0,
                "threshold": 0.5,
                "serve": "model.keras",
                "preset": design,
                "artefacts": ["model.keras"],
            },
        )
        options = parsed("--init", str(tmp_path))
        known = design if design in PRESETS else "relative-cnn"
        assert chosen_preset(options).name == known
        # It has learnt from its teachers already.
        assert chosen_preset(options).teachers == 0
        more = parsed("--init", str(tmp_path), "--teachers", "2")
        assert chosen_preset(more).teachers == 2
        assert chosen_preset(parsed("--init", str(tmp_path), "--preset", "residual-cnn")).name == (
            "residual-cnn"
        )
    assert chosen_preset(parsed()).name == "relative-cnn"


def test_teachers_are_for_networks_on_log_mel() -> None:
    assert chosen_preset(parsed("--preset", "relative-distilled")).teachers == 4
    assert chosen_preset(parsed("--teachers", "3")).teachers == 3
    with pytest.raises(UsageError, match="--teachers is not for mlp-193"):
        chosen_preset(parsed("--preset", "mlp-193", "--teachers", "2"))


Train = Callable[..., int]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """`ser train --out made`, where the training itself is replaced by what is given."""
    monkeypatch.chdir(tmp_path)

    def typed(*options: str, trained: Callable[[], None] = lambda: None) -> int:
        def instead(order: Order, progress: bool) -> dict[str, Any]:
            trained()
            figures = {"uar": 0.5, "n": 9, "protocol": "p"}
            return {"metrics": {"valid": figures}, "search": [{"uar": 0.5, "epochs": 1}]}

        monkeypatch.setattr(training_command, "train", instead)
        return main(["train", "--data", "x.csv", "--out", "made", *options])

    return typed


def test_a_bundle_that_is_there_is_replaced_only_if_that_is_wanted(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = (
        "ser: made holds a bundle already: name another folder with --out, or replace it with "
        "--overwrite\n"
    )
    assert train() == 0
    Path("made/work").mkdir(parents=True)
    Path("made/bundle.json").touch()
    capsys.readouterr()
    for options in ([], ["--resume"]):
        assert train(*options) == 1
        assert capsys.readouterr() == ("", refused)
    assert train("--overwrite") == 0
    assert train("--overwrite", "--resume") == 0
    Path("made/work/teacher-0/epoch-0001").mkdir(parents=True)
    assert train("--resume") == 0
    assert train() == 1


@pytest.mark.parametrize(
    ("options", "epochs", "kept"),
    [
        ([], 1, True),
        ([], 0, False),
        (["--preset", "ann-193"], 1, True),
        (["--preset", "ann-193", "--search"], 1, False),
        (["--preset", "mlp-193"], 1, False),
        (["--preset", "mlp-193", "--search", "full"], 1, False),
    ],
)
def test_that_epochs_are_kept_is_said_only_where_they_are(
    train: Train, caplog: pytest.LogCaptureFixture, options: list[str], epochs: int, kept: bool
) -> None:
    def ctrl_c() -> None:
        Path("made/work").mkdir(parents=True)
        for epoch in range(epochs):
            Path(f"made/work/epoch-{epoch + 1:04}").mkdir()
        raise KeyboardInterrupt

    assert train(*options, trained=ctrl_c) == 130
    said = "Finished epochs are kept: the same command with --resume goes on."
    assert (said in caplog.messages) == kept


def parsed(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["--data", "nowhere", *options])
