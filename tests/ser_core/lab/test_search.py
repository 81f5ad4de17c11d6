"""Grids of hyperparameters, judged on the validation speakers."""

from pathlib import Path
from typing import Any

import pytest

from ser_core.lab import classic_training
from ser_core.lab.classics import ANN_193, EDGE_CNN, MLP_193
from ser_core.lab.search import (
    GRIDS,
    SearchError,
    grid_of,
    print_trials,
    search,
    with_settings,
)
from tests.ser_core.lab.test_classic_training import CLIPS, SMALL_MLP


def test_the_best_on_the_validation_speakers_is_kept_of_every_combination(tmp_path: Path) -> None:
    grid = {"hidden": [(2,), (24,)], "alpha": [0.01, 1000.0]}
    whole, history, trials = search(SMALL_MLP, CLIPS, grid, tmp_path, progress=False)
    assert sorted((t["hidden"], t["alpha"]) for t in trials) == [
        ((2,), 0.01), ((2,), 1000.0), ((24,), 0.01), ((24,), 1000.0),
    ]  # fmt: skip
    assert [t["uar"] for t in trials] == sorted((t["uar"] for t in trials), reverse=True)
    assert trials[0]["alpha"] == 0.01
    assert trials[0]["uar"] == history[-1]["uar"]
    assert trials[0]["epochs"] == len(history)
    (hidden,) = trials[0]["hidden"]
    assert whole.count_params() == 193 * hidden + hidden + hidden * 3 + 3


def test_settings_reach_what_they_name() -> None:
    changed = with_settings(
        MLP_193,
        {"hidden": (5,), "alpha": 2.0, "learning_rate": 0.1, "batch": 7, "standardised": False},
    )
    assert changed.options == {"hidden": (5,)}
    assert changed.mlp == {"alpha": 2.0, "learning_rate": "adaptive"}
    assert (changed.schedule.learning_rate, changed.schedule.batch) == (0.1, 7)
    assert not changed.standardised
    assert changed.schedule.epochs == MLP_193.schedule.epochs


@pytest.mark.parametrize("classic", [MLP_193, ANN_193], ids=lambda classic: classic.name)
def test_every_combination_of_a_named_grid_can_be_built(classic: Any) -> None:
    for name, grid in GRIDS[classic.name].items():
        assert grid_of(classic, name) == grid
        for setting, values in grid.items():
            for value in values:
                assert with_settings(classic, {setting: value}).build().count_params() > 0


def test_what_cannot_be_searched_names_what_can() -> None:
    with pytest.raises(SearchError, match="knows mlp-193 and ann-193, not edge-cnn"):
        grid_of(EDGE_CNN, "quick")
    with pytest.raises(SearchError, match="no grid 'huge' for mlp-193; there are quick, full"):
        grid_of(MLP_193, "huge")


def test_trials_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_trials(
        [
            {"hidden": (300, 50), "alpha": 0.01, "uar": 0.41234, "epochs": 120},
            {"hidden": [8], "alpha": 1.0, "uar": 0.3, "epochs": 7},
        ]
    )
    assert capsys.readouterr().out.splitlines() == [
        "   UAR  epochs  hidden  alpha",
        " 0.412     120  300-50  0.01",
        " 0.300       7  8       1.0",
    ]


def test_what_is_kept_of_a_keras_design_is_its_best_epoch() -> None:
    history = [{"uar": 0.2}, {"uar": 0.5}, {"uar": 0.3}]
    assert classic_training.kept(ANN_193, history)["uar"] == 0.5
    assert classic_training.kept(MLP_193, history)["uar"] == 0.3
