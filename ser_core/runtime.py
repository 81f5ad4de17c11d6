"""LiteRT and TensorFlow behind one small interface, and a pool of them."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ser_core.bundle import Bundle, BundleError

Floats = NDArray[np.float32]

RUNTIMES = ("litert", "tensorflow")


class Runtime(Protocol):
    """Runs one model; not thread-safe."""

    def logits(
        self, windows: NDArray[np.float32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Windows `(n, samples)` of which `lengths` `(n,)` samples are sound -> `(n, classes)`."""
        ...


class LiteRT:
    """TensorFlow's on-device runtime: small and quick, needs no TensorFlow."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 (other runtimes need not have it)

        try:
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            # The runner keeps only a weak hold on its interpreter.
            self._interpreter = interpreter
            self._predict = interpreter.get_signature_runner("predict")
        except (ValueError, RuntimeError) as e:
            raise BundleError(f"{path} is not a model that LiteRT can run: {e}") from e

    def logits(
        self, windows: NDArray[np.float32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        answers = [
            self._predict(waveform=windows[i : i + 1], length=lengths[i : i + 1])["logits"]
            for i in range(len(windows))
        ]
        return np.concatenate(answers)


class TensorFlow:
    """TensorFlow itself, for hosts with a GPU and for layers that LiteRT cannot run."""

    def __init__(self, path: Path) -> None:
        try:
            from ser_core.lab.export import load_keras  # noqa: PLC0415 (TensorFlow only when asked for)

            self._model: Any = load_keras(path)
        except ModuleNotFoundError as e:
            raise BundleError(
                f"the runtime tensorflow needs {e.name}: pip install 'ser-service[train]'"
            ) from e
        except (OSError, ValueError, TypeError) as e:
            raise BundleError(f"{path} is not a model that Keras can run: {e}") from e

    def logits(
        self, windows: NDArray[np.float32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        return np.asarray(self._model([windows, lengths[:, None]], training=False), np.float32)


class Pool:
    """As many runtimes of one bundle as may work at once; callers wait for a free one."""

    def __init__(
        self, bundle: Bundle, runtime: str = "litert", threads: int = 1, size: int = 1
    ) -> None:
        if runtime not in RUNTIMES:
            raise BundleError(f"no runtime {runtime!r}; there are {', '.join(RUNTIMES)}")
        self._free: queue.SimpleQueue[Runtime] = queue.SimpleQueue()
        for _ in range(size):
            self._free.put(_start(bundle, runtime, threads))

    @contextmanager
    def borrow(self) -> Iterator[Runtime]:
        """A runtime for the length of a `with` block."""
        runtime = self._free.get()
        try:
            yield runtime
        finally:
            self._free.put(runtime)


def _start(bundle: Bundle, runtime: str, threads: int) -> Runtime:
    if runtime == "litert":
        return LiteRT(bundle.model, threads)
    return TensorFlow(bundle.path / "model.keras")
