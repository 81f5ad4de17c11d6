"""`ser calibrate --recordings`: what recordings tell of where a bundle is used, without labels.

A home helps where microphone, people and language are others than in training, and costs a little
where they are the same. Nobody needs to say which: the recordings lie near one of the bundle's
corpora, or far from all of them.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ser_core.bundle import Bundle
from ser_core.lab import evaluation
from ser_core.lab.calibrate import LEAST_CLIPS, Calibration, CalibrationError
from ser_core.lab.corpora import CorpusError, recordings
from ser_core.lab.home import UNLABELLED, home_of
from ser_core.lab.places import UNLIKE, Places
from ser_core.profile import Profile
from ser_core.recognizer import Heard, Recognizer


@dataclass(frozen=True)
class Place:
    """Where some recordings are from, as far as they tell."""

    files: list[Path]
    """Those in which somebody speaks."""
    home: Profile
    nearest: str
    """The corpus most like them."""
    distance: float
    """How far they are from that, as `Places.nearest` measures it."""
    answers: dict[str, int]
    """How many are which emotion, as the bundle is."""

    @property
    def unlike(self) -> bool:
        """Whether they are from elsewhere than what the bundle was trained on."""
        return self.distance > UNLIKE


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Files, and the recordings in folders and below; each once, in order.

    Raises:
        CorpusError: one is not there, or a folder has none.
    """
    found: list[Path] = []
    for path in paths:
        inside = list(recordings(path)) if path.is_dir() else [path]
        if not inside:
            raise CorpusError(f"{path}: no recordings there")
        if not inside[0].exists():
            raise CorpusError(f"{path}: there is no such file or folder")
        found += inside
    return list(dict.fromkeys(found))


def locate(recognizer: Recognizer, files: Sequence[Path], progress: bool = False) -> Place:
    """Where recordings are from; what cannot be used of them is named and counted.

    Raises:
        CalibrationError: too few can be used, or the bundle does not say where it is from.
    """
    bundle = recognizer.bundle
    check(bundle)
    places = Places.of_bundle(bundle)
    if places is None:
        raise CalibrationError(
            f"{bundle.name} does not say what its corpora are like (places in bundle.json), so "
            "that recordings without labels tell nothing: use --data, with labels"
        )
    heard = evaluation.hear_files(recognizer, files, progress)
    described = [
        (file, each, profile)
        for file, each in zip(files, heard, strict=True)
        if isinstance(each, Heard) and (profile := each.profile(1.0)) is not None
    ]
    if len(described) < LEAST_CLIPS:
        count, lost = len(described), len(files) - len(described)
        raise CalibrationError(
            f"calibrating needs at least {LEAST_CLIPS} recordings in which somebody speaks, better "
            f"50; here {'is' if count == 1 else 'are'} {count or 'none'}"
            + (f"; {lost} {'was' if lost == 1 else 'were'} left out" if lost else "")
        )
    home = home_of([profile for _, _, profile in described])
    return Place(
        [file for file, _, _ in described],
        home,
        *places.nearest(home.mean),
        _answers(recognizer, [each for _, each, _ in described]),
    )


def answers_there(recognizer: Recognizer, place: Place, progress: bool = False) -> dict[str, int]:
    """How many of the recordings are which emotion, relative to what they have in common.

    Raises:
        CalibrationError: one of them cannot be read any more.
    """
    again = evaluation.hear_files(
        recognizer.away(), place.files, progress, [place.home] * len(place.files)
    )
    heard = [each for each in again if isinstance(each, Heard)]
    if lost := len(again) - len(heard):
        raise CalibrationError(f"{lost} of the recordings could be read once and not again")
    return _answers(recognizer, heard)


def check(bundle: Bundle) -> None:
    """Whether a bundle can learn of recordings without labels where it is.

    Raises:
        CalibrationError: labels have told it already.
    """
    if bundle.info.get("calibration", {}).get("choice", UNLABELLED) != UNLABELLED:
        raise CalibrationError(
            f"{bundle.name} was calibrated with labels, which tell more than recordings without: "
            "begin with the bundle that it was made of"
        )


def settled(bundle: Bundle, home: Profile) -> Calibration:
    """What is written of a place that is unlike those that the bundle knows.

    The temperature stays: fitted to the speakers who are heard worst, it is a tenth too low on
    average for corpora never heard that are heard at home (`benchmarks/experiments.md`).
    """
    return replace(Calibration.of(bundle), home=home)


def evidence(place: Place, paths: Sequence[Path]) -> dict[str, Any]:
    """What `bundle.json` says of it: no folders, and no names of single files."""
    data = ", ".join(path.name for path in paths if path.is_dir()) or "files"
    return {
        "data": data,
        "n": len(place.files),
        "speakers": 0,
        "choice": UNLABELLED,
        "nearest": place.nearest,
        "distance": round(place.distance, 3),
    }


def show(bundle: Bundle, place: Place, there: dict[str, int] | None, out: Path | None) -> None:
    """What was found, to read."""
    print(
        f"{len(place.files)} recordings, {place.distance:.2f} deviations of a speaker from the "
        f"nearest corpus that {bundle.name} was\ntrained on ({place.nearest or 'unnamed'}); above "
        f"{UNLIKE:g} they are from elsewhere."
    )
    if there is None or out is None:
        print("They are like what it knows: there is nothing to gain, and nothing is written.")
        return
    print("Normal is now half of the way to what they are like, whoever speaks.\n")
    print(f"{'answers':12}{'before':>8}{'now':>8}")
    for emotion in bundle.emotions:
        before, now = (each[emotion] / len(place.files) for each in (place.answers, there))
        print(f"{emotion:12}{before:>8.0%}{now:>8.0%}")
    print(
        "\nHow right they are here, some 50 clips with labels would say (--data).\n"
        f"wrote {out}: SER_MODEL={out} ser serve"
    )


def print_json(place: Place, there: dict[str, int] | None, out: Path | None) -> None:
    """The same for programs."""
    told = {
        "bundle": None if out is None else str(out),
        "n": len(place.files),
        "nearest": place.nearest,
        "distance": place.distance,
        "unlike": place.unlike,
        "answers": {"before": place.answers, **({} if there is None else {"now": there})},
    }
    print(json.dumps(told))


def _answers(recognizer: Recognizer, heard: Sequence[Heard]) -> dict[str, int]:
    named = Counter(recognizer.name(each).emotion for each in heard)
    return {emotion: named[emotion] for emotion in recognizer.bundle.emotions}
