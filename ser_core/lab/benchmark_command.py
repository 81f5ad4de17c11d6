"""`ser benchmark`: its arguments, and what it prints."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ser_core.lab import benchmark, benchmark_table
from ser_core.lab.arguments import DATA_HELP, positive
from ser_core.lab.benchmark_results import Results, ResultsError, Row
from ser_core.lab.classics import Classic
from ser_core.lab.corpora import CorpusError, read
from ser_core.lab.evaluation import log_skipped
from ser_core.lab.presets import PRESETS, Preset, preset
from ser_core.lab.protocols import PROTOCOLS, protocol
from ser_core.lab.splits import SplitError
from ser_core.lab.training_command import EXPECTED as TRAINING_ERRORS

logger = logging.getLogger(__name__)


class UnknownSetting(ValueError):  # noqa: N818 (it says what is wrong, not that something broke)
    """A preset has no such setting."""


EXPECTED = (CorpusError, SplitError, ResultsError, UnknownSetting)
"""What data, earlier results or the options may be at fault for."""

RESULTS = Path("benchmarks/results")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """`ser benchmark --protocol NAME... --preset NAME... [--table]`."""
    command.add_argument(
        "--protocol",
        nargs="+",
        action="extend",
        default=[],
        choices=[*PROTOCOLS],
        metavar="NAME",
        help=f"how to train and judge: {', '.join(PROTOCOLS)}",
    )
    command.add_argument(
        "--preset",
        nargs="+",
        action="extend",
        default=[],
        choices=sorted(PRESETS),
        metavar="NAME",
        help=f"what to train, with the protocol's emotions: {', '.join(sorted(PRESETS))}",
    )
    command.add_argument(
        "--data",
        type=Path,
        help=f"{DATA_HELP} (default: the manifest in the folder that SER_DATA names)",
    )
    command.add_argument("--seeds", type=positive, default=1, help="trainings of each cell")
    command.add_argument(
        "--together",
        action="store_true",
        help="judge the models of all seeds as one, too, which answers their mean (NAME-xSEEDS)",
    )
    command.add_argument("--epochs", type=positive, help="other than the preset's")
    command.add_argument("--clips", type=positive, help="drawn for an epoch, likewise")
    command.add_argument(
        "--results", type=Path, default=RESULTS, help=f"where cells are kept (default: {RESULTS})"
    )
    command.add_argument(
        "--again", action="store_true", help="train and judge finished cells once more"
    )
    command.add_argument("--table", action="store_true", help="train nothing, print the table")
    command.add_argument(
        "--into", type=Path, metavar="FILE", help="put the table between this document's markers"
    )


def main(options: argparse.Namespace) -> int:
    """Finish the cells that are missing, one line each; then print the table."""
    results = Results(options.results)
    failed = 0
    if not options.table:
        failed = _run(options, results)
    rows = results.rows()
    if rows:
        _write_tables(results)
    if options.into:
        benchmark_table.insert(options.into, rows)
    print(benchmark_table.markdown(rows), end="")
    return 1 if failed else 0


def _run(options: argparse.Namespace, results: Results) -> int:
    """How many trainings could not be done."""
    if not (options.protocol and options.preset):
        raise ResultsError(
            "a benchmark needs --protocol and --preset; --table alone prints what is finished"
        )
    if options.together and options.seeds < 2:
        raise ResultsError("--together needs --seeds 2 or more")
    results.rows()
    data = options.data or _own_data()
    reading = read(data)
    log_skipped(reading)
    plan = benchmark.trainings(
        reading.utterances,
        [protocol(name) for name in dict.fromkeys(options.protocol)],
        [changed(preset(name), options) for name in dict.fromkeys(options.preset)],
        options.seeds,
        benchmark.data_version(data),
        together=options.together,
    )
    finished = [not training.missing(results) for training in plan]
    if options.again:
        finished = [False] * len(plan)
    logger.info("%d of %d trainings to do", finished.count(False), len(plan))
    failed = 0
    for number, (training, done) in enumerate(zip(plan, finished, strict=True), 1):
        place = f"[{number}/{len(plan)}] {training.name}"
        if done:
            print(f"{place}: finished", flush=True)
            continue
        try:
            rows = benchmark.run(
                training, results, progress=sys.stderr.isatty(), again=options.again
            )
        except TRAINING_ERRORS as e:
            failed += 1
            print(f"{place}: FAILED: {e}", flush=True)
            continue
        except ResultsError:
            raise
        except Exception as e:
            # One design's fault must not cost a night of the others.
            failed += 1
            logger.exception("%s", place)
            print(f"{place}: FAILED: {type(e).__name__}: {e}", flush=True)
            continue
        for row in rows:
            print(f"{place}, {_said(row)}", flush=True)
        if rows:
            _write_tables(results)
        else:
            print(f"{place}: another process is at it, or has finished it", flush=True)
    return failed


def _own_data() -> Path:
    folder = os.environ.get("SER_DATA")
    if not folder:
        raise CorpusError("no recordings: name a manifest with --data, or its folder in SER_DATA")
    return Path(folder) / "manifest.csv"


def changed(chosen: Preset | Classic, options: argparse.Namespace) -> Preset | Classic:
    """The preset with the schedule that the options ask for.

    Raises:
        UnknownSetting: its schedule knows no such thing.
    """
    given = {name: getattr(options, name) for name in ("epochs", "clips") if getattr(options, name)}
    known = {field.name for field in fields(chosen.schedule)}
    if unknown := [name for name in given if name not in known]:
        raise UnknownSetting(f"the preset {chosen.name} takes no --{unknown[0]}")
    schedule: Any = replace(chosen.schedule, **given)
    return replace(chosen, schedule=schedule)


def _said(row: Row) -> str:
    took = "" if row.seconds is None else f", trained in {row.seconds:.0f} s"
    given = f"{row.references or 'no'} references"
    return (
        f"{given}: UAR {row.uar:.3f}, accuracy {row.accuracy:.3f}, "
        f"ECE {row.ece:.3f}, n {row.n}, {row.milliseconds:.2f} ms{took}"
    )


def _write_tables(results: Results) -> None:
    rows: Sequence[Row] = results.rows()
    benchmark_table.write(results.folder / "table.csv", benchmark_table.to_csv(rows))
    benchmark_table.write(results.folder / "table.md", benchmark_table.markdown(rows))
