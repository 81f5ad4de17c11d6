"""Judging a bundle as its users meet it: files in, the exported model's answers out."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ser_core.audio import AudioError
from ser_core.emotions import normalise_label, to_label_set
from ser_core.lab.corpora import Reading, Utterance
from ser_core.prediction import Bias
from ser_core.profile import Profile
from ser_core.recognizer import Heard, Recognizer

logger = logging.getLogger(__name__)

WORKERS = 2
SEX_NAMES = {"F": "female", "M": "male"}
"""What figures call the letters of `Utterance.sex`."""


@dataclass(frozen=True)
class Outcome:
    """Utterances with what the bundle heard in them."""

    emotions: tuple[str, ...]
    utterances: list[Utterance]
    labels: NDArray[np.int64]
    heard: list[Heard]
    skipped: list[tuple[Utterance, str]]
    """What was left out, and why."""

    @classmethod
    def together(cls, outcomes: Sequence["Outcome"]) -> "Outcome":
        """Of bundles of the same emotions, as if one had heard all of it."""
        return cls(
            outcomes[0].emotions,
            [utterance for each in outcomes for utterance in each.utterances],
            np.concatenate([each.labels for each in outcomes]),
            [heard for each in outcomes for heard in each.heard],
            [skipped for each in outcomes for skipped in each.skipped],
        )

    def probabilities(self, temperature: float, bias: Bias = ()) -> NDArray[np.float64]:
        """Of each utterance, `(utterances, classes)`."""
        return np.array([heard.overall(temperature, bias=bias) for heard in self.heard])


def hear_all(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    progress: bool = False,
    profiles: Sequence[Profile | None] | None = None,
) -> Outcome:
    """Run the exported model on every utterance's file: decode, window, LiteRT.

    With `profiles`, one for each utterance, it is heard relative to them.
    Utterances with labels that the model has not, or that cannot be read, are counted, not judged.
    """
    emotions = recognizer.bundle.emotions
    skipped: list[tuple[Utterance, str]] = []
    known: list[tuple[Utterance, int]] = []
    of_known: list[Profile | None] = []
    for utterance, profile in zip(utterances, profiles or [None] * len(utterances), strict=True):
        label = to_label_set(utterance.emotion, emotions)
        if label is None:
            skipped.append((utterance, no_label(utterance)))
        else:
            known.append((utterance, emotions.index(label)))
            of_known.append(profile)

    answers = hear_files(recognizer, [u.path for u, _ in known], progress, of_known)
    kept, labels, heard = [], [], []
    for (utterance, label_index), answer in zip(known, answers, strict=True):
        if isinstance(answer, str):
            skipped.append((utterance, answer))
            continue
        kept.append(utterance)
        labels.append(label_index)
        heard.append(answer)
    return Outcome(emotions, kept, np.array(labels, np.int64), heard, skipped)


def hear_files(
    recognizer: Recognizer,
    paths: Sequence[Path],
    progress: bool = False,
    profiles: Sequence[Profile | None] | None = None,
) -> list[Heard | str]:
    """What the exported model hears in each file, or why it cannot be read.

    With `profiles`, one for each file, it is heard relative to them.
    """

    def hear(path: Path, profile: Profile | None) -> Heard | str:
        try:
            return recognizer.hear(path, profile=profile)
        except (AudioError, OSError) as e:
            logger.warning("skipped %s: %s", path, e)
            return f"cannot be read: {type(e).__name__}"

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(
            tqdm(
                pool.map(hear, paths, profiles or [None] * len(paths)),
                total=len(paths),
                desc="judging",
                unit="clip",
                disable=not progress,
            )
        )


def scores(outcome: Outcome, temperature: float = 1.0, bias: Bias = ()) -> dict[str, Any]:
    """Figures overall, for each corpus and each sex, as `ser evaluate --json` prints them.

    Of a sex only n, accuracy and UAR, and only where it is known.
    """
    predicted = (
        outcome.probabilities(temperature, bias).argmax(axis=1)
        if outcome.heard
        else np.zeros(0, int)
    )
    overall = figures(outcome.emotions, outcome.labels, predicted)
    overall["skipped"] = Counter(reason for _, reason in outcome.skipped)
    corpora = np.array([utterance.corpus for utterance in outcome.utterances])
    overall["corpora"] = {}
    for name in sorted(
        {*corpora.tolist(), *(utterance.corpus for utterance, _ in outcome.skipped)}
    ):
        labels, answers = outcome.labels[corpora == name], predicted[corpora == name]
        reasons = (reason for utterance, reason in outcome.skipped if utterance.corpus == name)
        overall["corpora"][name] = {
            **figures(outcome.emotions, labels, answers),
            "skipped": Counter(reasons),
        }
    overall["sexes"] = {}
    sexes = np.array([utterance.sex for utterance in outcome.utterances])
    for letter, sex in SEX_NAMES.items():
        chosen = sexes == letter
        if chosen.any():
            found = figures(outcome.emotions, outcome.labels[chosen], predicted[chosen])
            overall["sexes"][sex] = {key: found[key] for key in ("n", "accuracy", "uar")}
    return overall


def figures(
    emotions: Sequence[str], labels: NDArray[np.int64], predicted: NDArray[np.int64]
) -> dict[str, Any]:
    """n, accuracy, UAR, recall of each class present and confusion (true -> answered -> count).

    UAR is the unweighted average recall over the classes present in `labels`.
    """
    present = [int(label) for label in np.unique(labels)]
    recall = {
        emotions[label]: float((predicted[labels == label] == label).mean()) for label in present
    }
    return {
        "n": len(labels),
        "accuracy": float((predicted == labels).mean()) if len(labels) else None,
        "uar": float(np.mean(list(recall.values()))) if recall else None,
        "recall": recall,
        "confusion": {
            emotions[label]: {
                emotions[answer]: int(((labels == label) & (predicted == answer)).sum())
                for answer in range(len(emotions))
            }
            for label in present
        },
    }


def speaker_key(utterance: Utterance) -> str:
    """A speaker's name across corpora."""
    return f"{utterance.corpus}/{utterance.speaker}"


def log_skipped(reading: Reading) -> None:
    """Say what of a corpus or manifest is not used: counted by reason, the first few by name."""
    for reason, count in reading.skip_counts.items():
        names = [str(path) for path, why in reading.skipped if why == reason]
        more = ", ..." if count > 3 else ""
        logger.warning("left out %d (%s): %s%s", count, reason, ", ".join(names[:3]), more)


def log_nearest(utterances: Iterable[Utterance], emotions: Sequence[str]) -> None:
    """Say which labels the model has not and counts as the nearest that it has."""
    labels = Counter(normalise_label(utterance.emotion) for utterance in utterances)
    for label, count in sorted(labels.items()):
        nearest = to_label_set(label, emotions)
        if nearest not in (None, label):
            logger.warning(
                "counted %d x %r as %r, the nearest of the model's emotions", count, label, nearest
            )


def no_label(utterance: Utterance) -> str:
    """Why an utterance is left out whose emotion the model does not have."""
    return f"label {utterance.emotion!r} is not one of the model's"


Print = Callable[[str], None]


def print_scores(result: dict[str, Any], emotions: Sequence[str], echo: Print = print) -> None:
    """The figures as a table to read."""
    echo(f"{'':12}{'n':>7}{'accuracy':>10}{'UAR':>8}")
    rows = {"all": result, **result["corpora"]}
    for name, row in [*rows.items(), *result["sexes"].items()]:
        if row["n"]:
            echo(f"{name or '(unnamed)':12}{row['n']:>7}{row['accuracy']:>10.3f}{row['uar']:>8.3f}")
    echo("\nrecall      " + "".join(f"{emotion:>10}" for emotion in emotions))
    for name, row in rows.items():
        cells = (
            f"{row['recall'][e]:>10.2f}" if e in row["recall"] else f"{'-':>10}" for e in emotions
        )
        echo(f"{name or '(unnamed)':12}" + "".join(cells))
    echo("\ntrue \\ said " + "".join(f"{emotion:>10}" for emotion in emotions))
    for true, answers in result["confusion"].items():
        echo(f"{true:12}" + "".join(f"{answers[emotion]:>10}" for emotion in emotions))
    if result["n"] and "trust" in result:
        _print_trust(result["trust"], echo)
    for reason, count in result["skipped"].items():
        echo(f"left out: {count} ({reason})")


def _print_trust(trust: dict[str, Any], echo: Print) -> None:
    right = trust["accuracy_when_certain"]
    echo(
        f"\ncertain     {trust['coverage']:.0%} of the answers"
        + ("" if right is None else f", of which {right:.0%} are right")
    )
    echo(
        f"calibration error {trust['ece']:.3f}, log-loss {trust['log_loss']:.3f}, "
        f"area under risk and coverage {trust['aurc']:.3f}"
    )
