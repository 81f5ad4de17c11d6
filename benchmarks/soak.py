"""A hundred thousand requests of every kind: does the service keep its memory? `make soak`.

Prints the memory of the workers as it goes, and whether it grows by less than 5 % after the first
5,000 requests. Every answer must be the one that its request deserves.
"""

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import machine
from benchmarks.servers import Service, running
from benchmarks.traffic import Clients, in_turn, post
from tests.api.live import form, padded
from tests.sounds import FORMATS, encode, noise, silence, tone, voice

MOST_GROWTH = 0.05
STEPS = 20


def kinds() -> list[tuple[float, bytes, int]]:
    """How often each kind is sent, its request, and the status that it deserves."""
    wav = encode(voice(2.0))
    several, several_type = form(("file", "a.wav", wav), ("file", "b.txt", b"no sound"))
    one, one_type = form(("file", "a.wav", wav), timeline="true")
    large, large_type = form(("file", "large.wav", padded(wav, 8_000_000)))
    encoded = [post("/predict", encode(voice(2.0), name), "audio/any") for name in FORMATS]
    return [
        *((4.0, each, 200) for each in encoded),
        (8.0, post("/predict", one, one_type), 200),
        (4.0, post("/predict?top=2", several, several_type), 200),
        (3.0, post("/predict?timeline=true", encode(voice(20.0))), 200),
        (3.0, post("/predict", encode(noise(5.0))), 200),
        (0.3, post("/predict", large, large_type), 200),
        (2.0, post("/predict", encode(silence(2.0))), 422),
        (2.0, post("/predict", encode(tone(0.05))), 422),
        (2.0, post("/predict", b"no sound at all" * 100), 415),
        (2.0, post("/predict", b"{}", "application/json"), 415),
        (1.0, post("/predict", wav, "multipart/form-data; boundary=x"), 400),
        (1.0, post("/predict?top=all", wav), 400),
        (1.0, post("/nowhere", wav), 404),
        (0.3, b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 90000000\r\n\r\n", 413),
        (2.0, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (1.0, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (1.0, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    ]


def mixture(
    choices: list[tuple[float, bytes, int]], count: int, chance: random.Random
) -> tuple[Iterator[bytes], "Counter[int]"]:
    """Requests drawn by chance, and how many of each status they deserve."""
    drawn = chance.choices(choices, [each[0] for each in choices], k=count)
    return iter([each[1] for each in drawn]), Counter(each[2] for each in drawn)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=5_000, help="before memory is weighed (5000)")
    given = parser.parse_args()
    print(machine(), flush=True)
    environment = {"SER_WORKERS": "2", "SER_ACCESS_LOG": "false"}
    service = Service("ser-service", (sys.executable, "-m", "ser_core.cli", "serve"), environment)
    choices, chance = kinds(), random.Random(0)
    steps = [given.first] + [max(1, (given.requests - given.first) // STEPS)] * STEPS
    done, wrong, first, worst = 0, 0, 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder, running(service, Path(folder, "log")) as server:
        port = int(server.url.rpartition(":")[2])
        print("| requests | requests/s | wrong or lost | memory of all processes (MB) | growth |")
        print("|---:|---:|---:|---:|---:|")
        for step in steps:
            requests, deserved = mixture(choices, step, chance)
            seen = in_turn(Clients(port), requests, 8)
            done += step
            wrong += (seen.statuses - deserved).total() + seen.lost + seen.hung + seen.refused
            memory = server.memory().total
            first = first or memory
            growth = memory / first - 1
            worst = max(worst, growth)
            rate = step / seen.seconds
            print(f"| {done:,} | {rate:.0f} | {wrong} | {memory:.1f} | {growth:+.1%} |", flush=True)
    kept = growth < MOST_GROWTH and wrong == 0
    print(
        f"\n{'holds    ' if kept else 'DOES NOT '}  growth after {given.first:,} requests"
        f" < {MOST_GROWTH:.0%}: {growth:+.1%} at the end, {worst:+.1%} at most;"
        f" {wrong} wrong answers"
    )
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
