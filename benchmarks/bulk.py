"""Bulk scoring: clips a second on 1 and 2 cores, against a plain loop; memory over a long run.

    python -m benchmarks.bulk [--clips 4000] [--seconds 3] [--rounds 3]
    python -m benchmarks.bulk --long 100000 [--seconds 1]

Speed: a loop over `Recognizer.predict` on one core, then `ser batch` as it is typed, held to one
core and on two. Its rate is that of the clips beyond the first one: a run of a single clip tells
what starting costs, and is taken off. Best of the rounds, each way in turn.

Memory: so many clips on all cores, sampled twice a second; every process of the run, Ray's own
included, by its share (PSS) of anonymous memory, and the object store that they share. What is
mapped from files is left out: that is code, and all of it falls to the command when Ray's processes
end. A run is bounded if its last tenth holds no more than its second one.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from tests.sounds import encode, voice

DISTINCT = 200
"""Different sounds; the other files are further names of these."""

HOLDERS = ("command", "workers", "the rest of Ray", "object store")

LOOP = """
import csv, sys, time
from pathlib import Path
from ser_core import Recognizer
recognizer = Recognizer.load()
recognizer.warm_up()
begun = time.perf_counter()
with open(sys.argv[2], "w") as out:
    table = csv.writer(out)
    for path in sorted(Path(sys.argv[1]).rglob("*.wav")):
        answer = recognizer.predict(path).to_dict()
        table.writerow([path, answer["emotion"], *answer["probabilities"].values()])
print(time.perf_counter() - begun)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=4000)
    parser.add_argument("--seconds", type=float, help="of each clip (default: 3, or 1 for --long)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, metavar="CLIPS", help="memory over so many clips")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.long:
            write(Path(folder, "clips"), options.long, options.seconds or 1.0)
            memory(Path(folder), options.long)
        else:
            write(Path(folder, "clips"), options.clips, options.seconds or 3.0)
            write(Path(folder, "one"), 1, options.seconds or 3.0)
            speed(Path(folder), options.clips, options.rounds)


def write(folder: Path, count: int, seconds: float) -> None:
    """So many clips, a thousand a folder; most are links, which cost no disk."""
    for number in range(count):
        path = folder / f"{number // 1000:04d}" / f"{number % 1000:03d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < DISTINCT:
            path.write_bytes(encode(voice(seconds, pitch=90 + number, seed=number)))
        else:
            path.hardlink_to(folder / "0000" / f"{number % DISTINCT:03d}.wav")


def speed(folder: Path, clips: int, rounds: int) -> None:
    cores = sorted(os.sched_getaffinity(0))

    def loop() -> tuple[float, float]:
        command = [sys.executable, "-c", LOOP, str(folder / "clips"), os.devnull]
        told = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, preexec_fn=held_to(cores[:1])
        )
        return 0.0, clips / float(told.stdout)

    def batch(workers: int) -> tuple[float, float]:
        held = held_to(cores[:workers])
        start = seconds_of(folder, "one", 1, workers, held)
        whole = seconds_of(folder, "clips", clips, workers, held)
        return start, (clips - 1) / (whole - start)

    ways: dict[str, Callable[[], tuple[float, float]]] = {"plain loop, 1 core": loop}
    for workers in range(1, min(2, len(cores)) + 1):
        name = f"ser batch, {workers} core{'s'[: workers > 1]}"
        ways[name] = lambda workers=workers: batch(workers)  # type: ignore[misc]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    best = max(rate for _, rate in found["plain loop, 1 core"])
    print(f"| {clips} clips | start | clips/s | against the loop |\n|---|---|---|---|")
    for name, measured in found.items():
        start, rate = min(start for start, _ in measured), max(rate for _, rate in measured)
        print(f"| {name} | {start:.1f} s | {rate:.0f} | {rate / best:.2f} |")


def seconds_of(
    folder: Path, clips: str, count: int, workers: int, held: Callable[[], None]
) -> float:
    """How long `ser batch` takes, all in all."""
    out = folder / "table.parquet"
    begun = time.perf_counter()
    subprocess.run(command(folder / clips, out, workers), check=True, preexec_fn=held, env=quiet())
    seconds = time.perf_counter() - begun
    check(out, count)
    return seconds


def memory(folder: Path, clips: int) -> None:
    out = folder / "table.parquet"
    workers = len(os.sched_getaffinity(0))
    begun = time.perf_counter()
    process = subprocess.Popen(command(folder / "clips", out, workers), env=quiet())
    samples = []
    while process.poll() is None:
        samples.append(held_by(psutil.Process(process.pid)))
        time.sleep(0.5)
    seconds = time.perf_counter() - begun
    assert process.returncode == 0, "the run failed"
    check(out, clips)
    tenth = max(1, len(samples) // 10)
    print(f"{clips} clips, {workers} workers, {seconds:.0f} s, {clips / seconds:.0f} clips/s")
    print("| MB (PSS) | second tenth of the run | last tenth | most |\n|---|---|---|---|")
    for name in HOLDERS:
        series = [sample[name] for sample in samples]
        second, last = max(series[tenth : 2 * tenth]), max(series[-tenth:])
        print(f"| {name} | {second:.0f} | {last:.0f} | {max(series):.0f} |")


def held_by(command: psutil.Process) -> dict[str, float]:
    """MB that a run's processes hold, the shared ones shared out."""
    held = dict.fromkeys(HOLDERS, 0.0)
    for process in itertools.chain([command], children(command)):
        try:
            title = " ".join(process.cmdline())
            anonymous, shared = shares(process.pid)
        except (psutil.Error, OSError, ValueError):
            continue
        held["object store"] += shared
        if process.pid == command.pid:
            held["command"] += anonymous
        else:
            held["workers" if "Scorer" in title else "the rest of Ray"] += anonymous
    return held


def shares(pid: int) -> tuple[float, float]:
    """MB of anonymous and of shared memory that fall to a process."""
    words = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
    anonymous, shared = (int(words[words.index(key) + 1]) for key in ("Pss_Anon:", "Pss_Shmem:"))
    return 1024 * anonymous / 1e6, 1024 * shared / 1e6


def children(command: psutil.Process) -> Sequence[psutil.Process]:
    try:
        found: Sequence[psutil.Process] = command.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found


def command(clips: Path, out: Path, workers: int) -> list[str]:
    arguments = ["batch", str(clips), "--out", str(out), "--overwrite", "--workers", str(workers)]
    return [sys.executable, "-m", "ser_core.cli", *arguments]


def check(out: Path, count: int) -> None:
    table = pq.read_table(out, columns=["file", "error"])
    assert len(set(table["file"].to_pylist())) == table.num_rows == count, "a row a clip"
    assert table["error"].null_count == count, "no clip has an error"


def held_to(cores: Sequence[int]) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, cores)


def quiet() -> dict[str, str]:
    """Without a cluster that somebody has."""
    return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}


if __name__ == "__main__":
    main()
