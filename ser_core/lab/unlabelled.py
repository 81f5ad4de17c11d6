"""`ser calibrate --recordings`: what recordings tell of where a bundle is used, without labels.

A home helps where microphone, people and language are others than in training, and costs a little
where they are the same. Nobody needs to say which: the recordings lie near one of the bundle's
corpora, or far from all of them.
"""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ser_core.bundle import Bundle
from ser_core.lab import evaluation
from ser_core.lab.calibrate import Calibration, CalibrationError, check_count
from ser_core.lab.corpora import CorpusError, recordings
from ser_core.lab.home import TAKEN_OFF, UNLABELLED, home_of
from ser_core.lab.places import UNLIKE, Places
from ser_core.profile import Profile
from ser_core.recognizer import Heard, Recognizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where some recordings are from, as far as they tell."""

    files: list[Path]
    """Those that could be judged."""
    home: Profile
    nearest: str
    """The corpus most like them."""
    distance: float
    """How far they are from that, as `Places.nearest` measures it."""
    answers: dict[str, int]
    """How many are which emotion, as the bundle is."""
    left_out: int
    """How many could not be judged."""

    @property
    def unlike(self) -> bool:
        """Whether they are from elsewhere than what the bundle was trained on."""
        return self.distance > UNLIKE


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Files, and the recordings in folders and below; each once, in order.

    Raises:
        CorpusError: one is not there, or a folder has none, or it is a table.
    """
    found = [file for path in paths for file in _inside(path)]
    # The same file by another way is the same voice, and counts once.
    return list({path.resolve(): path for path in reversed(found)}.values())[::-1]


def _inside(path: Path) -> list[Path]:
    try:
        is_folder = path.is_dir()
        found = list(recordings(path)) if is_folder else [path] * path.exists()
    except OSError as e:
        raise CorpusError(f"{path}: {e.strerror}") from e
    if not found:
        missing = "no recordings there" if is_folder else "there is no such file or folder"
        raise CorpusError(f"{path}: {missing}")
    if not is_folder and path.suffix.lower() == ".csv":
        raise CorpusError(f"{path} is a table: with labels it goes to --data")
    return found


def locate(recognizer: Recognizer, files: Sequence[Path], progress: bool = False) -> Place:
    """Where recordings are from; what cannot be judged of them is named and counted.

    Raises:
        CalibrationError: too few can be judged, the bundle does not say where it is from, or labels
            have told more already.
    """
    bundle = recognizer.bundle
    places = Places.of_bundle(bundle)
    if places is None:
        raise CalibrationError(
            f"{bundle.name} does not say what its corpora are like (places in bundle.json), so "
            "that recordings without labels tell nothing: use --data, with labels"
        )
    if (bundle.info.get("calibration") or {}).get("choice") not in {None, UNLABELLED, TAKEN_OFF}:
        raise CalibrationError(
            f"{bundle.name} was calibrated with labels, which tell more than recordings without: "
            "begin with the bundle that it was made of"
        )
    answers = evaluation.hear_files(recognizer, files, progress)
    reasons = Counter(each for each in answers if isinstance(each, str))
    for reason, count in reasons.items():
        logger.warning("left out %d (%s)", count, reason)
    heard = {f: each for f, each in zip(files, answers, strict=True) if isinstance(each, Heard)}
    check_count(len(heard), reasons.total(), "recordings")
    described = [profile for each in heard.values() if (profile := each.profile(1.0)) is not None]
    home = home_of(described)
    nearest, distance = places.nearest(home.mean)
    told = _answers(recognizer, [*heard.values()])
    return Place([*heard], home, nearest, distance, told, reasons.total())


def answers_there(
    recognizer: Recognizer, place: Place, home: Profile | None, progress: bool = False
) -> dict[str, int]:
    """How many of the recordings are which emotion, relative to a home instead of its own.

    Raises:
        CalibrationError: one of them cannot be read any more.
    """
    profiles = [home] * len(place.files)
    again = evaluation.hear_files(recognizer.away(), place.files, progress, profiles)
    heard = [each for each in again if isinstance(each, Heard)]
    if lost := len(again) - len(heard):
        raise CalibrationError(f"{lost} of the recordings could be read once and not again")
    return _answers(recognizer, heard)


def settled(bundle: Bundle, home: Profile | None) -> Calibration:
    """What is written of a bundle that gets another home, or none.

    The temperature stays: fitted to the speakers who are heard worst, it is a tenth too low on
    average for corpora never heard that are heard at home (`benchmarks/experiments.md`).
    """
    return replace(Calibration.of(bundle), home=home)


def told_of(place: Place) -> dict[str, Any]:
    """What `bundle.json` says of it: no names of files or folders, which may be people's."""
    return {
        "n": len(place.files),
        "speakers": 0,
        "choice": UNLABELLED if place.unlike else TAKEN_OFF,
        "nearest": place.nearest,
        "distance": round(place.distance, 3),
    }


def show(bundle: Bundle, place: Place, there: dict[str, int] | None, out: Path | None) -> None:
    """What was found, to read."""
    print(f"{len(place.files)} recordings, {place.left_out} left out.")
    print(in_words(place.nearest, place.distance))
    if there is None or out is None:
        print("There is nothing to gain, and nothing is written.")
        return
    if place.unlike:
        print("What it takes for normal, its home, is now half of the way to what they are like.\n")
    else:
        print("The home that it had is taken off.\n")
    print(f"{'answers':12}{'before':>8}{'now':>8}")
    for emotion in bundle.emotions:
        before, now = (each[emotion] / len(place.files) for each in (place.answers, there))
        print(f"{emotion:12}{before:>8.0%}{now:>8.0%}")
    print(
        "\nHow right they are here, some 50 clips with labels would say (--data).\n"
        f"wrote {out}: SER_MODEL={out} ser serve"
    )


def in_words(nearest: str, distance: float) -> str:
    """Where recordings lie."""
    how = "from elsewhere than" if distance > UNLIKE else "like"
    return (
        f"They are {how} what it was trained on: {distance:.2f} deviations of a speaker from "
        f"{nearest or 'the nearest corpus'}, the limit is {UNLIKE:.2f}."
    )


def print_json(place: Place, there: dict[str, int] | None, out: Path | None) -> None:
    """The same for programs."""
    told = {
        "bundle": None if out is None else str(out),
        "n": len(place.files),
        "left_out": place.left_out,
        "nearest": place.nearest,
        "distance": place.distance,
        "unlike": place.unlike,
        "answers": {"before": place.answers, **({} if there is None else {"now": there})},
    }
    print(json.dumps(told))


def _answers(recognizer: Recognizer, heard: Sequence[Heard]) -> dict[str, int]:
    named = Counter(recognizer.name(each).emotion for each in heard)
    return {emotion: named[emotion] for emotion in recognizer.bundle.emotions}
