"""More than the service can take, for a while: `make load`.

Measures its capacity, then sends 1, 2 and 4 times as much, stops it in the middle of the traffic,
and kills a worker. Prints a table and whether each promise holds. The clients run on the same CPUs
as the service, so what they take it does not have.
"""

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.bench import machine
from benchmarks.servers import DIRECT, Running, Service, running
from benchmarks.traffic import Clients, Seen, at_rate, in_turn, post, until
from tests.sounds import encode, voice

BY_STATUS = {200, 503}
LEAST_SHARE = 0.8
MOST_P99 = 2.0


def port_of(server: Running) -> int:
    return int(server.url.rpartition(":")[2])


def capacity(port: int, request: bytes, seconds: float) -> float:
    in_turn(Clients(port), until(lambda: request, seconds / 4), 16)
    seen = in_turn(Clients(port), until(lambda: request, seconds), 16)
    return seen.per_second


def row(name: str, seen: Seen) -> str:
    others = sum(count for status, count in seen.statuses.items() if status not in BY_STATUS)
    cells = [
        name,
        f"{sum(seen.statuses.values()) / seen.seconds:.0f}",
        f"{seen.per_second:.0f}",
        f"{seen.statuses[503] / seen.seconds:.0f}",
        f"{others}",
        f"{seen.lost}",
        f"{seen.hung + seen.unsent}",
        f"{1000 * seen.quantile(0.5):.0f}",
        f"{1000 * seen.quantile(0.99):.0f}",
        f"{1000 * seen.slowest:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def after(seconds: float, act: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


def ready_workers(port: int) -> float:
    """How many workers say that they are ready, as one of them tells Prometheus."""
    try:
        with DIRECT.open(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.split()[1]) for line in lines if line.startswith("ser_workers "))


def killed(
    server: Running, port: int, request: bytes, rate: float, workers: int
) -> tuple[Seen, float]:
    """Traffic in which a worker is killed; also the seconds until all are ready again."""
    back = [float("nan")]

    def kill() -> None:
        psutil.Process(server.pid).children()[0].kill()
        started = time.perf_counter()
        while ready_workers(port) == workers and time.perf_counter() - started < 1:
            time.sleep(0.01)  # the master has not noticed yet
        while ready_workers(port) < workers and time.perf_counter() - started < 20:
            time.sleep(0.01)
        back[0] = time.perf_counter() - started

    timer = after(3.0, kill)
    seen = at_rate(Clients(port), lambda: request, rate, 10.0)
    timer.join()
    return seen, back[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of each load (60)")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    print(machine(), flush=True)
    request = post("/predict", encode(voice(3.0)))
    environment = {"SER_WORKERS": str(given.workers), "SER_ACCESS_LOG": "false"}
    service = Service("ser-service", (sys.executable, "-m", "ser_core.cli", "serve"), environment)
    promises: list[tuple[str, bool]] = []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.txt")
        with running(service, log) as server:
            port = port_of(server)
            most = capacity(port, request, min(20.0, given.seconds))
            print(f"capacity with 16 clients in turn: {most:.0f} requests/s of 3 s, 96 kB WAV\n")
            print(
                "| load | answers/s | 200/s | 503/s | other | lost | hung or unsent"
                " | p50 of 200s (ms) | p99 of 200s (ms) | slowest answer (ms) |"
            )
            print("|---|" + "---:|" * 9)
            loads = {}
            for times in (1, 2, 4):
                seen = at_rate(Clients(port), lambda: request, times * most, given.seconds)
                loads[times] = seen
                print(row(f"{times} x", seen), flush=True)
            seen, back = killed(server, port, request, 0.5 * most, given.workers)
            print(row("0.5 x, a worker killed", seen), flush=True)
            promises.append((f"a killed worker is back in < 2 s: {back:.2f} s", back < 2))
            print(f"\nA worker's death cost {seen.lost} requests.")
        with running(service, log) as server:
            port = port_of(server)
            stop = psutil.Process(server.pid)
            after(3.0, lambda: stop.send_signal(signal.SIGTERM))
            stopped = at_rate(Clients(port), lambda: request, 0.8 * most, 5.0)
            print(row("0.8 x, stopped with SIGTERM", stopped))
            promises.append(
                (f"SIGTERM loses no accepted request: {stopped.lost} lost", stopped.lost == 0)
            )
    best = max(seen.per_second for seen in loads.values())
    share = loads[4].per_second / best
    only = all(set(seen.statuses) <= BY_STATUS and not seen.lost for seen in loads.values())
    worst = max(seen.quantile(0.99) for seen in loads.values())
    promises[:0] = [
        ("only 200 and 503, none lost", only),
        (f"200s at 4 x are >= {LEAST_SHARE:.0%} of the best: {share:.0%}", share >= LEAST_SHARE),
        (f"p99 of the 200s <= {MOST_P99:g} s: {worst:.2f} s", worst <= MOST_P99),
    ]
    print()
    for promise, kept in promises:
        print(f"{'holds    ' if kept else 'DOES NOT '}  {promise}")
    return 0 if all(kept for _, kept in promises) else 1


if __name__ == "__main__":
    raise SystemExit(main())
