"""One window a thread, or several windows in one batch? `python -m benchmarks.batching`

Judges the same windows in every way that two CPUs can be used: so many interpreters at once, each
with so many threads, each given so many windows together. Rounds alternate between the ways, so
that a busy moment meets all of them; the best round of each counts. For
batches the bundle's Keras model is converted anew, which needs the extra `train`; without it they
are left out.
"""

import argparse
import importlib.util
import statistics
import tempfile
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from benchmarks.bench import machine
from ser_core.bundle import Bundle
from tests.sounds import noise

BATCH = 8
WAYS = [(1, 1, 1), (2, 1, 1), (4, 1, 1), (1, 2, 1), (1, 1, BATCH), (2, 1, BATCH), (1, 2, BATCH)]
"""Interpreters at once, threads of each, windows given together."""


def converted(bundle: Bundle, batch: int, folder: Path) -> Path:
    """The bundle's model as a LiteRT file for so many windows together."""
    import keras
    import tensorflow as tf

    from ser_core.lab.export import load_keras

    model = load_keras(bundle.path / "model.keras")
    specs = [tf.TensorSpec((batch, *x.shape[1:]), x.dtype, name=x.name) for x in model.inputs]
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("predict", lambda *x: model(list(x), training=False), specs)
    archive.write_out(str(folder / "saved"), verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(folder / "saved"), signature_keys=["predict"]
    )
    path = folder / f"{batch}.tflite"
    path.write_bytes(converter.convert())
    return path


def interpreter(model: Path, threads: int, samples: int) -> Interpreter:
    """Ready to judge as many windows in one go as the file is made for."""
    made = Interpreter(model_path=str(model), num_threads=threads)
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
    ready: dict[tuple[int, int, int], list[Interpreter]] = {}
    with tempfile.TemporaryDirectory() as folder:
        models = {1: bundle.path / "model.tflite"}
        if importlib.util.find_spec("tensorflow"):
            models[BATCH] = converted(bundle, BATCH, Path(folder))
        else:
            print("no batches: they need the extra train")
        for way in WAYS:
            count, threads, batch = way
            if batch in models:
                ready[way] = [interpreter(models[batch], threads, samples) for _ in range(count)]
    took: dict[tuple[int, int, int], list[float]] = {way: [] for way in ready}
    for _ in range(given.rounds):
        for way, interpreters in ready.items():
            took[way].append(seconds(interpreters, way[2], given.windows))
    print(
        f"{bundle.name} {bundle.version}, model.tflite, {bundle.window:g} s windows\n\n"
        "| interpreters | threads each | windows a batch | windows/s, best | windows/s, median"
        " | ms until a window's answer, best |\n|---:|---:|---:|---:|---:|---:|"
    )
    for (count, threads, batch), times in took.items():
        best, usual = given.windows / min(times), given.windows / statistics.median(times)
        wait = 1000 * count * batch / best
        print(f"| {count} | {threads} | {batch} | {best:.0f} | {usual:.0f} | {wait:.1f} |")


if __name__ == "__main__":
    main()
