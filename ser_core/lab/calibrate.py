"""A bundle's home, temperature, biases and threshold refitted to some clips, in seconds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]

from ser_core.bundle import Bundle
from ser_core.lab.calibration import LEAST_COVERAGE, TARGET_ACCURACY, Windows, threshold_of
from ser_core.lab.corpora import Utterance
from ser_core.lab.evaluation import Outcome, figures, speaker_key
from ser_core.lab.home import descriptions, home_of
from ser_core.lab.risk import trust
from ser_core.prediction import softmax
from ser_core.profile import Profile

LEAST_CLIPS = 20
"""Fewer clips than this say less than what the bundle's makers knew."""
FOLDS = 10
SPREAD_OF_TEMPERATURE = 0.2
"""Standard deviation that the logarithm of the temperature is expected to have around the present
one: the factor of 1.2 by which speakers differ in it."""
SPREAD_OF_BIAS = 0.25
"""That of a bias: odds of 1.3 to 1. With twice as much of both, what 50 clips of some speakers gave
cost other speakers of the same corpus as often as it helped them."""
MARGIN = 0.01
"""Nats of log-loss that a change must gain on clips it was not fitted to, to be kept; and as much
as one standard error of that gain."""

AS_IT_IS, TEMPERATURE, BIAS = "as it is", "temperature", "temperature and bias"
HOME, HOME_AND_BIAS = "home and temperature", "home, temperature and bias"
AT_HOME = {HOME: TEMPERATURE, HOME_AND_BIAS: BIAS}
"""What is fitted to clips that were heard relative to what others there are like."""


class CalibrationError(ValueError):
    """The clips cannot calibrate this bundle; the message says what is missing."""


@dataclass(frozen=True)
class Calibration:
    """What turns logits into probabilities, and probabilities into "uncertain"."""

    temperature: float
    bias: tuple[float, ...]
    threshold: float
    home: Profile | None = None
    """What recordings are like where it is used."""

    @classmethod
    def of(cls, bundle: Bundle) -> "Calibration":
        """What a bundle has."""
        bias = bundle.bias or (0.0,) * len(bundle.emotions)
        return cls(bundle.temperature, bias, bundle.threshold, bundle.home())


@dataclass(frozen=True)
class Refit:
    """What was tried, how it did on clips that it was not fitted to, and what is kept."""

    kept: Calibration
    choice: str
    """Which of the candidates that is."""
    figures: dict[str, dict[str, Any]]
    """Candidate -> n, accuracy, UAR, ECE, log-loss, coverage, accuracy when certain. That of the
    present calibration comes first; the last, `kept`, has the new threshold if that is kept."""
    protocol: str
    """How the clips were divided."""


def check(outcome: Outcome) -> None:
    """Whether some clips can calibrate.

    Raises:
        CalibrationError: they are too few, or all of one class.
    """
    check_count(len(outcome.labels), len(outcome.skipped), "clips")
    if len(np.unique(outcome.labels)) < 2:
        only = outcome.emotions[outcome.labels[0]]
        raise CalibrationError(f"calibrating needs clips of at least two emotions; here is {only}")


def check_count(count: int, left_out: int, what: str) -> None:
    """Whether so many clips or recordings can say anything.

    Raises:
        CalibrationError: they are too few.
    """
    if count < LEAST_CLIPS:
        lost = f"; {left_out} {'was' if left_out == 1 else 'were'} left out" if left_out else ""
        raise CalibrationError(
            f"calibrating needs at least {LEAST_CLIPS} {what} that can be judged, better 50; "
            f"here {'is' if count == 1 else 'are'} {count or 'none'}{lost}"
        )


def refit(
    outcome: Outcome,
    present: Calibration,
    *,
    at_home: Outcome | None = None,
    elsewhere: bool = False,
    balanced: bool = False,
) -> Refit:
    """Fit the candidates, judge each on clips it was not fitted to, and keep what helps.

    Each fold of speakers is judged by what was fitted to the others; where there is one speaker, or
    none is named, each tenth of the clips. `at_home` are the same clips, each heard relative to
    `home.homes_of_others`; without, a home is no candidate. If they are from `elsewhere` than the
    bundle's corpora, it need not be surely better than none: it is kept unless it is surely worse.
    `balanced` counts each class the same, for clips whose shares are not those of later use.

    Raises:
        CalibrationError: the clips are too few, or all of one class.
    """
    check(outcome)
    labels = outcome.labels
    windows = dict.fromkeys((AS_IT_IS, TEMPERATURE, BIAS), Windows.of(outcome.heard))
    if at_home is not None:
        windows |= dict.fromkeys(AT_HOME, Windows.of(at_home.heard))
    folds, protocol = divide(outcome.utterances, labels)
    weights = _balanced(labels) if balanced else np.ones(len(labels))
    held_out = {AS_IT_IS: windows[AS_IT_IS].probabilities(present.temperature, present.bias)}
    for name, heard in windows.items():
        if name == AS_IT_IS:
            continue
        held_out[name] = np.zeros_like(held_out[AS_IT_IS])
        for fold in np.unique(folds):
            rest = np.flatnonzero(folds != fold)
            fitted = fit(_chosen(heard, rest), labels[rest], weights[rest], present, name)
            held_out[name][folds == fold] = heard.probabilities(*fitted)[folds == fold]
    choice = choose(held_out, labels, weights, elsewhere)
    temperature, bias = fit(windows[choice], labels, weights, present, choice)
    described = descriptions(outcome) if choice in AT_HOME else None
    home = home_of(described) if described else present.home
    chosen = held_out[choice]
    thresholds = np.empty(len(labels))
    for fold in np.unique(folds):
        thresholds[folds == fold] = threshold_of(chosen[folds != fold], labels[folds != fold])
    confidence, right = chosen.max(axis=1), chosen.argmax(axis=1) == labels
    better = _promise(confidence >= thresholds, right) > _promise(
        confidence >= present.threshold, right
    )
    threshold = threshold_of(chosen, labels) if better else present.threshold
    table = {
        name: _figures(outcome, each, np.full(len(labels), present.threshold))
        for name, each in held_out.items()
    }
    applied = thresholds if better else np.full(len(labels), present.threshold)
    table["kept"] = _figures(outcome, chosen, applied)
    return Refit(Calibration(temperature, bias, threshold, home), choice, table, protocol)


def fit(
    windows: Windows,
    labels: NDArray[np.int64],
    weights: NDArray[np.float64],
    present: Calibration,
    candidate: str,
) -> tuple[float, tuple[float, ...]]:
    """Temperature and biases under which the labels are most probable, near the present ones.

    The posterior mode under normal distributions around what the bundle has: the fewer the clips,
    the less moves. For the temperature see arXiv:1706.04599, for biases beside it "bias-corrected
    temperature scaling" (Alexandari et al. 2020, arXiv:1901.06852).
    """
    if candidate == AS_IT_IS:
        return present.temperature, present.bias
    classes = windows.logits.shape[1]
    start = np.asarray(present.bias)
    owner = np.repeat(np.arange(len(labels)), np.diff([*windows.first, len(windows.logits)]))
    true = labels[owner]
    rows = np.arange(len(owner))

    def surprise(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scaled = windows.logits / (present.temperature * np.exp(x[0]))
        shares = softmax(scaled + start + x[1:])
        parts = shares[rows, true] * windows.weights
        whole = np.add.reduceat(parts, windows.first) + 1e-12
        # Each window answers for as much of the surprise as it adds to the true class.
        blame = (weights / whole)[owner] * parts
        slope = shares * blame[:, None]
        slope[rows, true] -= blame
        gradient = np.empty_like(x)
        gradient[0] = -np.sum(slope * scaled) + x[0] / SPREAD_OF_TEMPERATURE**2
        gradient[1:] = slope.sum(axis=0) + x[1:] / SPREAD_OF_BIAS**2
        loss = -np.sum(weights * np.log(whole)) + (x[0] / SPREAD_OF_TEMPERATURE) ** 2 / 2
        return float(loss + np.sum((x[1:] / SPREAD_OF_BIAS) ** 2) / 2), gradient

    free = None if AT_HOME.get(candidate, candidate) == BIAS else 0.0
    bounds = [(None, None), *[(free and -free, free)] * classes]
    found = minimize(surprise, np.zeros(1 + classes), jac=True, method="L-BFGS-B", bounds=bounds).x
    bias = start + found[1:]
    # Only differences count; rounded as they are written.
    return (
        round(float(present.temperature * np.exp(found[0])), 4),
        tuple(round(float(each), 4) for each in bias - bias.mean()),
    )


def divide(
    utterances: Sequence[Utterance], labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], str]:
    """The fold of each clip, and how it came about in words: by speaker where there are several."""
    names = [speaker_key(u) for u in utterances]
    speakers = Counter(names)
    if all(utterance.speaker for utterance in utterances) and len(speakers) > 1:
        # The largest first, each to the fold that has least so far.
        sizes = [0] * min(FOLDS, len(speakers))
        fold_of = {}
        for name, count in speakers.most_common():
            fold_of[name] = sizes.index(min(sizes))
            sizes[fold_of[name]] += count
        folds = np.array([fold_of[name] for name in names])
        return folds, f"each of {len(speakers)} speakers judged by what the others gave"
    folds = np.empty(len(labels), np.int64)
    order = np.argsort(labels, kind="stable")
    folds[order] = np.arange(len(labels)) % FOLDS
    nameless = not all(utterance.speaker for utterance in utterances)
    why = "speakers are not named" if nameless else "one speaker"
    return folds, f"each tenth judged by what the rest gave ({why}: no figure for other voices)"


def choose(
    held_out: dict[str, NDArray[np.float64]],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64],
    elsewhere: bool,
) -> str:
    """The candidate that is kept, by its probabilities `(clips, classes)`: the simplest than which
    no other is surely better.

    From `elsewhere`, one at home stays unless one away is surely better than it, and than the same
    at home: biases, which make up for a part of what a home does, do not replace it for no gain.
    """

    def better(name: str, other: str) -> bool:
        return _surely_better(held_out[name], held_out[other], labels, weights)

    def best(names: list[str]) -> str:
        choice = names[0]
        for name in names[1:]:
            if better(name, choice):
                choice = name
        return choice

    at_home = [name for name in held_out if name in AT_HOME]
    if not (elsewhere and at_home):
        return best([*held_out])
    there, away = best(at_home), best([name for name in held_out if name not in AT_HOME])
    if not better(away, there):
        return there
    same = HOME_AND_BIAS if away == BIAS else HOME
    return away if better(away, same) else same


def _chosen(windows: Windows, rows: NDArray[np.int64]) -> Windows:
    stops = np.append(windows.first[1:], len(windows.logits))
    pieces = [np.arange(windows.first[row], stops[row]) for row in rows.tolist()]
    kept = np.concatenate(pieces)
    first = np.cumsum([0, *(len(piece) for piece in pieces[:-1])])
    return Windows(windows.logits[kept], first, windows.weights[kept])


def _balanced(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    counts = np.bincount(labels)
    return np.asarray(len(labels) / np.count_nonzero(counts) / counts[labels], np.float64)


def _surely_better(
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64],
) -> bool:
    """Whether the log-loss of `one` is lower by the margin and by its standard error."""
    rows = np.arange(len(labels))
    gains = weights * np.log((one[rows, labels] + 1e-9) / (other[rows, labels] + 1e-9))
    return bool(gains.mean() > max(MARGIN, gains.std() / np.sqrt(len(labels))))


def _promise(answered: NDArray[np.bool_], right: NDArray[np.bool_]) -> tuple[float, float]:
    """How nearly a threshold keeps its promise, 80 % right or 40 % answered; more is better."""
    coverage = float(answered.mean())
    accuracy = float(right[answered].mean()) if answered.any() else 1.0
    lacking = max(0.0, TARGET_ACCURACY - accuracy) + max(0.0, LEAST_COVERAGE - coverage)
    return -lacking, coverage


def _figures(
    outcome: Outcome, probabilities: NDArray[np.float64], thresholds: NDArray[np.float64]
) -> dict[str, Any]:
    result = figures(outcome.emotions, outcome.labels, probabilities.argmax(axis=1))
    sure = trust(probabilities, outcome.labels, 0.0)
    answered = probabilities.max(axis=1) >= thresholds
    right = probabilities.argmax(axis=1) == outcome.labels
    return {
        **{name: result[name] for name in ("n", "accuracy", "uar")},
        **{name: sure[name] for name in ("ece", "log_loss")},
        "coverage": float(answered.mean()),
        "accuracy_when_certain": float(right[answered].mean()) if answered.any() else None,
    }
