"""What `ser calibrate` gives other voices than those of its clips.

    python -m benchmarks.calibrating [BUNDLE] [--data FOLDER] [--corpora NAME ...] [--draws 12]

Of each corpus, clips of some speakers calibrate the bundle as the command does, and clips of the
others, MOST at most, are judged by what came of it, without references: as it is, after the clips
without their labels (`--recordings`), and with them, by temperature, bias and threshold alone, and
by what is kept, which may hold a home as well. Speakers that the bundle was trained on, or chosen
by, are left out. `--neutral` is the share of the clips that is neutral, as most talk is.
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
from ser_core.lab.calibrate import Calibration, CalibrationError, refit
from ser_core.lab.calibrate_command import location, recalibrate
from ser_core.lab.corpora import Utterance, read
from ser_core.lab.evaluation import Outcome, figures, hear_all, speaker_key
from ser_core.lab.home import descriptions, home_of
from ser_core.lab.places import UNLIKE
from ser_core.lab.risk import trust
from ser_core.lab.unlabelled import settled

WAYS = ("as it is", "without labels", "with labels, no home", "with labels, as kept")
MOST = 500
"""Clips of others that are judged, at most."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", nargs="?", default="default")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SER_DATA", ".")))
    parser.add_argument("--corpora", nargs="*", default=[], help="default: all with such speakers")
    parser.add_argument("--draws", type=int, default=12)
    parser.add_argument("--clips", type=int, default=50)
    parser.add_argument("--neutral", type=float, help="default: as it comes")
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
    columns = " | ".join(
        f"{way}: UAR, error, log-loss" + (" (UAR fell)" if way != WAYS[0] else "") for way in WAYS
    )
    print(f"{recognizer.bundle.name} {recognizer.bundle.version}, {options.clips} clips\n")
    print(f"| corpus, speakers | distance, from elsewhere | {columns} |")
    print(f"|---|---|{'---|' * len(WAYS)}")
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
    distances = []
    for _ in range(options.draws):
        mine = np.isin(names, rng.choice(speakers, count, replace=False))
        clips = drawn_from(np.flatnonzero(mine), outcome, options, rng)
        others = rng.permutation(np.flatnonzero(~mine))[:MOST]
        drawn, judged = chosen(outcome, clips), chosen(outcome, others)
        where, present = location(recognizer.bundle, drawn), Calibration.of(recognizer.bundle)
        try:
            labels = [refit(drawn, present).kept, recalibrate(recognizer, drawn, where).kept]
        except CalibrationError as error:
            print(f"{corpus}: a draw is left out: {error}", file=sys.stderr)
            continue
        distances.append(where[1] if where else np.nan)
        described = descriptions(drawn)
        alone = present
        if described and distances[-1] > UNLIKE:
            alone = settled(recognizer.bundle, home_of(described))
        results.append([measured(recognizer, judged, each) for each in (present, alone, *labels)])
    if not results:
        return
    table = np.array(results)
    cells = []
    for way in range(len(WAYS)):
        uar, ece, loss = table[:, way].mean(axis=0)
        fell = (table[:, way, 0] < table[:, 0, 0]).mean()
        cells.append(f"{uar:.3f}, {ece:.3f}, {loss:.3f}" + (f" ({fell:.0%})" if way else ""))
    elsewhere = np.mean(np.array(distances) > UNLIKE)
    print(
        f"| {corpus}, {count} of {len(speakers)} | {np.mean(distances):.2f}, {elsewhere:.0%} "
        f"| {' | '.join(cells)} |",
        flush=True,
    )


def drawn_from(
    rows: NDArray[np.int64], outcome: Outcome, options: argparse.Namespace, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The clips that calibrate."""
    rows = rng.permutation(rows)
    if options.neutral is None:
        return rows[: options.clips]
    neutral = outcome.labels[rows] == outcome.emotions.index("neutral")
    ordinary = rows[neutral][: round(options.neutral * options.clips)]
    return np.concatenate([ordinary, rows[~neutral][: options.clips - len(ordinary)]])


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


def measured(
    recognizer: Recognizer, outcome: Outcome, calibration: Calibration
) -> tuple[float, float, float]:
    """UAR among all emotions, expected calibration error and log-loss."""
    if (home := calibration.home) is not None:
        there = [home] * len(outcome.heard)
        outcome = hear_all(recognizer.away(), outcome.utterances, profiles=there)
    probabilities = outcome.probabilities(calibration.temperature, calibration.bias)
    result: dict[str, Any] = figures(outcome.emotions, outcome.labels, probabilities.argmax(axis=1))
    sure = trust(probabilities, outcome.labels, 0.0)
    return float(result["uar"]), float(sure["ece"]), float(sure["log_loss"])


if __name__ == "__main__":
    main()
