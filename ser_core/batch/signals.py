"""What ends a run from outside: it cleans up and keeps what it has, as after Ctrl-C."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)

STDERR = 2


class Interrupted(KeyboardInterrupt):
    """A signal is to end the run."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number
        """What shells say of what a signal has ended."""


@contextlib.contextmanager
def interrupting() -> Iterator[None]:
    """Have signals raise `Interrupted` for the length of a `with` block.

    The first does; those after it, with which closed terminals and systemd are not sparing, do not
    disturb the cleaning up.
    """
    before = {number: signal.getsignal(number) for number in ENDING}
    terminal = os.isatty(STDERR)

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        if terminal and not os.isatty(STDERR):
            _write_nowhere()
        raise Interrupted(number)

    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as it is under nohup
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Undo what the block does to the handlers: Ray puts in its own, which ends by `SystemExit`.

    Raises:
        Interrupted: it did.
    """
    before = {number: signal.getsignal(number) for number in ENDING}
    try:
        yield
    except SystemExit as e:
        raise Interrupted(signal.SIGTERM) from e
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write_nowhere() -> None:
    """The terminal is gone: every word to it would be an error, which hides the interruption."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), STDERR)
