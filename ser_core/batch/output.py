"""The table on disk or in a bucket: in parts while it grows, under its own name when it is whole.

`results.parquet.parts/` holds what is finished, in files that are each written under another name
first and then renamed. What is there under the name `results.parquet` is therefore always whole,
and whoever is interrupted loses what was judged since the last part.
"""

import contextlib
import csv as python_csv
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from ser_core.batch import BatchError
from ser_core.batch.storage import Place, reason
from ser_core.batch.table import METADATA, differences, is_table, schema

FORMATS = (".parquet", ".csv")

ROWS = 20_000
"""Rows that are held before a part is written, however soon that is; and of a row group."""

HEAD = 65_536
"""Bytes in which the names of a CSV's columns are looked for."""

_WRITTEN = -2
"""In place of a part's number: the file has its row."""

_RUN = "run.json"
_PART = "part-"
_UNFINISHED = "unfinished"
_LOCK = "lock"


class Output:
    """A table that grows, and that others see only when it is whole."""

    def __init__(self, place: Place, made_by: Mapping[str, Any], seconds: float) -> None:
        """`seconds` is how often a part is written.

        Raises:
            BatchError: the name does not end in `.parquet` or `.csv`.
        """
        if not place.path.lower().endswith(FORMATS):
            raise BatchError(f"{place.name}: the name must end in {' or '.join(FORMATS)}")
        self.place = place
        self._made_by = dict(made_by)
        self._schema = schema(made_by["emotions"], made_by)
        self._parts = place.sibling(".parts")
        self._seconds = seconds
        self._held: list[pa.Table] = []
        self._written = time.monotonic()
        self._next = 0
        self._anew = False
        """What is there under the table's name is to be replaced, not added to."""
        self._begun = False
        self._lock: int | None = None

    def refuse_inputs(self, inputs: Iterable[Place]) -> None:
        """See that the table replaces nothing that is read, but a table that is read as a list.

        Raises:
            BatchError: it would.
        """
        with self._storage():
            if any(self.place.is_same(each) for each in inputs) and not self._is_ours():
                raise BatchError(
                    f"{self.place.name} is also an input: name another table with --out"
                )

    def begin(self, *, resume: bool, overwrite: bool, retry_errors: bool = False) -> set[str]:
        """Make ready to write; returns the files that need not be judged again.

        Raises:
            BatchError: something is there that was not to be touched or does not fit, another run
                writes to it, or nothing can be written.
        """
        with self._storage():
            if self.place.is_folder():
                raise BatchError(f"{self.place.name} is a folder: name a file with --out")
            self._parts.make_folder()
            self._take_lock()
            # Only now is what is there nobody else's.
            fresh = set(self._parts.children()) <= {_LOCK}
            try:
                if not (resume or overwrite):
                    self._check_nothing_there(fresh)
                done = self._go_on(retry_errors) if resume else self._begin_anew()
                with self._whole(self._parts.child(_RUN)) as file:
                    file.write(json.dumps({"anew": self._anew, "made_by": self._made_by}).encode())
            except BaseException:  # also where a signal ends it
                if fresh:
                    with contextlib.suppress(Exception):
                        self._parts.remove_folder()
                raise
        self._begun = True
        return done

    def add(self, rows: pa.Table) -> None:
        """Rows of the table; now and then they become a part.

        Raises:
            BatchError: they cannot be written.
        """
        self._held.append(rows.cast(self._schema))
        late = time.monotonic() - self._written >= self._seconds
        if late or sum(table.num_rows for table in self._held) >= ROWS:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write what is held as a part.

        Raises:
            BatchError: it cannot be written.
        """
        if self._held:
            part = self._parts.child(f"{_PART}{self._next:06d}.parquet")
            with self._storage(), self._whole(part) as file:
                pq.write_table(pa.concat_tables(self._held), file)
            self._next += 1
            self._held.clear()
        self._written = time.monotonic()

    def finish(self) -> None:
        """Put all parts together under the table's own name, and remove them.

        Raises:
            BatchError: it cannot be written.
        """
        self.checkpoint()
        with self._storage():
            newest = self._newest()
            with self._whole(self.place) as file:
                self._write_whole(file, newest)
            self._parts.remove_folder()
        self._close()

    def leave(self) -> None:
        """Let others write to it; what is unfinished stays for `begin(resume=True)`.

        Raises:
            BatchError: the rows held cannot be written; where writing failed before, none are held.
        """
        if not self._begun:
            return
        self.checkpoint()
        with self._storage():
            if not self._part_names():
                self._parts.remove_folder()
        self._close()

    @contextlib.contextmanager
    def _storage(self) -> Iterator[None]:
        """A storage that fails ends the run: nothing is tried there again, not even by `leave`."""
        try:
            yield
        except Exception as e:  # each storage has errors of its own
            self._close()
            if isinstance(e, BatchError):
                raise
            raise BatchError(f"{self.place.name}: {reason(e)}") from e

    @contextlib.contextmanager
    def _whole(self, place: Place) -> Iterator[BinaryIO]:
        """A file that has another name until it is whole."""
        unfinished = self._parts.child(_UNFINISHED)
        with unfinished.write() as file:
            yield file
        unfinished.move_to(place)

    def _close(self) -> None:
        self._begun = False
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _check_nothing_there(self, fresh: bool) -> None:
        ways = "--resume goes on with it, --overwrite begins anew"
        if not fresh:
            raise BatchError(f"{self._parts.name} holds an unfinished run: {ways}")
        if self.place.exists():
            raise BatchError(f"{self.place.name} exists: {ways}")

    def _take_lock(self) -> None:
        if not self._parts.is_local:
            return
        path = Path(self._parts.child(_LOCK).path)
        try:
            self._lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have removed it with the folder: then it keeps nobody out.
            held = os.path.samestat(os.fstat(self._lock), path.stat())
        except (BlockingIOError, FileNotFoundError):
            held = False
        if not held:
            raise BatchError(f"{self.place.name}: another `ser batch` is writing it")

    def _begin_anew(self) -> set[str]:
        # What is there under the table's own name stays until the new one is whole.
        self._anew = True
        for name in self._part_names():
            self._parts.filesystem.delete_file(self._parts.child(name).path)
        return set()

    def _part_names(self) -> list[str]:
        return [name for name in self._parts.children() if name.startswith(_PART)]

    def _go_on(self, retry_errors: bool) -> set[str]:
        differences(self._made_before(), self._made_by, self.place.name)
        done: set[str] = set()
        for _, table in self._all():
            files, errors = table["file"].to_pylist(), table["error"].to_pylist()
            for file, error in zip(files, errors, strict=True):
                if retry_errors and error is not None:
                    done.discard(file)
                else:
                    done.add(file)
        parts = self._part_names()
        self._next = 1 + int(parts[-1][len(_PART) :].partition(".")[0]) if parts else 0
        return done

    def _made_before(self) -> dict[str, Any]:
        """What an earlier run says of itself; nothing if there was none, or it cannot tell."""
        run = self._parts.child(_RUN)
        try:
            if run.exists():
                with run.read() as file:
                    told = json.loads(file.read())
                self._anew = bool(told["anew"])
                return dict(told["made_by"])
            if not self.place.exists() or self._is_csv:
                return {}  # of a CSV, the columns and the names in its rows have to do
            with self.place.read() as file:
                metadata = pq.read_schema(file).metadata or {}
            return dict(json.loads(metadata[METADATA]))
        except (ValueError, KeyError, pa.ArrowException) as e:
            raise BatchError(f"{self.place.name} is no table of `ser batch`: {e}") from e

    @property
    def _is_csv(self) -> bool:
        return self.place.path.lower().endswith(".csv")

    def _is_ours(self) -> bool:
        """Whether what is there is a table of `ser batch`, of whatever model."""
        with self.place.read() as file:
            try:
                if not self._is_csv:
                    return is_table(pq.read_schema(file).names)
                head = file.read(HEAD).decode("utf-8-sig", "replace")
                return is_table(next(python_csv.reader(head.splitlines()), []))
            except (pa.ArrowException, python_csv.Error):
                return False

    def _all(self) -> Iterator[tuple[int, pa.Table]]:
        """Every piece of the table, from the oldest part on, each with the number of its part."""
        if self.place.exists() and not self._anew:
            with self.place.read() as file:
                for batch in self._whole_batches(file):
                    yield -1, self._checked(pa.table(batch))
        for number, name in enumerate(self._part_names()):
            with self._parts.child(name).read() as file:
                for batch in pq.ParquetFile(file).iter_batches(use_threads=False):
                    yield number, pa.table(batch).cast(self._schema)

    def _whole_batches(self, file: Any) -> Iterator[pa.RecordBatch]:
        try:
            if not self._is_csv:
                yield from pq.ParquetFile(file).iter_batches(use_threads=False)
                return
            yield from csv.open_csv(
                file,
                parse_options=csv.ParseOptions(newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    column_types=self._schema, null_values=[""], strings_can_be_null=True
                ),
            )
        except pa.ArrowException as e:
            raise BatchError(f"{self.place.name} is no table of `ser batch`: {e}") from e

    def _checked(self, table: pa.Table) -> pa.Table:
        if not is_table(table.column_names):
            raise BatchError(
                f"{self.place.name} is no table of `ser batch`: name another one with --out"
            )
        if table.column_names != self._schema.names:
            raise BatchError(
                f"{self.place.name} has other columns than this model's table: "
                f"--overwrite makes it anew"
            )
        for name in ("model", "version"):
            for value in table[name].unique().to_pylist():
                differences({name: value}, {name: self._made_by[name]}, self.place.name)
        return table.cast(self._schema)

    def _newest(self) -> dict[str, int]:
        """The part in which each file that has more than one row has its last one."""
        # Files with one row are nearly all, and a number takes a tenth of a name.
        hashes = np.sort(np.fromiter((hash(file) for _, file in self._files()), np.int64))
        several = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
        if not several:
            return {}
        return {file: part for part, file in self._files() if hash(file) in several}

    def _files(self) -> Iterator[tuple[int, str]]:
        for part, table in self._all():
            for file in table["file"].to_pylist():
                yield part, file

    def _write_whole(self, file: Any, newest: dict[str, int]) -> None:
        writer: Any
        if self._is_csv:
            options = csv.WriteOptions(quoting_style="needed")
            writer = csv.CSVWriter(file, self._schema, write_options=options)
        else:
            writer = pq.ParquetWriter(file, self._schema)

        def is_last(file: str, part: int) -> bool:
            if newest.get(file, part) != part:
                return False
            if file in newest:
                newest[file] = _WRITTEN
            return True

        with writer:
            held = self._schema.empty_table()
            for part, table in self._all():
                keep = [is_last(file, part) for file in table["file"].to_pylist()]
                held = pa.concat_tables([held, table.filter(pa.array(keep, pa.bool_()))])
                while held.num_rows >= ROWS:
                    writer.write_table(held.slice(0, ROWS))
                    held = held.slice(ROWS)
            writer.write_table(held)
