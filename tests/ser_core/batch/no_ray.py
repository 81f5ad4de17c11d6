"""Judging without Ray, where a test is about what is around it."""

import contextlib
import os
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

from ser_core import Recognizer
from ser_core.audio import DEFAULT_LIMITS
from ser_core.batch import engine
from ser_core.batch.table import judge, scored_schema


class NoRay:
    """What stands in for it: the work is done here, a recording at a time."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, after_each: Callable[[], None] = lambda: None
    ) -> None:
        self.after_each = after_each
        monkeypatch.setattr(engine, "running", self._running)
        monkeypatch.setattr(engine, "score", self._score)

    @contextlib.contextmanager
    def _running(self, *_: object) -> Iterator[engine.Engine]:
        yield engine.Engine(1, 1, is_cluster=False)

    def _score(self, locations: pa.Table, *_: object) -> Iterator[pa.Table]:
        recognizer = Recognizer.load()
        for index, location in enumerate(locations["location"].to_pylist()):
            row = {"index": index, **judge(recognizer, os.fsdecode(location), DEFAULT_LIMITS)}
            yield pa.Table.from_pylist([row], schema=scored_schema(recognizer.bundle.emotions))
            self.after_each()
