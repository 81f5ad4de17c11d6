"""`ser train`: its arguments, and what it prints."""

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

from ser_core.lab.arguments import DATA_HELP, positive
from ser_core.lab.build import Order, train
from ser_core.lab.checkpoint import CheckpointError
from ser_core.lab.corpora import CorpusError
from ser_core.lab.export import ExportError
from ser_core.lab.presets import PRESETS, preset
from ser_core.lab.splits import SplitError
from ser_core.lab.training import TrainingError

logger = logging.getLogger(__name__)

EXPECTED = (CorpusError, SplitError, TrainingError, CheckpointError, ExportError)
"""What data or an earlier training may be at fault for."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """`ser train --data ... [--preset NAME] [--out FOLDER]`."""
    command.add_argument("--data", type=Path, required=True, help=DATA_HELP)
    command.add_argument("--preset", default="relative-cnn", choices=sorted(PRESETS))
    command.add_argument("--out", type=Path, help="the bundle's folder (default: models/PRESET)")
    command.add_argument("--name", help="the bundle's name (default: its folder's)")
    command.add_argument("--version", default="1.0.0", help="the bundle's version")
    command.add_argument("--note", default="", help="what its card is to say of the data")
    command.add_argument("--epochs", type=positive, help="other than the preset's")
    command.add_argument("--clips", type=positive, help="drawn for an epoch, likewise")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--resume", action="store_true", help="go on where a training was stopped")


def main(options: argparse.Namespace) -> int:
    """Train, write the bundle and say how well it hears."""
    chosen = preset(options.preset)
    given = {name: getattr(options, name) for name in ("epochs", "clips") if getattr(options, name)}
    chosen = replace(chosen, schedule=replace(chosen.schedule, **given))
    out = options.out or Path("models") / chosen.name
    order = Order(
        data=options.data,
        preset=chosen,
        out=out,
        name=options.name or out.resolve().name,
        version=options.version,
        note=options.note,
        seed=options.seed,
        resume=options.resume,
        command=options.command,
    )
    try:
        info = train(order, progress=sys.stderr.isatty())
    except KeyboardInterrupt:
        logger.warning("Finished epochs are kept: the same command with --resume goes on.")
        raise
    figures = info["metrics"].get("test", info["metrics"]["valid"])
    print(f"wrote {out}: UAR {figures['uar']:.3f} on {figures['n']} clips ({figures['protocol']})")
    return 0
