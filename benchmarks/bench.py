"""Speed and memory of /predict beside a classic app, in one run: `make bench`.

Prints one table in Markdown and whether the project's targets are reached. `--quick` only shows
that it works; figures worth quoting need a quiet machine and the default settings.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.servers import ROOT, Memory, Service, running, services
from tests.sounds import encode, voice

CLIENTS = (1, 8, 32)
LEAST_RATIO = 5.0
MOST_WORKER_MB = 120.0
MOST_SECONDS_TO_READY = 1.5

Load = dict[str, Any]


@dataclass(frozen=True)
class Figures:
    """What was measured of one service."""

    name: str
    seconds_to_ready: float
    loads: dict[int, Load]
    """By the number of clients."""
    before: Memory
    after: Memory
    requests: int
    """Answered between `before` and `after`."""


@dataclass(frozen=True)
class Plan:
    """How each service is measured."""

    recording: Path
    log: Path
    seconds: float
    """Of each load."""
    starts: int
    """Their median is the time to ready."""
    options: tuple[str, ...]
    """Of `benchmarks.load`, for each load."""


def post(plan: Plan, url: str, clients: int, *options: str) -> Load:
    """What `benchmarks.load` saw, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.load", url, str(plan.recording)]
    done = subprocess.run(
        [*command, "--clients", str(clients), *options, *plan.options],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    seen: Load = json.loads(done.stdout)
    return seen


def measure(plan: Plan, service: Service, requests: int) -> Figures:
    """Start, warm up, weigh, load, go on to so many `requests`, weigh again."""
    to_ready = []
    for _ in range(plan.starts - 1):
        with running(service, plan.log) as server:
            to_ready.append(server.seconds_to_ready)
    with running(service, plan.log) as server:
        to_ready.append(server.seconds_to_ready)
        for _ in range(4):  # new connections each time, so that every worker gets some
            post(plan, server.url, 8, "--requests", "24")
        before = server.memory()
        loads = {
            clients: post(plan, server.url, clients, "--seconds", str(plan.seconds))
            for clients in CLIENTS
        }
        everything = list(loads.values())
        missing = requests - sum(load["succeeded"] for load in everything)
        if missing > 0:
            everything.append(post(plan, server.url, 8, "--requests", str(missing)))
        after = server.memory()
    return Figures(
        name=service.name,
        seconds_to_ready=statistics.median(to_ready),
        loads=loads,
        before=before,
        after=after,
        requests=sum(load["succeeded"] for load in everything),
    )


def rows(figures: Figures) -> dict[str, float]:
    """The table's rows, by their titles."""
    table = {"start to ready (s)": figures.seconds_to_ready}
    for clients, load in figures.loads.items():
        who = f"{clients} client{'s' if clients > 1 else ''}"
        table[f"{who}: successful requests/s"] = load["per_second"]
        table[f"{who}: latency p50 (ms)"] = 1000 * (load["p50"] or float("nan"))
        table[f"{who}: latency p99 (ms)"] = 1000 * (load["p99"] or float("nan"))
        table[f"{who}: failed"] = sum(load["failures"].values())
        table[f"{who}: CPUs that the clients took"] = load["client_cpu"]
    table["requests answered in all"] = figures.requests
    for when, memory in (("before", figures.before), ("after", figures.after)):
        table[f"resident memory of a worker, {when} (MB)"] = memory.worker
        table[f"of it shared with no other process, {when} (MB)"] = memory.unshared
        table[f"memory of all processes, {when} (MB)"] = memory.total
    return table


def show(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.3g}"


def table(measured: list[Figures]) -> str:
    """All services side by side, each later one with its ratio to the first."""
    columns = [rows(each) for each in measured]
    head = ["", measured[0].name]
    for each in measured[1:]:
        head += [each.name, "ours : it"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for title, ours in columns[0].items():
        line = [title, show(ours)]
        for column in columns[1:]:
            theirs = column[title]
            counts = title.endswith(("failed", "took", "in all"))
            line += [show(theirs), "" if counts or not theirs else f"{ours / theirs:.2f}"]
        lines.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def targets(measured: list[Figures], requests: int) -> list[tuple[str, bool]]:
    """Each target with what was measured, and whether it is reached."""
    ours, classic = measured[0], measured[1]
    speed = {each.name: each.loads[8]["per_second"] for each in measured}
    failed = sum(ours.loads[8]["failures"].values())
    ratio = speed[ours.name] / max(speed[classic.name], 1e-9)
    return [
        (
            f"at 8 clients >= {LEAST_RATIO:g} x the classic app's successful requests/s,"
            f" none failed: {ratio:.1f} x, {failed} failed",
            ratio >= LEAST_RATIO and failed == 0,
        ),
        (
            f"<= {MOST_WORKER_MB:g} MB resident a worker after 10,000 requests:"
            f" {ours.after.worker:.0f} MB after {ours.requests:,}",
            ours.after.worker <= MOST_WORKER_MB and ours.requests >= requests,
        ),
        (
            f"ready <= {MOST_SECONDS_TO_READY:g} s after the process starts:"
            f" {ours.seconds_to_ready:.2f} s",
            ours.seconds_to_ready <= MOST_SECONDS_TO_READY,
        ),
    ]


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        named = (line for line in info.read_text().splitlines() if line.startswith("model name"))
        cpu = next(named, cpu).rpartition(":")[2].strip()
    busy = os.getloadavg()[0]
    quiet = "" if busy < 0.3 * (os.cpu_count() or 1) else " (busy: quote that too)"
    python = platform.python_version()
    return f"{cpu}, {os.cpu_count()} CPUs, Python {python}, load average {busy:.1f}{quiet}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10, help="of each load (10)")
    parser.add_argument(
        "--requests", type=int, default=10_000, help="before ours is weighed again (10000)"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument(
        "--keep-alive", action="store_true", help="one connection for each client, not request"
    )
    parser.add_argument("--quick", action="store_true", help="2 s a load, one start, no top-up")
    parser.add_argument("--alone", action="store_true", help="leave the classic app out")
    given = parser.parse_args()
    print(machine())
    seconds = 2.0 if given.quick else given.seconds
    connections = "kept open" if given.keep_alive else "one for each request"
    print(
        f"{given.workers} workers x {given.threads} threads each; 3 s of 16 kHz mono WAV (96 kB) as"
        f" a form; {seconds:g} s a load from benchmarks/load.py, on the same CPUs;"
        f" connections: {connections}\n",
        flush=True,
    )
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(
            recording=Path(folder, "voice.wav"),
            log=Path(folder, "log.txt"),
            seconds=seconds,
            starts=1 if given.quick else 3,
            options=("--keep-alive",) if given.keep_alive else (),
        )
        plan.recording.write_bytes(encode(voice(3.0)))
        for service in services(given.workers, given.threads)[: 1 if given.alone else None]:
            least = 0 if measured or given.quick else given.requests
            measured.append(measure(plan, service, least))
    print(table(measured))
    if not given.alone:
        print()
        for target, reached in targets(measured, given.requests):
            print(f"{'reached    ' if reached else 'NOT REACHED'}  {target}")


if __name__ == "__main__":
    main()
