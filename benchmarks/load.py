"""Keep N clients posting one recording to /predict; print what they saw as one line of JSON.

`python -m benchmarks.load URL FILE --clients 8 (--seconds 10 | --requests 1000)`. It runs as a
process of its own beside the server and says how much CPU it took itself, so that a reader can
tell whether the clients or the server set the pace. Each request has a connection of its own, as
those of curl have; `--keep-alive` keeps each client's open.
"""

import argparse
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

BOUNDARY = "benchmark-boundary"
CONTENT_LENGTH = b"content-length:"


def as_request(host: str, path: str, recording: bytes, keep_alive: bool) -> bytes:
    """A whole POST of a form with one file, made once and sent again and again."""
    part = 'Content-Disposition: form-data; name="file"; filename="clip.wav"\r\n\r\n'
    body = f"--{BOUNDARY}\r\n{part}".encode() + recording + f"\r\n--{BOUNDARY}--\r\n".encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
    )
    return head.encode() + body


@dataclass
class Seen:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list)
    """Of each request that was answered with 200 and an emotion."""
    failures: dict[str, int] = field(default_factory=dict)

    def fail(self, what: str) -> None:
        self.failures[what] = self.failures.get(what, 0) + 1


def answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of the next answer."""
    received = bytearray()
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += receive(connection)
    head = bytes(received[:end])
    start = head.lower().index(CONTENT_LENGTH) + len(CONTENT_LENGTH)
    length = int(head[start:].split(b"\r\n", 1)[0])
    while len(received) < end + 4 + length:
        received += receive(connection)
    return head, bytes(received[end + 4 :])


def receive(connection: socket.socket) -> bytes:
    chunk = connection.recv(65_536)
    if not chunk:
        raise ConnectionError("closed by the server")
    return chunk


class Client(threading.Thread):
    """One user: posts, waits for the answer, posts again."""

    def __init__(
        self, address: tuple[str, int], request: bytes, budget: "Budget", keep_alive: bool
    ) -> None:
        super().__init__(daemon=True)
        self.seen = Seen()
        self._address = address
        self._request = request
        self._budget = budget
        self._keep_alive = keep_alive
        self._connection: socket.socket | None = None

    def run(self) -> None:
        while self._budget.take():
            started = time.perf_counter()
            try:
                head, body = self._ask()
            except (OSError, ValueError) as e:
                self.seen.fail(f"{type(e).__name__}: {e}")
                self._hang_up()
                continue
            status = head.split(b" ", 2)[1].decode()
            if status == "200" and b'"emotion"' in body:
                self.seen.seconds.append(time.perf_counter() - started)
            else:
                self.seen.fail(status)
            if not self._keep_alive:
                self._hang_up()
        self._hang_up()

    def _ask(self) -> tuple[bytes, bytes]:
        if self._connection is None:
            self._connection = socket.create_connection(self._address, timeout=60)
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.sendall(self._request)
        return answer(self._connection)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Budget:
    """Says how long the clients go on: until a moment, or for so many requests together."""

    def __init__(self, seconds: float | None, requests: int | None) -> None:
        self._until = time.perf_counter() + seconds if seconds else float("inf")
        self._left = requests if requests is not None else float("inf")
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0 and time.perf_counter() < self._until


def load(
    url: str,
    recording: bytes,
    clients: int,
    budget: Budget,
    keep_alive: bool,
) -> dict[str, object]:
    parts = urlsplit(url)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    request = as_request(parts.netloc, "/predict", recording, keep_alive)
    threads = [Client(address, request, budget, keep_alive) for _ in range(clients)]
    started, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    times = sorted(second for thread in threads for second in thread.seen.seconds)
    failures = Seen()
    for thread in threads:
        for what, count in thread.seen.failures.items():
            failures.failures[what] = failures.failures.get(what, 0) + count
    return {
        "clients": clients,
        "seconds": took,
        "succeeded": len(times),
        "failures": failures.failures,
        "per_second": len(times) / took,
        "p50": times[len(times) // 2] if times else None,
        "p99": times[min(len(times) - 1, len(times) * 99 // 100)] if times else None,
        "client_cpu": (time.process_time() - cpu) / took,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("file", type=Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--requests", type=int)
    parser.add_argument("--keep-alive", action="store_true")
    given = parser.parse_args()
    recording = given.file.read_bytes()
    budget = Budget(given.seconds, given.requests)
    seen = load(given.url, recording, given.clients, budget, given.keep_alive)
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
