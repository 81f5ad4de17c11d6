"""How many connections each worker has, in memory that all of them share."""

import mmap

_SLOTS = 256
"""Workers that can be told apart; gunicorn numbers them as they start, so they come round again."""


class Crowd:
    """Made before the workers are forked. A slot holds 0 for nobody, else connections + 1."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _SLOTS * 4)
        self._slots = memoryview(self._shared).cast("I")

    def join(self, worker: int) -> None:
        """That worker accepts connections."""
        self.set(worker, 0)

    def leave(self, worker: int) -> None:
        """That worker accepts none any more."""
        self._slots[worker % _SLOTS] = 0

    def set(self, worker: int, connections: int) -> None:
        """So many connections that worker has."""
        self._slots[worker % _SLOTS] = connections + 1

    def is_fuller(self, worker: int) -> bool:
        """Whether some other worker has fewer connections than that one."""
        own = self._slots[worker % _SLOTS]
        return any(0 < other < own for other in self._slots)
