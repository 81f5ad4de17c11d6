"""`ser calibrate`: its arguments, what it prints, and the bundle it writes."""

import argparse
import json
import logging
import shutil
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ser_core.bundle import CARD, INFO, Bundle, BundleError, write_info
from ser_core.lab import evaluation
from ser_core.lab.arguments import DATA_HELP, path
from ser_core.lab.calibrate import (
    AS_IT_IS,
    AT_HOME,
    Calibration,
    CalibrationError,
    Refit,
    check,
    divide,
    refit,
)
from ser_core.lab.card import model_card
from ser_core.lab.corpora import CorpusError, read
from ser_core.lab.home import UNLABELLED, descriptions, home_of, homes_of_others
from ser_core.lab.parts import in_words, known_by, part_of
from ser_core.lab.places import UNLIKE, Places
from ser_core.lab.unlabelled import (
    answers_there,
    files_of,
    locate,
    print_json,
    settled,
    show,
    told_of,
)
from ser_core.lab.unlabelled import in_words as where_in_words
from ser_core.recognizer import Recognizer

logger = logging.getLogger(__name__)

EXPECTED = (CorpusError, CalibrationError)
"""What data may be at fault for."""

MARK = "+calibrated"
"""What a calibrated bundle's version ends in: its answers are others than before."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """`ser calibrate BUNDLE (--data CSV | --recordings PATH...) [--out FOLDER | --in-place]`."""
    command.add_argument("model", help="name or folder of a bundle")
    clips = command.add_mutually_exclusive_group(required=True)
    clips.add_argument("--data", type=Path, help=f"clips with labels: {DATA_HELP}")
    clips.add_argument(
        "--recordings",
        nargs="+",
        type=path,
        metavar="PATH",
        help="recordings without labels, files or folders, of various speakers and moods: tells "
        "whether they are unlike what the model was trained on, and if so what is normal there",
    )
    command.add_argument(
        "--split", choices=("train", "valid", "test"), help="only this part of the data"
    )
    place = command.add_mutually_exclusive_group()
    place.add_argument("--out", type=Path, help="the new bundle's folder (models/NAME-calibrated)")
    place.add_argument("--in-place", action="store_true", help="change the bundle that is given")
    command.add_argument(
        "--balanced",
        action="store_true",
        help="count each emotion the same: for clips whose shares are not those of later use",
    )
    command.add_argument("--json", action="store_true", help="figures as JSON")


def main(options: argparse.Namespace) -> int:
    """Refit, say what it gained, and write the bundle."""
    recognizer = Recognizer.load(options.model, interpreters=evaluation.WORKERS)
    bundle = recognizer.bundle
    if options.recordings:
        return _without_labels(recognizer, options)
    out = _place(bundle, options)
    _make_parent(out)
    reading = read(options.data)
    evaluation.log_skipped(reading)
    utterances = part_of(reading.utterances, options.split, bundle.info)
    evaluation.log_nearest(utterances, bundle.emotions)
    if known := known_by(bundle.info, utterances):
        logger.warning(
            "Warning: the model %s: it is surer of them than of others, and a calibration on them "
            "does not hold for others.",
            in_words(known),
        )
    if "before" in (bundle.info.get("calibration") or {}):
        logger.warning(
            "Warning: %s is calibrated already: clips that it was calibrated with count twice.",
            bundle.name,
        )
    outcome = evaluation.hear_all(recognizer, utterances, sys.stderr.isatty())
    for reason, count in Counter(reason for _, reason in outcome.skipped).items():
        logger.warning("left out %d (%s)", count, reason)
    check(outcome)
    where = location(bundle, outcome)
    if where is not None and where[1] <= UNLIKE and bundle.home() is not None:
        logger.warning(
            "Warning: %s has a home, and these clips are like what it was trained on without: the "
            "home is taken off.",
            bundle.name,
        )
        recognizer = recognizer.away()
        bundle = recognizer.bundle
        outcome = evaluation.hear_all(recognizer, outcome.utterances, sys.stderr.isatty())
    found = recalibrate(recognizer, outcome, where, options.balanced, sys.stderr.isatty())
    heard = {evaluation.speaker_key(u) for u in outcome.utterances if u.speaker}
    write(bundle, found.kept, out, evidence(outcome, found, options), heard)
    if options.json:
        nearest = dict(zip(("nearest", "distance"), where or (None, None), strict=True))
        print(json.dumps({"bundle": str(out), **_summary(bundle, found), **nearest}))
    else:
        _show(bundle, outcome, found, where, out)
    return 0


def _without_labels(recognizer: Recognizer, options: argparse.Namespace) -> int:
    """Say whether recordings are from elsewhere; if so, write a bundle that is at home there."""
    bundle, progress = recognizer.bundle, sys.stderr.isatty()
    for given in ("split", "balanced"):
        if getattr(options, given):
            raise CalibrationError(f"--{given} goes with --data: recordings alone have no labels")
    out = _place(bundle, options)
    place = locate(recognizer, files_of(options.recordings), progress)
    there, written = None, None
    if place.unlike or bundle.home() is not None:
        home = place.home if place.unlike else None
        there, written = answers_there(recognizer, place, home, progress), out
        _make_parent(out)
        write(bundle.without("home"), settled(bundle, home), out, told_of(place))
    if options.json:
        print_json(place, there, written)
    else:
        show(bundle, place, there, written)
    return 0


def location(bundle: Bundle, outcome: evaluation.Outcome) -> tuple[str, float] | None:
    """The corpus of a bundle that clips are most like, and how far they are from it.

    None if the bundle does not say what its corpora are like.
    """
    places, described = Places.of_bundle(bundle), descriptions(outcome)
    if places is None or described is None:
        return None
    return places.nearest(home_of(described).mean)


def recalibrate(
    recognizer: Recognizer,
    outcome: evaluation.Outcome,
    where: tuple[str, float] | None,
    balanced: bool = False,
    progress: bool = False,
) -> Refit:
    """`refit`, with a home among the candidates unless the clips are like what the bundle knows."""
    elsewhere = where is not None and where[1] > UNLIKE
    at_home = None
    if elsewhere or where is None:
        at_home = hear_at_home(recognizer, outcome, progress)
    return refit(
        outcome,
        Calibration.of(recognizer.bundle),
        at_home=at_home,
        elsewhere=elsewhere,
        balanced=balanced,
    )


def hear_at_home(
    recognizer: Recognizer, outcome: evaluation.Outcome, progress: bool = False
) -> evaluation.Outcome | None:
    """The clips of `outcome` once more, each relative to what those of other folds are like.

    None if the bundle knows no profiles.

    Raises:
        CalibrationError: one of them cannot be read any more.
    """
    folds, _ = divide(outcome.utterances, outcome.labels)
    homes = homes_of_others(outcome, folds)
    if homes is None:
        return None
    again = evaluation.hear_all(recognizer.away(), outcome.utterances, progress, homes)
    if lost := len(again.skipped):
        raise CalibrationError(f"{lost} of the clips could be read once and not again")
    return again


def evidence(
    outcome: evaluation.Outcome, found: Refit, options: argparse.Namespace
) -> dict[str, Any]:
    """What `bundle.json` says of a calibration: no paths and no names of speakers."""
    return {
        "data": options.data.name,
        "n": len(outcome.labels),
        "speakers": len({evaluation.speaker_key(u) for u in outcome.utterances if u.speaker}),
        "choice": found.choice,
        "protocol": found.protocol,
        "before": found.figures[AS_IT_IS],
        "after": found.figures["kept"],
    }


def write(
    bundle: Bundle,
    kept: Calibration,
    out: Path,
    calibration: dict[str, Any],
    heard: Collection[str] = (),
) -> None:
    """Write the calibrated bundle; one that was there is whole at every moment.

    `calibration` is what it says of how that came about, its `choice` whether the home is new.

    Speakers who were `heard` are from now on among those who chose it, and none that test it.

    Raises:
        BundleError: the folder cannot be written.
    """
    whole = out.resolve()
    in_place = whole == bundle.path.resolve()
    name = bundle.name if in_place else whole.name
    info = _told(bundle, kept, name, calibration, heard)
    # What is around a bundle may not be the user's to write to: in place nothing else is touched.
    folder = whole / ".partial" if in_place else whole.with_name(f".{whole.name}.partial")
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in bundle.path.iterdir():
            if file.is_file():  # not its mode: a bundle may be there to read alone
                shutil.copyfile(file, folder / file.name)
        write_info(folder, info)
        if "metrics" in info and "corpora" in info:
            text = _card(Bundle.load(folder), bundle)
            (folder / CARD).write_text(text, encoding="utf-8")
        if in_place:
            for changed in (CARD, INFO):
                if (folder / changed).is_file():
                    (folder / changed).replace(whole / changed)
        else:
            folder.rename(out)
    except OSError as e:
        raise BundleError(f"{out} cannot be written: {e.strerror or e}") from e
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _told(
    bundle: Bundle,
    kept: Calibration,
    name: str,
    calibration: dict[str, Any],
    heard: Collection[str],
) -> dict[str, Any]:
    """The `bundle.json` of the calibrated bundle."""
    info = {
        **bundle.info,
        "name": name,
        "version": bundle.version.removesuffix(MARK) + MARK,
        "temperature": kept.temperature,
        "bias": list(kept.bias),
        "threshold": kept.threshold,
        "calibration": calibration,
    }
    if heard:
        judged = bundle.info.get("judged_by") or {"valid": (), "test": ()}
        chose = {*heard} - {*bundle.info.get("speakers", ())}
        info["judged_by"] = {
            "valid": sorted({*judged["valid"], *chose}),
            "test": sorted({*judged["test"]} - {*heard}),
        }
    if not any(kept.bias):
        del info["bias"]
    if kept.home is not None and calibration["choice"] in {*AT_HOME, UNLABELLED}:
        # Enough digits for the float32 values that there are.
        mean = [float(f"{value:.9g}") for value in kept.home.mean]
        told = {"speakers": calibration["speakers"], "count": kept.home.count}
        info["home"] = {**told, "mean": mean}
    return info


def _card(calibrated: Bundle, bundle: Bundle) -> str:
    try:
        return model_card(calibrated)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        what = "no card can be made of its bundle.json"
        raise BundleError(f"{bundle.path}: {what}: {type(e).__name__}: {e}") from e


def _place(bundle: Bundle, options: argparse.Namespace) -> Path:
    """Where the calibrated bundle goes, before any clip is judged.

    Raises:
        BundleError: something is there already, or the bundle is not to be changed.
    """
    if options.in_place:
        if bundle.shipped:
            raise BundleError("a shipped bundle is not changed in place: name another with --out")
        return bundle.path
    out: Path = options.out or Path("models") / f"{bundle.name}-calibrated"
    if out.resolve() == bundle.path.resolve():
        raise BundleError(f"{out} is the bundle itself: --in-place changes it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError(f"{out} is there already: name another folder with --out")
    return out


def _make_parent(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise BundleError(f"{out.parent} cannot be made: {e.strerror}") from e


def _summary(bundle: Bundle, found: Refit) -> dict[str, Any]:
    return {
        "choice": found.choice,
        "protocol": found.protocol,
        "figures": found.figures,
        "temperature": [bundle.temperature, found.kept.temperature],
        "bias": dict(zip(bundle.emotions, found.kept.bias, strict=True)),
        "threshold": [bundle.threshold, found.kept.threshold],
    }


def _show(
    bundle: Bundle,
    outcome: evaluation.Outcome,
    found: Refit,
    where: tuple[str, float] | None,
    out: Path,
) -> None:
    counts = Counter(bundle.emotions[label] for label in outcome.labels.tolist())
    classes = ", ".join(f"{count} {emotion}" for emotion, count in counts.most_common())
    print(f"{len(outcome.labels)} clips ({classes}); {found.protocol}.")
    if where is not None:
        print(where_in_words(*where))
    print()
    print(f"{'':28}{'UAR':>7}{'accuracy':>10}{'ECE':>7}{'log-loss':>10}{'certain':>9}{'right':>7}")
    titles = {**{name: name for name in found.figures}, "kept": "what is kept"}
    for name, row in found.figures.items():
        right = row["accuracy_when_certain"]
        print(
            f"{titles[name]:28}{row['uar']:>7.3f}{row['accuracy']:>10.3f}{row['ece']:>7.3f}"
            f"{row['log_loss']:>10.3f}{row['coverage']:>9.0%}"
            f"{'-' if right is None else format(right, '.0%'):>7}"
        )
    kept = found.kept
    print()
    if found.choice in AT_HOME:
        print(
            "What it takes for normal, its home, is half of the way to what these clips are like."
        )
    if found.choice == AS_IT_IS:
        print(f"Temperature {kept.temperature:g} and biases stay: nothing else is surely better.")
    else:
        print(f"Temperature {bundle.temperature:g} -> {kept.temperature:g}.")
    if any(kept.bias) and found.choice != AS_IT_IS:
        bias = ", ".join(f"{e} {b:+.2f}" for e, b in zip(bundle.emotions, kept.bias, strict=True))
        print(f"Bias: {bias}.")
    if kept.threshold == bundle.threshold:
        print(f"Threshold {kept.threshold:g} stays.")
    else:
        print(f"Threshold {bundle.threshold:g} -> {kept.threshold:g}.")
    print(f"wrote {out}: SER_MODEL={out} ser serve")
