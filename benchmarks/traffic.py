"""Clients that send whole requests at a rate, or as fast as answers come, and note what happens."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Make = Callable[[], bytes]
PATIENCE = 30.0
MOST_OPEN = 1_500


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
    """Sent whole over an open connection, and never answered."""
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


class Clients:
    """Sends requests over connections that are kept open and shared."""

    def __init__(self, port: int) -> None:
        self.seen = Seen()
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._open = 0

    async def send(self, request: bytes) -> None:
        """One request, and its answer."""
        if self._open >= MOST_OPEN:
            self.seen.unsent += 1
            return
        self._open += 1
        started = time.perf_counter()
        try:
            status = await asyncio.wait_for(self._exchange(request), PATIENCE)
        except TimeoutError:
            self.seen.hung += 1
        else:
            if status:
                took = time.perf_counter() - started
                self.seen.statuses[status] += 1
                self.seen.slowest = max(self.seen.slowest, took)
                if status == 200:
                    self.seen.times.append(took)
        finally:
            self._open -= 1

    async def _exchange(self, request: bytes) -> int:
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                self.seen.refused += 1
                return 0
        keep = False
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lower = head.lower()
            start = lower.index(b"content-length:") + 15
            await reader.readexactly(int(lower[start : lower.index(b"\r\n", start)]))
            keep = b"connection: close" not in lower
            return int(head[9:12])
        except (OSError, asyncio.IncompleteReadError):
            self.seen.lost += 1
            return 0
        finally:
            if keep:
                self._idle.append((reader, writer))
            else:
                writer.close()

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


async def at_rate(
    clients: Clients, make: Make, rate: float, seconds: float, stop: asyncio.Event | None = None
) -> Seen:
    """Requests at a steady rate, whatever becomes of them."""
    started = time.perf_counter()
    tasks: set[asyncio.Task[None]] = set()
    sent = 0
    while (now := time.perf_counter() - started) < seconds and not (stop and stop.is_set()):
        while sent < now * rate:
            task = asyncio.create_task(clients.send(make()))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        await asyncio.sleep(0.002)
    clients.seen.seconds = time.perf_counter() - started
    await asyncio.gather(*tasks)
    clients.close()
    return clients.seen


async def in_turn(clients: Clients, requests: Iterator[bytes], count: int) -> Seen:
    """All of the requests, by so many clients that each wait for an answer before they go on."""
    started = time.perf_counter()

    async def client() -> None:
        for request in requests:
            await clients.send(request)

    await asyncio.gather(*(client() for _ in range(count)))
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
