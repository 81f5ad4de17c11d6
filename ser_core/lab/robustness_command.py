"""`ser robustness`: its arguments, its table and its CSV file."""

import argparse
import csv
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ser_core.emotions import to_label_set
from ser_core.lab import evaluation, robustness
from ser_core.lab.arguments import DATA_HELP, positive, seed
from ser_core.lab.corpora import CorpusError, Reading, read
from ser_core.lab.parts import in_words, known_by, part_of
from ser_core.recognizer import Recognizer

logger = logging.getLogger(__name__)

EXPECTED = (CorpusError,)
"""What data may be at fault for."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """`ser robustness MODEL --data ... [--split test] [--limit N] [--out X.csv]`."""
    command.add_argument("model", help="name or folder of a bundle")
    command.add_argument("--data", type=Path, required=True, help=DATA_HELP)
    command.add_argument(
        "--split", choices=("train", "valid", "test"), help="only this part of the data"
    )
    command.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help="only N recordings, as many of each corpus and emotion as there can be",
    )
    command.add_argument("--seed", type=seed, default=0, help="of the noise and of that choice")
    command.add_argument("--out", type=Path, metavar="FILE.csv", help="every figure, by corpus")


def main(options: argparse.Namespace) -> int:
    """Judge, print the table as Markdown, and write the CSV file."""
    if options.out is not None:
        _check_writable(options.out)
    recognizer = Recognizer.load(options.model, interpreters=evaluation.WORKERS)
    reading = read(options.data)
    evaluation.log_skipped(reading)
    utterances = part_of(reading.utterances, options.split, recognizer.bundle.info)
    if not utterances:
        raise CorpusError(f"{options.data} has no utterances of the split {options.split!r}")
    if known_to_it := known_by(recognizer.bundle.info, utterances):
        logger.warning("Warning: the model %s; the figures flatter it.", in_words(known_to_it))
    emotions = recognizer.bundle.emotions
    unknown = [u for u in utterances if to_label_set(u.emotion, emotions) is None]
    evaluation.log_skipped(Reading(skipped=[(u.path, evaluation.no_label(u)) for u in unknown]))
    evaluation.log_nearest(utterances, emotions)
    known = [u for u in utterances if to_label_set(u.emotion, emotions) is not None]
    talkers = robustness.talkers_of(utterances, options.seed)
    chosen = robustness.choose(known, options.limit, options.seed)
    judged = robustness.judge(
        recognizer, chosen, talkers, seed=options.seed, progress=sys.stderr.isatty()
    )
    evaluation.log_skipped(Reading(skipped=[(u.path, reason) for u, reason in judged.skipped]))
    if not judged.utterances:
        raise CorpusError(f"{options.data}: none of the recordings can be judged")
    if not any(name.startswith("babble") for name in judged.probabilities):
        logger.warning("No babble: it needs recordings of other, named speakers, and here are few.")
    rows = list(robustness.rows(judged, recognizer.bundle.threshold))
    if options.out is not None:
        write_csv(options.out, rows)
    print(markdown(rows))
    return 0


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table: UAR and what is lost of it, how much is certain, and the UAR of each corpus."""
    corpora = list(dict.fromkeys(row["corpus"] for row in rows if row["corpus"] != "all"))
    by_place = {(row["condition"], row["corpus"]): row for row in rows}
    overall = [row for row in rows if row["corpus"] == "all"]
    columns = ["UAR", "points lost", "certain", "right of these"]
    titles = [*columns, *(name or "(unnamed)" for name in corpora)] if len(corpora) > 1 else columns
    lines = [
        f"| {overall[0]['n']} recordings | " + " | ".join(titles) + " |",
        "|---|" + "---|" * len(titles),
    ]
    for row in overall:
        right = row["accuracy_when_certain"]
        cells = [
            f"{row['uar']:.3f}",
            f"{row['lost']:.1f}",
            "-" if row["coverage"] is None else f"{row['coverage']:.0%}",
            "-" if right is None else f"{right:.0%}",
        ]
        if len(corpora) > 1:
            uars = (by_place[row["condition"], corpus]["uar"] for corpus in corpora)
            cells += [f"{uar:.3f}" for uar in uars]
        lines.append(f"| {row['condition']} | " + " | ".join(cells) + " |")
    refused = {row["condition"]: row["refused"] for row in overall if row["refused"]}
    for name, count in refused.items():
        lines.append(f"\n{name}: {count} recordings refused, and counted as judged wrongly.")
    return "\n".join(lines)


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Every figure of every condition and corpus, one a row."""
    table = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.DictWriter(file, [*table[0]])
        lines.writeheader()
        for row in table:
            lines.writerow(
                {
                    name: round(cell, 4) if isinstance(cell, float) else cell
                    for name, cell in row.items()
                }
            )


def _check_writable(path: Path) -> None:
    """Known before the minutes that judging takes."""
    try:
        with path.open("a", encoding="utf-8"):
            pass
    except OSError as e:
        raise CorpusError(f"{path} cannot be written: {e.strerror}") from e
