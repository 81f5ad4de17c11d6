"""The finished cells as tables: means over folds and seeds, in Markdown and CSV."""

import csv
import io
import re
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ser_core.lab.benchmark_results import ResultsError, Row
from ser_core.lab.protocols import PROTOCOLS

BEGIN, END = re.compile(r"<!-- benchmark(?:: (.+))? -->\n"), "<!-- /benchmark -->"
"""Between these lines of a document stand the tables, or one of the protocols that it names."""

COLUMNS = [
    "protocol", "speakers_heard_in_training", "preset", "references", "uar", "uar_deviation",
    "accuracy", "accuracy_deviation", "ece", "folds", "of_folds", "seeds", "n", "parameters",
    "bytes", "milliseconds", "epochs", "design", "data", "code",
]  # fmt: skip


@dataclass(frozen=True)
class Line:
    """Cells that differ in fold and seed alone."""

    rows: tuple[Row, ...]

    @property
    def one(self) -> Row:
        """The newest of them."""
        return max(self.rows, key=lambda row: row.date)

    @property
    def folds(self) -> int:
        """How many folds are finished."""
        return len({row.fold for row in self.rows})

    @property
    def seeds(self) -> str:
        """How many seeds each fold has."""
        counts = [len(rows) for rows in self._by_fold()]
        fewest, most = min(counts), max(counts)
        return str(most) if fewest == most else f"{fewest} to {most}"

    def mean(self, name: str) -> float:
        """Of a figure over the folds, each of which counts the same, and their seeds."""
        return statistics.fmean(
            statistics.fmean(getattr(row, name) for row in rows) for rows in self._by_fold()
        )

    def deviation(self, name: str) -> float | None:
        """The standard deviation of a figure; None of a single cell."""
        values = [getattr(row, name) for row in self.rows]
        return statistics.stdev(values) if len(values) > 1 else None

    @property
    def bytes(self) -> int:
        """Of the file that is served: in 8 bits or in floats, as most of them are."""
        return statistics.median_low(row.bytes for row in self.rows)

    @property
    def milliseconds(self) -> float:
        """The least that a file of that kind took: floats are some three times as large."""
        alike = (row for row in self.rows if self.bytes / 2 < row.bytes < self.bytes * 2)
        return min(row.milliseconds for row in alike)

    def _by_fold(self) -> list[list[Row]]:
        folds: dict[int, list[Row]] = defaultdict(list)
        for row in self.rows:
            folds[row.fold].append(row)
        return [*folds.values()]


def lines(rows: Sequence[Row]) -> list[Line]:
    """One for each protocol, preset and count of references, in the order of `PROTOCOLS`.

    Of several designs of a preset, or several states of the data, the one with most folds, then
    the newest: figures of different ones are never averaged.
    """
    newest = {row.key: row for row in rows}
    groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in newest.values():
        groups[row.group].append(row)
    best: dict[tuple[str, str, int], Line] = {}
    for group in groups.values():
        line = Line(tuple(group))
        place = (line.one.protocol, line.one.preset, line.one.references)
        if place not in best or _rank(line) > _rank(best[place]):
            best[place] = line
    order = [*PROTOCOLS]
    known = [line for line in best.values() if line.one.protocol in order]
    return sorted(
        known,
        key=lambda line: (order.index(line.one.protocol), line.one.preset, line.one.references),
    )


def markdown(rows: Sequence[Row]) -> str:
    """A table of UAR by preset and protocol, then one with all figures, then what is what."""
    found = lines(rows)
    if not found:
        return "No cell is finished.\n"
    return "\n\n".join([_overview(found), _details(found), _legend(found)]) + "\n"


def summary(rows: Sequence[Row], protocols: Sequence[str]) -> str:
    """UAR and accuracy by preset under these protocols, without references.

    What each takes is of the last protocol that it was judged under.
    """
    by_preset: dict[str, dict[str, Line]] = defaultdict(dict)
    for line in lines(rows):
        if line.one.protocol in protocols and not line.one.references:
            by_preset[line.one.preset][line.one.protocol] = line
    table = [["UAR / accuracy", *protocols, "parameters", "MB", "ms for 3 s"]]
    for preset, found in by_preset.items():
        last = [*found.values()][-1]
        table.append([
            f"`{preset}`", *(_both(found.get(name)) for name in protocols),
            f"{last.one.parameters:,}", f"{last.bytes / 1e6:.2f}", f"{last.milliseconds:.1f}",
        ])  # fmt: skip
    return _table(table) + "\n"


def to_csv(rows: Sequence[Row]) -> str:
    """All figures, a row for each protocol, preset and count of references."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in lines(rows):
        one = line.one
        writer.writerow([
            one.protocol, one.speakers_heard, one.preset, one.references,
            f"{line.mean('uar'):.4f}", _digits(line.deviation("uar")),
            f"{line.mean('accuracy'):.4f}", _digits(line.deviation("accuracy")),
            f"{line.mean('ece'):.4f}", line.folds, one.folds, line.seeds, _tested(line),
            one.parameters, line.bytes, line.milliseconds, one.epochs,
            one.design, one.data, one.code,
        ])  # fmt: skip
    return text.getvalue()


def insert(document: Path, rows: Sequence[Row]) -> None:
    """Put the tables between the markers of a document: `<!-- benchmark -->` and its end.

    `<!-- benchmark: PROTOCOL PROTOCOL -->` is for one small table of these, without references.

    Raises:
        ResultsError: it cannot be read or written, or has no markers.
    """
    try:
        content = document.read_text(encoding="utf-8")
        begin = BEGIN.search(content)
        end = content.find(END, begin.end() if begin else 0)
        if begin is None or end < 0:
            raise ResultsError(
                f"{document} has no lines <!-- benchmark --> and {END} to put the table between"
            )
        named = (begin[1] or "").split()
        text = summary(rows, named) if named else markdown(rows)
        write(document, f"{content[: begin.end()]}{text}{content[end:]}")
    except OSError as e:
        raise ResultsError(f"{document}: {e.strerror}") from e


def write(path: Path, text: str) -> None:
    """Replace a file at once."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _overview(found: Sequence[Line]) -> str:
    heard = {line.one.protocol: line.one.speakers_heard for line in found}
    protocols = [*heard]
    by_place = {(line.one.preset, line.one.references, line.one.protocol): line for line in found}
    table = [["UAR", *protocols], ["*speakers heard in training*", *(heard[p] for p in protocols)]]
    for preset, references in sorted({place[:2] for place in by_place}):
        cells = [by_place.get((preset, references, name)) for name in protocols]
        given = f", {references} references" if references else ""
        table.append([f"`{preset}`{given}", *(_spread(cell, "uar") for cell in cells)])
    return _table(table)


def _details(found: Sequence[Line]) -> str:
    table = [[
        "protocol", "speakers heard in training", "preset", "references", "UAR", "accuracy", "ECE",
        "folds", "seeds", "n", "parameters", "MB", "ms for 3 s", "epochs, at most",
    ]]  # fmt: skip
    for line in found:
        one = line.one
        folds = str(line.folds) if line.folds == one.folds else f"{line.folds} of {one.folds}"
        table.append([
            one.protocol, one.speakers_heard, f"`{one.preset}`", str(one.references),
            _spread(line, "uar"), _spread(line, "accuracy"), _point(line.mean("ece")), folds,
            line.seeds, f"{_tested(line):,}", f"{one.parameters:,}",
            f"{line.bytes / 1e6:.2f}", f"{line.milliseconds:.2f}", str(one.epochs),
        ])  # fmt: skip
    return _table(table)


def _legend(found: Sequence[Line]) -> str:
    names = dict.fromkeys(line.one.protocol for line in found)
    return "\n".join(f"- `{name}`: {PROTOCOLS[name].summary}." for name in names)


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def _rank(line: Line) -> tuple[int, str]:
    return line.folds, line.one.date


def _spread(line: Line | None, name: str) -> str:
    if line is None:
        return ""
    deviation = line.deviation(name)
    partly = "" if line.folds == line.one.folds else f" ({line.folds} of {line.one.folds} folds)"
    spread = "" if deviation is None else f" ± {_point(deviation)}"
    return f"{_point(line.mean(name))}{spread}{partly}"


def _both(line: Line | None) -> str:
    return "" if line is None else f"{_spread(line, 'uar')} / {_point(line.mean('accuracy'))}"


def _point(value: float) -> str:
    """Three digits without the zero before the point."""
    return f"{value:.3f}".removeprefix("0")


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _tested(line: Line) -> int:
    """Recordings that were judged, each fold's once."""
    return sum({row.fold: row.n for row in line.rows}.values())
