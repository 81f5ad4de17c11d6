"""One window a thread, or several windows in one batch? `python -m benchmarks.batching`

Judges the same windows in every way that two CPUs can be used: so many interpreters at once, each
with so many threads, each given so many windows together. Rounds alternate between the ways, so
that a busy moment meets all of them; the best round of each counts.
"""

import argparse
import statistics
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from benchmarks.bench import machine
from ser_core.bundle import Bundle
from tests.sounds import noise

WAYS = [(1, 1, 1), (2, 1, 1), (4, 1, 1), (1, 2, 1), (1, 1, 8), (2, 1, 8), (1, 2, 8)]
"""Interpreters at once, threads of each, windows given together."""


def interpreter(model: Path, threads: int, batch: int, samples: int) -> Interpreter:
    """Ready to judge `batch` windows in one go; 1 is what the file is made for.

    Raises:
        RuntimeError: the model cannot be given so many.
    """
    made = Interpreter(model_path=str(model), num_threads=threads)
    if batch > 1:
        for details in made.get_input_details():
            shape = [batch, *details["shape"][1:]]
            made.resize_tensor_input(details["index"], shape, strict=False)
    made.allocate_tensors()
    for details in made.get_input_details():
        values = np.zeros(details["shape"], details["dtype"])
        if details["shape"][-1] == samples:
            values[:] = noise(samples / 16_000)
        elif "length" in details["name"]:
            values[:] = samples
        made.set_tensor(details["index"], values)
    made.invoke()
    return made


def seconds(ready: list[Interpreter], batch: int, windows: int) -> float:
    """How long all windows take together."""
    todo: SimpleQueue[int] = SimpleQueue()
    for number in range(windows // batch):
        todo.put(number)

    def work(one: Interpreter) -> None:
        while not todo.empty():
            todo.get()
            one.invoke()

    threads = [threading.Thread(target=work, args=[each]) for each in ready]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--model", default="default")
    given = parser.parse_args()
    print(machine())
    bundle = Bundle.load(given.model)
    samples = round(bundle.window * bundle.sampling_rate)
    ready, took = {}, {}
    for way in WAYS:
        count, threads, batch = way
        try:
            ready[way] = [interpreter(bundle.model, threads, batch, samples) for _ in range(count)]
        except (RuntimeError, ValueError) as e:
            print(f"{way}: the model takes no batch: {str(e).splitlines()[0][:120]}")
        took[way] = []
    for _ in range(given.rounds):
        for way, interpreters in ready.items():
            took[way].append(seconds(interpreters, way[2], given.windows))
    print(
        f"{bundle.name} {bundle.version}, {bundle.model.name}, {bundle.window:g} s windows\n\n"
        "| interpreters | threads each | windows a batch | windows/s, best | windows/s, median"
        " | ms until a window's answer, best |\n|---:|---:|---:|---:|---:|---:|"
    )
    for (count, threads, batch), times in took.items():
        if times:
            best, usual = given.windows / min(times), given.windows / statistics.median(times)
            wait = 1000 * count * batch / best
            print(f"| {count} | {threads} | {batch} | {best:.0f} | {usual:.0f} | {wait:.1f} |")


if __name__ == "__main__":
    main()
