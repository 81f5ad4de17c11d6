"""Looking for better hyperparameters of a classic design: a named grid, judged on validation."""

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from ser_core.lab import classic_training
from ser_core.lab.classic_training import Clips, History
from ser_core.lab.classics import ANN_193, MLP_193, Classic

logger = logging.getLogger(__name__)

Settings = Mapping[str, Any]
Grid = Mapping[str, Sequence[Any]]

GRIDS: Mapping[str, Mapping[str, Grid]] = {
    MLP_193.name: {
        "quick": {"hidden": [(300,), (300, 50, 20, 10)], "alpha": [0.01, 1.0]},
        "full": {
            "hidden": [(100,), (300,), (300, 50, 20, 10), (512, 128)],
            "alpha": [0.001, 0.01, 0.1, 1.0, 10.0],
            "learning_rate": [3e-4, 1e-3],
        },
    },
    ANN_193.name: {
        "quick": {"standardised": [False, True], "learning_rate": [3e-4, 1e-3]},
        "full": {
            "hidden": [(120, 100, 80, 50, 30, 20), (256, 128), (64,)],
            "standardised": [False, True],
            "learning_rate": [3e-4, 1e-3],
            "batch": [32, 128],
        },
    },
}
"""Preset -> name of a grid -> hyperparameter -> what is tried, in every combination."""


class SearchError(ValueError):
    """There is nothing to search; the message says what there is."""


def grid_of(classic: Classic, name: str) -> Grid:
    """The grid of that name for that preset.

    Raises:
        SearchError: there is none.
    """
    grids = GRIDS.get(classic.name)
    if grids is None:
        raise SearchError(f"--search knows {' and '.join(GRIDS)}, not {classic.name}")
    if name not in grids:
        raise SearchError(f"no grid {name!r} for {classic.name}; there are {', '.join(grids)}")
    return grids[name]


def search(
    classic: Classic,
    clips: Clips,
    grid: Grid,
    folder: Path,
    *,
    seed: int = 0,
    progress: bool = True,
) -> tuple[keras.Model, History, list[dict[str, Any]]]:
    """Fit every combination of `grid`; returns the whole model and history of the best one.

    Best is the highest UAR on the validation speakers of what would be kept: the test speakers are
    not looked at. The third is one row a combination, the best first: its settings, UAR, epochs.
    """
    trials: list[dict[str, Any]] = []
    best: tuple[keras.Model, History] | None = None
    for settings in _combinations(grid):
        tried = with_settings(classic, settings)
        whole, history = classic_training.fit(tried, clips, folder, seed=seed, progress=progress)
        uar = classic_training.kept(tried, history)["uar"]
        logger.info("%s: UAR %.3f on the validation speakers", _told(settings), uar)
        if best is None or uar > max(trial["uar"] for trial in trials):
            best = whole, history
        trials.append({**settings, "uar": uar, "epochs": len(history)})
    if best is None:
        raise SearchError(f"the grid of {classic.name} is empty")
    return *best, sorted(trials, key=lambda trial: -trial["uar"])


def with_settings(classic: Classic, settings: Settings) -> Classic:
    """The design with other hyperparameters: hidden, alpha, learning_rate, batch, standardised."""
    for name, value in settings.items():
        if name == "hidden":
            classic = replace(classic, options={**classic.options, name: value})
        elif name == "alpha":
            classic = replace(classic, mlp={**(classic.mlp or {}), name: value})
        elif name == "standardised":
            classic = replace(classic, standardised=value)
        else:
            classic = replace(classic, schedule=replace(classic.schedule, **{name: value}))
    return classic


def print_trials(trials: Sequence[Settings]) -> None:
    """What was tried, as a table to read."""
    names = [name for name in trials[0] if name not in ("uar", "epochs")]
    print(f"{'UAR':>6}{'epochs':>8}  " + "  ".join(names))
    for trial in trials:
        cells = (_cell(trial[name]).ljust(len(name)) for name in names)
        print(f"{trial['uar']:6.3f}{trial['epochs']:8}  " + "  ".join(cells).rstrip())


def _combinations(grid: Grid) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _told(settings: Settings) -> str:
    return ", ".join(f"{name} {_cell(value)}" for name, value in settings.items())


def _cell(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
