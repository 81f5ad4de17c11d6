"""The commands of `ser` that build and judge models."""

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from ser_core.bundle import Bundle
from ser_core.extras import lacking
from ser_core.lab import evaluation, parts
from ser_core.lab.arguments import DATA_HELP, folder, positive, seed
from ser_core.lab.corpora import CorpusError, read
from ser_core.lab.referencing import NoReferences, draw_profiles, drawn, in_words
from ser_core.lab.risk import trust
from ser_core.recognizer import Recognizer

logger = logging.getLogger(__name__)

Command = Callable[[argparse.Namespace], int]
Errors = tuple[type[Exception], ...]


def add_train(command: argparse.ArgumentParser) -> None:
    """`ser train --data ... [--preset NAME] [--out FOLDER]`."""
    _add(command, "training_command")


def add_evaluate(command: argparse.ArgumentParser) -> None:
    """`ser evaluate MODEL --data ... [--split NAME] [--json]`."""
    command.add_argument("model", help="name or folder of a bundle")
    command.add_argument("--data", type=Path, required=True, help=DATA_HELP)
    command.add_argument("--split", choices=("train", "valid", "test"), help="only this part")
    command.add_argument(
        "--references",
        type=positive,
        metavar="K",
        help="judge relative to K other recordings of the speaker, unlabelled, drawn at random",
    )
    command.add_argument(
        "--of-others",
        action="store_true",
        help="draw them from other speakers of the corpus instead: what a microphone gives",
    )
    command.add_argument("--seed", type=seed, default=0, help="of that draw")
    command.add_argument("--json", action="store_true", help="figures as JSON")
    command.add_argument(
        "--report", type=folder, metavar="FOLDER", help="write a page to look at and listen to"
    )
    command.set_defaults(
        run=_reporting(_evaluate, (CorpusError, NoReferences)), refuse=command.error
    )


def add_benchmark(command: argparse.ArgumentParser) -> None:
    """`ser benchmark --protocol NAME... --preset NAME... [--table]`."""
    _add(command, "benchmark_command")


def add_export(command: argparse.ArgumentParser) -> None:
    """`ser export BUNDLE --to TARGET --data ...`."""
    _add(command, "export_command")


def add_robustness(command: argparse.ArgumentParser) -> None:
    """`ser robustness MODEL --data ... [--limit N] [--out FILE.csv]`."""
    _add(command, "robustness_command")


def add_ensemble(command: argparse.ArgumentParser) -> None:
    """`ser ensemble MODEL MODEL... --data ... [--out FOLDER]`."""
    _add(command, "ensemble_command")


def add_calibrate(command: argparse.ArgumentParser) -> None:
    """`ser calibrate MODEL (--data CSV | --recordings PATH...) [--out FOLDER | --in-place]`."""
    _add(command, "calibrate_command")


def add_explore(command: argparse.ArgumentParser) -> None:
    """`ser explore MANIFEST --report FOLDER`."""
    _add(command, "explore")


def add_features(command: argparse.ArgumentParser) -> None:
    """`ser features FILE... --kind mfcc,chroma --out X.csv`."""
    from ser_core.lab import extract  # noqa: PLC0415 (only this command needs it)

    extract.add_arguments(command)
    command.set_defaults(run=extract.main)


def _add(command: argparse.ArgumentParser, module: str) -> None:
    """What a module of the lab does; imported only now, as TensorFlow and librosa take seconds."""
    does = import_module(f"ser_core.lab.{module}")
    does.add_arguments(command)
    command.set_defaults(run=_reporting(does.main, does.EXPECTED))


def _reporting(run: Command, errors: Errors) -> Command:
    """`run`, with what the data may be at fault for told in one line."""

    def reported(options: argparse.Namespace) -> int:
        try:
            return run(options)
        except errors as e:
            print(f"ser: {e}", file=sys.stderr)
            return 1

    return reported


def _evaluate(options: argparse.Namespace) -> int:
    if options.of_others and not options.references:
        options.refuse("--of-others says whose recordings --references K are, and needs it")
    if options.report:
        _find_plots(options)
    recognizer = Recognizer.load(options.model)
    reading = read(options.data)
    evaluation.log_skipped(reading)
    info = recognizer.bundle.info
    utterances = parts.part_of(reading.utterances, options.split, info)
    if not utterances:
        raise CorpusError(f"{options.data} has no utterances of the split {options.split!r}")
    evaluation.log_nearest(utterances, recognizer.bundle.emotions)
    known = parts.known_by(info, utterances)
    if known:
        logger.warning("Warning: the model %s; the figures flatter it.", parts.in_words(known))
    progress = sys.stderr.isatty()
    outcome = evaluation.hear_all(recognizer, utterances, progress)
    if not outcome.heard:
        reasons = Counter(reason for _, reason in outcome.skipped).most_common(3)
        why = "; ".join(f"{count} x {reason}" for reason, count in reasons)
        raise CorpusError(f"{options.data}: none of the recordings can be judged ({why})")
    references = None
    if options.references:
        skipped = outcome.skipped
        whose = {"of_others": options.of_others}
        profiles = draw_profiles(outcome, options.references, options.seed, **whose)
        references = drawn(profiles, options.references, **whose)
        outcome = evaluation.hear_all(recognizer, outcome.utterances, progress, profiles)
        outcome.skipped.extend(skipped)
    bundle = recognizer.bundle
    result = evaluation.scores(outcome, bundle.temperature, bundle.bias)
    result["trust"] = trust(
        outcome.probabilities(bundle.temperature, bundle.bias), outcome.labels, bundle.threshold
    )
    for reason, count in reading.skip_counts.items():
        result["skipped"][reason] += count
    if references:
        result["references"] = references
    if options.json:
        print(json.dumps(result))
    else:
        if references:
            print(f"references: {in_words(references)}\n")
        evaluation.print_scores(result, bundle.emotions)
    if options.report:
        told = f", references: {in_words(references)}" if references else ""
        path = _report(options, bundle, outcome, sum(map(len, known.values())), told)
        print(f"wrote {path}", file=sys.stderr)
    return 0


def _find_plots(options: argparse.Namespace) -> None:
    """Say before anything is judged that a report cannot be drawn."""
    try:
        import_module("ser_core.lab.report")
    except ModuleNotFoundError as e:
        options.refuse(f"--report needs {lacking(e.name, 'train')}")


def _report(
    options: argparse.Namespace,
    bundle: Bundle,
    outcome: evaluation.Outcome,
    flattered: int,
    references: str,
) -> Path:
    from ser_core.lab import report  # noqa: PLC0415 (matplotlib takes a second)

    told = str(options.data)
    if options.split:
        told += f", split {options.split}"
    return report.write_report(
        options.report, bundle, outcome, data=told + references, flattered=flattered
    )
