"""What the arguments of the lab's commands have in common."""

import argparse
from pathlib import Path

DATA_HELP = "a CSV manifest, or the folder of a public corpus"


def names(text: str) -> tuple[str, ...]:
    """`a,b` -> `("a", "b")`, for `argparse`."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found) or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of different names, as in a,b")
    return found


def path(text: str) -> Path:
    """A path that is not empty, as a variable that is not set would be, for `argparse`."""
    if not text:
        raise argparse.ArgumentTypeError("a path is empty")
    return Path(text)


def positive(text: str) -> int:
    """A whole number above 0, for `argparse`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def seed(text: str) -> int:
    """A whole number from 0 on, for `argparse`."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def fraction(text: str) -> float:
    """A number above 0 and below 1, for `argparse`."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number between 0 and 1")
    return number


def folder(text: str) -> Path:
    """A folder that can be written in, made if it is not there: known before the work is done."""
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise argparse.ArgumentTypeError(f"{text} is no folder to write in: {e.strerror}") from e
    return path
