"""Finished cells of the benchmark: rows that are only ever added to a CSV file."""

import csv
import fcntl
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

CELLS = "cells.csv"


class ResultsError(ValueError):
    """The file of results cannot be used; the message says why and what would help."""


@dataclass(frozen=True)
class Row:
    """One cell: what was trained and judged how, and what came of it."""

    protocol: str
    fold: int
    """From 1 on."""
    folds: int
    """How many the protocol has."""
    preset: str
    seed: int
    references: int
    """Unlabelled recordings of the speaker that were given."""
    speakers_heard: str
    """Whether tested speakers were heard in training: yes, no, or unknown."""
    n: int
    accuracy: float
    uar: float
    ece: float
    parameters: int
    bytes: int
    """Of the LiteRT file that is served."""
    milliseconds: float
    """For 3 s of sound on LiteRT with one thread: the quickest of many runs."""
    epochs: int
    seconds: float | None
    """Of training; None where it was interrupted and went on."""
    design: str
    """Hash of the preset's settings, epochs and classes among them."""
    data: str
    """Hash of the manifest."""
    code: str
    date: str

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two rows figures of one cell."""
        return (*self.group, self.fold, self.seed)

    @property
    def group(self) -> tuple[object, ...]:
        """What has to be the same for rows to be averaged."""
        return (self.protocol, self.preset, self.references, self.design, self.data)


NAMES = [field.name for field in fields(Row)]
WHOLE = {"fold", "folds", "seed", "references", "n", "parameters", "bytes", "epochs"}
FRACTIONS = {"accuracy", "uar", "ece", "milliseconds", "seconds"}


class Results:
    """The cells in a folder; several processes may add to them at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def cells(self) -> Path:
        """The file."""
        return self.folder / CELLS

    def rows(self) -> list[Row]:
        """All finished cells in the order of their finishing; without a file none.

        Raises:
            ResultsError: the file is no such table.
        """
        try:
            content = self.cells.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as e:
            raise ResultsError(f"{self.cells} cannot be read: {e}") from e
        return list(self._parsed(_whole_lines(content)))

    def latest(self) -> list[Row]:
        """The newest row of every cell."""
        return list({row.key: row for row in self.rows()}.values())

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows and have them on the disk before it returns.

        A line is there whole or not at all: what a killed process left of one is cut off first.

        Raises:
            ResultsError: the folder cannot be written to, or its file is no such table.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.cells.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                whole = _whole_lines(file.read().decode())
                list(self._parsed(whole))
                file.truncate(len(whole.encode()))
                file.write(_lines([asdict(row) for row in rows], header=not whole).encode())
                file.flush()
                os.fsync(file.fileno())
        except (OSError, UnicodeDecodeError) as e:
            raise ResultsError(f"{self.cells} cannot be written: {e}") from e

    def _parsed(self, content: str) -> Iterator[Row]:
        reader = csv.DictReader(io.StringIO(content))
        if content and reader.fieldnames != NAMES:
            raise ResultsError(
                f"{self.cells} has other columns than {', '.join(NAMES)}: move it away, or name "
                f"another folder with --results"
            )
        for line in reader:
            try:
                yield Row(**{name: _value(name, line[name]) for name in NAMES})
            except (TypeError, ValueError) as e:
                raise ResultsError(f"{self.cells}, line {reader.line_num}: {e}") from e


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Whether `path` could be locked for the length of a `with` block; False: another has it.

    The lock goes with the process, however that ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _value(name: str, text: str) -> Any:
    if name in WHOLE:
        return int(text)
    if name == "seconds" and not text:
        return None
    return float(text) if name in FRACTIONS else text


def _whole_lines(content: str) -> str:
    return content[: content.rfind("\n") + 1]


def _lines(rows: Sequence[dict[str, object]], header: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, NAMES, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
