"""What the arguments of the lab's commands have in common."""

import argparse

DATA_HELP = "a CSV manifest, or the folder of a public corpus"


def positive(text: str) -> int:
    """A whole number above 0, for `argparse`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)
