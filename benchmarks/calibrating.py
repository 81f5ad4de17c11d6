"""What `ser calibrate` gives other voices than those of its clips.

    python -m benchmarks.calibrating [BUNDLE] [--data FOLDER] [--corpora NAME ...] [--draws 12]

Of each corpus, clips of some speakers calibrate the bundle as the command does, and clips of the
others, MOST at most, are judged by what came of it, without references: as it is, with temperature,
bias and threshold refitted alone, and with what is kept, which may hold a home as well. Speakers
that the bundle was trained on, or chosen by, are left out.
"""

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_core import Recognizer
from ser_core.lab.calibrate import AS_IT_IS, Calibration, CalibrationError, Refit, refit
from ser_core.lab.calibrate_command import hear_at_home
from ser_core.lab.corpora import Utterance, read
from ser_core.lab.evaluation import Outcome, figures, hear_all, speaker_key
from ser_core.lab.risk import trust

WAYS = ("as it is", "without a home", "as kept")
MOST = 500
"""Clips of others that are judged, at most."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", nargs="?", default="default")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SER_DATA", ".")))
    parser.add_argument("--corpora", nargs="*", default=[], help="default: all with such speakers")
    parser.add_argument("--draws", type=int, default=12)
    parser.add_argument("--clips", type=int, default=50)
    parser.add_argument("--speakers", type=int, default=4, help="who speak in these, at most")
    options = parser.parse_args()
    recognizer = Recognizer.load(options.bundle, interpreters=2)
    info = recognizer.bundle.info
    heard = {*info["speakers"], *info.get("judged_by", {}).get("valid", ())}
    corpora: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in read(options.data).utterances:
        if utterance.speaker and speaker_key(utterance) not in heard:
            corpora[utterance.corpus].append(utterance)
    if unknown := {*options.corpora} - {*corpora}:
        parser.error(f"no new speakers of {', '.join(sorted(unknown))} there")
    columns = " | ".join(f"{way}: UAR, error, log-loss" for way in WAYS)
    print(f"{recognizer.bundle.name} {recognizer.bundle.version}, {options.clips} clips\n")
    print(f"| corpus, speakers | {columns} | changed | UAR fell |\n|---|---|---|---|---|---|")
    for corpus in options.corpora or sorted(corpora):
        outcome = hear_all(recognizer, corpora[corpus])
        if len({speaker_key(u) for u in outcome.utterances}) > 1:
            show(recognizer, corpus, outcome, options)


def show(
    recognizer: Recognizer, corpus: str, outcome: Outcome, options: argparse.Namespace
) -> None:
    """One row: means over the draws."""
    names = np.array([speaker_key(u) for u in outcome.utterances])
    speakers = np.unique(names)
    count = min(options.speakers, len(speakers) // 2)
    rng = np.random.default_rng(0)
    results: list[list[tuple[float, float, float]]] = []
    changed = 0
    for _ in range(options.draws):
        mine = np.isin(names, rng.choice(speakers, count, replace=False))
        clips = rng.permutation(np.flatnonzero(mine))[: options.clips]
        others = rng.permutation(np.flatnonzero(~mine))[:MOST]
        drawn = chosen(outcome, clips)
        present = Calibration.of(recognizer.bundle)
        try:
            alone = refit(drawn, present)
        except CalibrationError as error:
            print(f"{corpus}: a draw is left out: {error}", file=sys.stderr)
            continue
        kept = refit(drawn, present, at_home=hear_at_home(recognizer, drawn))
        judged = chosen(outcome, others)
        changed += kept.choice != AS_IT_IS
        results.append(
            [
                measured(judged, present),
                measured(judged, alone.kept),
                measured(at_home(recognizer, judged, kept), kept.kept),
            ]
        )
    if not results:
        return
    means = np.mean(results, axis=0)
    cells = " | ".join(f"{uar:.3f}, {ece:.3f}, {loss:.3f}" for uar, ece, loss in means)
    fell = np.mean([row[2][0] < row[0][0] for row in results])
    print(
        f"| {corpus}, {count} of {len(speakers)} | {cells} | {changed / len(results):.0%} "
        f"| {fell:.0%} |",
        flush=True,
    )


def chosen(outcome: Outcome, rows: NDArray[np.int64]) -> Outcome:
    """These recordings alone."""
    listed: Sequence[int] = rows.tolist()
    return replace(
        outcome,
        utterances=[outcome.utterances[row] for row in listed],
        labels=outcome.labels[rows],
        heard=[outcome.heard[row] for row in listed],
        skipped=[],
    )


def at_home(recognizer: Recognizer, outcome: Outcome, found: Refit) -> Outcome:
    """What the bundle with that calibration hears."""
    home = found.kept.home
    if home is None:
        return outcome
    return hear_all(recognizer.away(), outcome.utterances, profiles=[home] * len(outcome.heard))


def measured(outcome: Outcome, calibration: Calibration) -> tuple[float, float, float]:
    """UAR among all emotions, expected calibration error and log-loss."""
    probabilities = outcome.probabilities(calibration.temperature, calibration.bias)
    result: dict[str, Any] = figures(outcome.emotions, outcome.labels, probabilities.argmax(axis=1))
    sure = trust(probabilities, outcome.labels, 0.0)
    return float(result["uar"]), float(sure["ece"]), float(sure["log_loss"])


if __name__ == "__main__":
    main()
