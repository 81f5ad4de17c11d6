"""What one container can take: `python -m benchmarks.capacity URL ENGINE`, or `make capacity`.

Asks the service at URL, which runs in a container of ENGINE (docker or podman), and reads from the
container's control group what memory it took at most and whether anything was killed for want of
it. `make capacity` builds the image and starts it with `--memory 512m --cpus 1`, as small as a
standard Heroku dyno. The clients need a CPU of their own: with them on the container's, the figures
are too low. `--out FILE` writes them as JSON, from which `benchmarks.scaling` counts containers.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.bench import machine
from benchmarks.traffic import Clients, Seen, in_turn, post, until
from tests.sounds import encode, voice

MB = 1e6
MEMORY = """
import glob, os
def read(*names):
    for name in names:
        for path in glob.glob('/sys/fs/cgroup/' + name):
            return open(path).read().split()
    return ['0']
peak = read('memory.peak', 'memory/memory.max_usage_in_bytes')
limit = read('memory.max', 'memory/memory.limit_in_bytes')
events = read('memory.events', 'memory/memory.oom_control')
kills = dict(zip(events[::2], events[1::2])).get('oom_kill', '0')
own = 0
for path in glob.glob('/proc/[0-9]*/smaps_rollup'):
    if path.split('/')[2] == str(os.getpid()):
        continue
    try:
        lines = open(path).read().splitlines()
    except OSError:
        continue
    own += sum(int(line.split()[1]) for line in lines if line.startswith('Pss:')) * 1024
print(peak[0], limit[0], kills, own)
"""


def container_at(engine: str, port: int) -> str:
    """The id of the container that publishes this port."""
    listed = run(engine, "ps", "--format", "{{.ID}} {{.Ports}}").splitlines()
    for line in listed:
        identity, _, ports = line.partition(" ")
        if f":{port}->" in ports:
            return identity
    raise SystemExit(f"no container of {engine} publishes port {port}")


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def memory(engine: str, container: str) -> dict[str, float]:
    """Of the whole container: the most it took, file caches included, and what it has now."""
    peak, limit, kills, own = run(engine, "exec", container, "python", "-c", MEMORY).split()
    return {
        "peak_mb": round(int(peak) / MB, 1),
        "limit_mb": round(int(limit) / MB, 1) if limit != "max" else 0.0,
        "killed": int(kills),
        "processes_mb": round(int(own) / MB, 1),
    }


def requests() -> dict[str, bytes]:
    """Whole requests by what they hold."""
    return {
        "3 s WAV, 96 kB": post("/predict", encode(voice(3.0))),
        "30 s WAV, 1 MB": post("/predict", encode(voice(30.0))),
        "10 min WAV, 19 MB": post("/predict", encode(voice(599.0))),
    }


def mixed(made: dict[str, bytes], seconds: float) -> Iterator[bytes]:
    """Mostly short ones, some long; the most that may come in at once is what takes memory."""
    order = cycle([*made.values()][:1] * 12 + [*made.values()][1:])
    return until(lambda: next(order), seconds)


def row(name: str, clients: int, seen: Seen) -> dict[str, Any]:
    others = {str(status): count for status, count in seen.statuses.items() if status != 200}
    return {
        "requests": name,
        "clients": clients,
        "per_second": round(seen.per_second, 1),
        "p50_ms": round(1000 * seen.quantile(0.5), 1),
        "p99_ms": round(1000 * seen.quantile(0.99), 1),
        "not_200": others,
        "lost": seen.lost + seen.refused + seen.hung,
    }


def measure(port: int, seconds: float) -> list[dict[str, Any]]:
    made = requests()
    short, half, long = made
    rows = []
    in_turn(Clients(port), until(lambda: made[short], seconds / 4), 8)
    for clients in (1, 8, 32):
        seen = in_turn(Clients(port), until(lambda: made[short], seconds), clients)
        rows.append(row(short, clients, seen))
    for name, clients in ((half, 8), (long, 8)):
        seen = in_turn(Clients(port), until(lambda n=name: made[n], seconds), clients)
        rows.append(row(name, clients, seen))
    seen = in_turn(Clients(port), mixed(made, seconds), 32)
    rows.append(row("all of them, mixed", 32, seen))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("engine", choices=["docker", "podman"])
    parser.add_argument("--seconds", type=float, default=30, help="of each load (30)")
    parser.add_argument("--out", type=Path, help="a JSON file for benchmarks.scaling")
    given = parser.parse_args()
    port = urlsplit(given.url).port
    if port is None or given.seconds <= 0:
        parser.error("URL must name a port, --seconds be more than 0")
    container = container_at(given.engine, port)
    print(machine(), flush=True)
    idle = memory(given.engine, container)
    rows = measure(port, given.seconds)
    loaded = memory(given.engine, container)
    print("| requests | clients | 200/s | p50 (ms) | p99 (ms) | not 200 | lost |")
    print("|---|" + "---:|" * 6)
    for each in rows:
        cells = [str(value) if value else "0" for value in each.values()]
        print("| " + " | ".join(cells) + " |")
    print(
        f"memory: {idle['processes_mb']} MB idle, {loaded['processes_mb']} MB afterwards, "
        f"{loaded['peak_mb']} MB of {loaded['limit_mb']} MB at the most (with the system's cache); "
        f"killed for want of memory: {loaded['killed']}"
    )
    if given.out:
        figures = {"machine": machine(), "seconds": given.seconds, "loads": rows, "memory": loaded}
        given.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 1 if loaded["killed"] or any(each["lost"] for each in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
