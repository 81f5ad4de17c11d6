"""The actor that judges: it loads the model once, then takes recordings by the dozen."""

import faulthandler
import io
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice
from typing import Any

import pyarrow as pa
import ray

from ser_core.audio import Source
from ser_core.batch.setup import Setup, unpack
from ser_core.batch.storage import is_uri
from ser_core.batch.table import CRASHED, failed, judge, scored_schema, storage_failed

AHEAD = 8
"""Remote recordings that one actor reads while it judges."""

DEATHS = 2
"""Processes that a recording may end before it is given up."""

STDERR = 2


class Attempts:
    """How often each piece of work was begun, for all actors; lives in a process of its own."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, int], int] = {}

    def begin(self, kind: str, number: int) -> int:
        """Count a beginning, before it can go wrong; returns which one it is, from 1."""
        key = (kind, number)
        self._begun[key] = self._begun.get(key, 0) + 1
        return self._begun[key]

    def end(self, kind: str, number: int) -> None:
        """Forget the beginnings of what went well."""
        del self._begun[kind, number]


class Scorer:
    """Judges recordings by their index in a table of locations.

    Ray gives the work of an actor that died to its successor, as often as it takes. So that one
    recording that ends every process cannot go on for ever, work that is begun anew is counted
    recording by recording, and one that has ended `DEATHS` processes gets its row as it is.
    """

    def __init__(self, setup: Any, locations: Any, attempts: Any) -> None:
        given: Setup = ray.get(setup)
        self._recognizer = unpack(given.bundle)
        self._recognizer.warm_up()
        self._stores, self._limits, self._timeout = given.stores, given.limits, given.timeout
        self._locations: pa.ChunkedArray = ray.get(locations)["location"]
        self._attempts = attempts
        self._readers = ThreadPoolExecutor(AHEAD)
        self._schema = scored_schema(self._recognizer.bundle.emotions)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """`id` of each recording -> its index and its row."""
        indices: list[int] = batch["id"].to_pylist()
        again = self._begin("task", indices[0]) > 1
        rows = self._carefully(indices) if again else self._quickly(indices)
        table = pa.Table.from_pylist(rows, schema=self._schema)
        return table.set_column(0, "index", pa.array(indices, pa.int64()))

    def _quickly(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Remote recordings are read ahead, but not many, as they are held in memory."""
        locations = [self._location(index) for index in indices]
        waiting = iter(locations)
        ahead = deque(self._ask(location) for location in islice(waiting, AHEAD))
        rows = []
        for _ in locations:
            rows.append(self._row(ahead.popleft()))
            ahead.extend(self._ask(location) for location in islice(waiting, 1))
        return rows

    def _carefully(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Nothing is begun before it is counted, so that what goes wrong is known by its name."""
        rows = []
        for index in indices:
            if self._begin("recording", index) > DEATHS:
                rows.append(self._crashed())
                continue
            rows.append(self._row(self._ask(self._location(index))))
            self._attempts.end.remote("recording", index)
        return rows

    def _begin(self, kind: str, number: int) -> int:
        return int(ray.get(self._attempts.begin.remote(kind, number)))

    def _location(self, index: int) -> str:
        location: bytes = self._locations[index].as_py()
        return location.decode("utf-8", "surrogateescape")

    def _ask(self, location: str) -> Callable[[], Source]:
        """Where it is remote, begin to read it."""
        if is_uri(location):
            return self._readers.submit(self._stores.source, location).result
        return lambda: location

    def _row(self, answer: Callable[[], Source]) -> dict[str, Any]:
        # It works even where a decoder hangs and keeps Python's lock.
        faulthandler.dump_traceback_later(self._timeout, exit=True, file=STDERR)
        try:
            source = answer()
            with source if isinstance(source, io.IOBase) else nullcontext():
                return judge(self._recognizer, source, self._limits)
        except Exception as e:  # a location may be anything, and each storage has errors of its own
            return storage_failed(self._recognizer.bundle, e)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _crashed(self) -> dict[str, Any]:
        error = (
            f"Judging it ended {DEATHS} processes: by a crash, for want of memory, "
            f"or after {self._timeout:g} s."
        )
        return failed(self._recognizer.bundle, error, CRASHED)
