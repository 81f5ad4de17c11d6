"""A recording that is listened to twice, in constant memory: once to survey it, once to judge it.

What counts as sound depends on the loudest parts, which may come last; so nothing can be judged
before all of it has passed. Short recordings are kept in between, long ones are decoded again.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from ser_core.activity import Survey
from ser_core.audio import BLOCK, NotAudio, Signal, unchecked

KEPT = 2**20
"""Samples, of all channels together, up to which a recording is kept in memory: 65 s at 16 kHz."""


class Tape:
    """The blocks of one recording, `(samples,)` or `(samples, channels)`, surveyed."""

    def __init__(
        self,
        blocks: Callable[[], Iterable[Signal]],
        sampling_rate: int,
        check: Callable[[], None] = unchecked,
    ) -> None:
        self._blocks = blocks
        self._check = check
        self._decode_seconds = 0.0
        self._kept: list[Signal] | None = []
        self.surveys: list[Survey] = []
        """One for each channel; a single one for a mono recording."""
        size = 0
        for block in self._decoded():
            columns = _columns(block)
            if not self.surveys:
                self.surveys = [Survey(sampling_rate) for _ in columns]
            for survey, column in zip(self.surveys, columns, strict=True):
                survey.add(column)
            size += block.size
            if self._kept is not None:
                self._kept.append(block)
            if size > KEPT:
                self._kept = None

    @classmethod
    def of_signal(
        cls, signal: Signal, sampling_rate: int, check: Callable[[], None] = unchecked
    ) -> "Tape":
        """Of samples that are in memory anyway."""
        starts = range(0, len(signal), BLOCK)
        return cls(
            lambda: (signal[start : start + BLOCK] for start in starts), sampling_rate, check
        )

    def cut(self, spans: Sequence[tuple[int, int]], channel: int = 0) -> Iterator[Signal]:
        """The samples of each span `(start, stop)`, of one channel, as they pass.

        The spans must be in the order of their starts. What is yielded is read-only to the caller.
        Raises `AudioError`, and what `check` raises, which is called before each.
        """
        blocks = iter(self._decoded() if self._kept is None else self._kept)
        held, offset = np.empty(0, np.float32), 0
        for start, stop in spans:
            self._check()
            while offset + len(held) < stop:
                block = next(blocks, None)
                if block is None:
                    raise NotAudio("The recording changed while it was read.")
                passed = min(max(0, start - offset), len(held))
                rest, more = held[passed:], _columns(block)[channel]
                held = np.concatenate([rest, more]) if len(rest) else more
                offset += passed
            yield held[start - offset : stop - offset]

    def take_decode_seconds(self) -> float:
        """Time that decoding has taken since this was last asked."""
        seconds, self._decode_seconds = self._decode_seconds, 0.0
        return seconds

    def _decoded(self) -> Iterator[Signal]:
        blocks, last = iter(self._blocks()), False
        while not last:
            started = time.perf_counter()
            try:
                block = next(blocks, None)
            finally:
                self._decode_seconds += time.perf_counter() - started
            if block is None:
                last = True
            else:
                yield block


def _columns(block: Signal) -> list[Signal]:
    if block.ndim == 1:
        return [block]
    return [np.ascontiguousarray(block[:, channel]) for channel in range(block.shape[1])]
