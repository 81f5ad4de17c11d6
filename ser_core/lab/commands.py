"""The commands of `ser` that build and judge models."""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ser_core.lab import evaluation
from ser_core.lab.build import Order, train
from ser_core.lab.checkpoint import CheckpointError
from ser_core.lab.corpora import CorpusError, read
from ser_core.lab.export import ExportError
from ser_core.lab.presets import PRESETS, preset
from ser_core.lab.referencing import NoReferences, draw_profiles
from ser_core.lab.splits import SplitError
from ser_core.lab.training import TrainingError
from ser_core.recognizer import Recognizer

logger = logging.getLogger(__name__)

DATA_HELP = "a CSV manifest, or the folder of a public corpus"

EXPECTED = (CorpusError, NoReferences, SplitError, TrainingError, CheckpointError, ExportError)
"""What data or an earlier training may be at fault for, told in one line."""

Command = Callable[[argparse.Namespace], int]


def add_train(command: argparse.ArgumentParser) -> None:
    """`ser train --data ... [--preset NAME] [--out FOLDER]`."""
    command.add_argument("--data", type=Path, required=True, help=DATA_HELP)
    command.add_argument("--preset", default="relative-cnn", choices=sorted(PRESETS))
    command.add_argument("--out", type=Path, help="the bundle's folder (default: models/PRESET)")
    command.add_argument("--name", help="the bundle's name (default: its folder's)")
    command.add_argument("--version", default="1.0.0", help="the bundle's version")
    command.add_argument("--epochs", type=_positive, help="other than the preset's")
    command.add_argument("--clips", type=_positive, help="drawn for an epoch, likewise")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--resume", action="store_true", help="go on where a training was stopped")
    command.set_defaults(run=_reporting(_train))


def add_evaluate(command: argparse.ArgumentParser) -> None:
    """`ser evaluate MODEL --data ... [--split NAME] [--json]`."""
    command.add_argument("model", help="name or folder of a bundle")
    command.add_argument("--data", type=Path, required=True, help=DATA_HELP)
    command.add_argument("--split", choices=("train", "valid", "test"), help="only this part")
    command.add_argument(
        "--references",
        type=_positive,
        metavar="K",
        help="judge relative to K other recordings of the speaker, unlabelled, drawn at random",
    )
    command.add_argument(
        "--of-others",
        action="store_true",
        help="draw them from other speakers of the corpus instead: what a microphone gives",
    )
    command.add_argument("--seed", type=int, default=0, help="of that draw")
    command.add_argument("--json", action="store_true", help="figures as JSON")
    command.set_defaults(run=_reporting(_evaluate))


def add_features(command: argparse.ArgumentParser) -> None:
    """`ser features FILE... --kind mfcc,chroma --out X.csv`."""
    from ser_core.lab import extract  # noqa: PLC0415 (only this command needs it)

    extract.add_arguments(command)
    command.set_defaults(run=_reporting(extract.main))


def _reporting(run: Command) -> Command:
    def reported(options: argparse.Namespace) -> int:
        try:
            return run(options)
        except EXPECTED as e:
            print(f"ser: {e}", file=sys.stderr)
            return 1

    return reported


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _train(options: argparse.Namespace) -> int:
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


def _evaluate(options: argparse.Namespace) -> int:
    recognizer = Recognizer.load(options.model)
    reading = read(options.data)
    evaluation.log_skipped(reading)
    utterances = [u for u in reading.utterances if options.split in (None, u.split)]
    if not utterances:
        raise CorpusError(f"{options.data} has no utterances of the split {options.split!r}")
    trained_on = evaluation.heard_in_training(recognizer, utterances)
    if trained_on:
        logger.warning(
            "Warning: the model was trained on %d of these speakers (%s); the figures flatter it.",
            len(trained_on),
            ", ".join(sorted(trained_on)[:5]),
        )
    progress = sys.stderr.isatty()
    outcome = evaluation.hear_all(recognizer, utterances, progress)
    if options.references:
        skipped = outcome.skipped
        profiles = draw_profiles(
            outcome, options.references, options.seed, of_others=options.of_others
        )
        outcome = evaluation.hear_all(recognizer, outcome.utterances, progress, profiles)
        outcome.skipped.extend(skipped)
    result = evaluation.scores(outcome, recognizer.bundle.temperature)
    for reason, count in reading.skip_counts.items():
        result["skipped"][reason] += count
    if options.json:
        print(json.dumps(result))
    else:
        evaluation.print_scores(result, recognizer.bundle.emotions)
    return 0
