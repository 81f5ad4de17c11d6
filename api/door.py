"""How connections come to a worker: to the one that has fewest, and until the service stops."""

import contextlib
import errno
import mmap
import socket
import time
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

from api.crowd import Crowd

YIELD = 0.002
"""Seconds for which a worker leaves new connections to others that have fewer."""

STOPPING = mmap.mmap(-1, 1)
"""Shared by all processes: 1 once the whole service stops, and not only some of its workers."""

CROWD = Crowd()
"""Connections of every worker, shared by all processes."""

# EINVAL: another worker has shut the listener.
_HARMLESS = {errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED, errno.EINTR, errno.EINVAL}


class Door(ThreadWorker):  # type: ignore[misc]
    """The part of a worker that accepts connections."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stopping_since: float | None = None
        self._yields_until = 0.0

    def init_process(self) -> None:
        CROWD.join(self.age)
        super().init_process()

    def _expect(self, conn: Any, first: bytes = b"") -> None:
        raise NotImplementedError

    def accept(self, listener: socket.socket) -> None:
        # All workers wake up for a connection, and the quickest would get every one of a few
        # clients that keep theirs: who has more than another leaves it to that one for a moment.
        now = time.monotonic()
        has_waited = 0 <= now - self._yields_until < YIELD
        if not has_waited and CROWD.is_fuller(self.age):
            self._yields_until = now + YIELD
            self.set_accept_enabled(False)
            return
        self._yields_until = 0.0
        if self._accept(listener):
            CROWD.set(self.age, self.nr_conns)

    def _accept(self, listener: socket.socket) -> bool:
        try:
            client, address = listener.accept()
        except OSError as e:
            if e.errno not in _HARMLESS:
                raise
            return False
        self.nr_conns += 1
        self._expect(TConn(self.cfg, client, address, listener.getsockname()))
        return True

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled and time.monotonic() >= self._yields_until)
        if not self.alive and self._stopping_since is None:
            self._stopping_since = time.monotonic()
            CROWD.leave(self.age)
            # Those who reached the queue of the kernel before the stop would else be cut off.
            for listener in self.sockets:
                listener.setblocking(False)
                while self.nr_conns < self.worker_connections and self._accept(listener):
                    pass
                if STOPPING[0]:
                    # Else the kernel would go on taking connections that no one will answer.
                    with contextlib.suppress(OSError):
                        listener.shutdown(socket.SHUT_RDWR)

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        if self._stopping_since is None:
            CROWD.set(self.age, self.nr_conns)
        conn.close()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        yields = self._yields_until - time.monotonic()
        super().wait_for_and_dispatch_events(min(timeout, yields) if yields > 0 else timeout)
