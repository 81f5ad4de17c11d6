"""Clients that send whole requests at a rate, or as fast as answers come, and note what happens.

All of them in one loop over sockets, so that they leave the CPUs that they share with the service
to the service: about a tenth of what its answer to 3 s of sound takes.
"""

import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Make = Callable[[], bytes]
PATIENCE = 30.0
MOST_OPEN = 1_500
SEND_BUFFER = 1_000_000


@dataclass
class Seen:
    """What the clients saw."""

    seconds: float = 0.0
    statuses: "Counter[int]" = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    """Of the requests that were answered with 200, in seconds."""
    slowest: float = 0.0
    """Of all answers, in seconds."""
    lost: int = 0
    """Sent over an open connection, and never answered."""
    refused: int = 0
    """Connections that were not accepted."""
    unsent: int = 0
    """Not sent, as too many were open."""
    hung: int = 0
    """Not answered in 30 s."""

    @property
    def per_second(self) -> float:
        return self.statuses[200] / self.seconds if self.seconds else 0.0

    def quantile(self, share: float) -> float:
        """Of the times of the 200s, in seconds."""
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass(eq=False)
class _Exchange:
    """A request on its way, and what has come of its answer."""

    sock: socket.socket
    left: memoryview
    """Of the request, not sent yet."""
    started: float
    received: bytes = b""
    status: int = 0
    waits_to_send: bool = False


class Clients:
    """Send requests over connections that are kept open and shared."""

    def __init__(self, port: int) -> None:
        self.seen = Seen()
        self._port = port
        self._poll = selectors.DefaultSelector()
        self._idle: list[socket.socket] = []
        self._busy: dict[int, _Exchange] = {}
        self._checked = time.perf_counter()

    @property
    def busy(self) -> int:
        """Requests that wait for their answers."""
        return len(self._busy)

    def start(self, request: bytes) -> None:
        """Send a request; `step` brings its answer."""
        if len(self._busy) >= MOST_OPEN:
            self.seen.unsent += 1
            return
        if self._idle:
            sock = self._idle.pop()
        else:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", self._port))
            self._poll.register(sock, selectors.EVENT_READ)
        exchange = _Exchange(sock, memoryview(request), time.perf_counter())
        self._busy[sock.fileno()] = exchange
        self._send(exchange)

    def step(self, timeout: float) -> int:
        """Wait for something to happen; how many requests are over with."""
        before = len(self._busy)
        for key, event in self._poll.select(timeout):
            exchange = self._busy.get(key.fd)
            if exchange is None:
                self._forget_idle(key.fd)
                continue
            if event & selectors.EVENT_WRITE:
                self._send(exchange)
            if event & selectors.EVENT_READ and exchange.sock.fileno() >= 0:
                self._receive(exchange)
        now = time.perf_counter()
        if now - self._checked > 1:
            self._checked = now
            for exchange in [e for e in self._busy.values() if now - e.started > PATIENCE]:
                self.seen.hung += 1
                self._end(exchange)
        return before - len(self._busy)

    def close(self) -> None:
        for sock in self._idle:
            sock.close()
        self._poll.close()

    def _send(self, exchange: _Exchange) -> None:
        try:
            sent = exchange.sock.send(exchange.left)
        except BlockingIOError:
            sent = 0
        except ConnectionRefusedError:
            self.seen.refused += 1
            self._end(exchange)
            return
        except OSError:
            self._receive(exchange)  # the answer may be there, though no more is taken
            return
        exchange.left = exchange.left[sent:]
        if bool(exchange.left) != exchange.waits_to_send:
            exchange.waits_to_send = not exchange.waits_to_send
            wanted = selectors.EVENT_WRITE if exchange.waits_to_send else 0
            self._poll.modify(exchange.sock, selectors.EVENT_READ | wanted)
        if exchange.status and not exchange.left:
            self._finish(exchange)

    def _receive(self, exchange: _Exchange) -> None:
        try:
            data = exchange.sock.recv(65_536)
        except BlockingIOError:
            return
        except ConnectionRefusedError:
            self.seen.refused += 1
            self._end(exchange)
            return
        except OSError:
            data = b""
        exchange.received += data
        if not exchange.status:
            self._parse(exchange)
        if not data:
            if not exchange.status:
                self.seen.lost += 1
            self._end(exchange)
        elif exchange.status and not exchange.left:
            self._finish(exchange)

    def _parse(self, exchange: _Exchange) -> None:
        """Note the answer once it is there as a whole."""
        head, end, body = exchange.received.partition(b"\r\n\r\n")
        if not end:
            return
        lower = head.lower() + b"\r\n"
        start = lower.index(b"content-length:") + 15
        if len(body) < int(lower[start : lower.index(b"\r\n", start)]):
            return
        exchange.status = int(head[9:12])
        took = time.perf_counter() - exchange.started
        self.seen.statuses[exchange.status] += 1
        self.seen.slowest = max(self.seen.slowest, took)
        if exchange.status == 200:
            self.seen.times.append(took)

    def _finish(self, exchange: _Exchange) -> None:
        """All sent and all received: the connection is free, if it stays open."""
        if b"\r\nconnection: close" in exchange.received.lower():
            self._end(exchange)
        else:
            del self._busy[exchange.sock.fileno()]
            self._idle.append(exchange.sock)

    def _end(self, exchange: _Exchange) -> None:
        del self._busy[exchange.sock.fileno()]
        self._close(exchange.sock)

    def _forget_idle(self, number: int) -> None:
        """The service has closed a connection on which nothing was asked."""
        for sock in self._idle:
            if sock.fileno() == number:
                self._idle.remove(sock)
                self._close(sock)
                return

    def _close(self, sock: socket.socket) -> None:
        self._poll.unregister(sock)
        sock.close()


def at_rate(clients: Clients, make: Make, rate: float, seconds: float) -> Seen:
    """Requests at a steady rate, whatever becomes of them."""
    started = time.perf_counter()
    sent = 0
    while (now := time.perf_counter() - started) < seconds:
        while sent < now * rate:
            clients.start(make())
            sent += 1
        clients.step(0.001)
    clients.seen.seconds = time.perf_counter() - started
    while clients.busy:
        clients.step(0.1)
    clients.close()
    return clients.seen


def in_turn(clients: Clients, requests: Iterator[bytes], count: int) -> Seen:
    """All of the requests, by so many clients that each wait for an answer before they go on."""
    started = time.perf_counter()
    free, more = count, True
    while more or clients.busy:
        while more and free:
            request = next(requests, None)
            if request is None:
                more = False
            else:
                clients.start(request)
                free -= 1
        free = count - clients.busy
        if clients.busy:
            clients.step(0.1)
            free = count - clients.busy
    clients.seen.seconds = time.perf_counter() - started
    clients.close()
    return clients.seen


def until(make: Make, seconds: float) -> Iterator[bytes]:
    """Requests until the time is over."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        yield make()


def post(path: str, body: bytes, kind: str = "audio/wav") -> bytes:
    """A whole request."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
