"""LiteRT and TensorFlow behind one small interface, and a pool of them."""

import importlib.util
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ser_core.bundle import INFO, Bundle, BundleError
from ser_core.extras import lacking

Floats = NDArray[np.float32]
Sizes = Mapping[str, int | None]
"""What goes in or comes out, by name -> numbers of one window; None where any count will do."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")

RUNTIMES = ("litert", "tensorflow")


class Runtime(Protocol):
    """Runs one model; not thread-safe."""

    def logits(
        self, windows: NDArray[np.float32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Windows `(n, samples)` of which `lengths` `(n,)` samples are sound -> `(n, classes)`."""
        ...

    def relative(
        self, window: Floats, length: NDArray[np.int32], profile: Floats, count: Floats
    ) -> tuple[Floats, Floats]:
        """Logits `(1, classes)` and functionals `(1, k)` of one window, relative to a voice.

        `profile` `(1, k)` stands for `count` `(1,)` recordings; with a count of 0 for none. Only
        of bundles that know profiles.
        """
        ...


class LiteRT:
    """TensorFlow's on-device runtime: small and quick, needs no TensorFlow.

    Args:
        path: the model's file.
        threads: that work on one window.
        content: what the file holds, if it is at hand.
    """

    def __init__(self, path: Path, threads: int = 1, content: bytes | None = None) -> None:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 (other runtimes need not have it)

        try:
            # By its path it would be mapped: who copied a new model over a file that is served
            # would change the one that runs.
            content = path.read_bytes() if content is None else content
            interpreter = Interpreter(model_content=content, num_threads=threads)
            # The runner keeps only a weak hold on its interpreter.
            self._interpreter = interpreter
            self._predict = interpreter.get_signature_runner("predict")
            inputs = self._predict.get_input_details()
            self._no_profile = _no_profile(inputs)
            self.inputs, self.outputs = _sizes(inputs), _sizes(self._predict.get_output_details())
        except (ValueError, RuntimeError) as e:
            raise BundleError(f"{path} is not a model that LiteRT can run: {e}") from e

    def logits(
        self, windows: NDArray[np.float32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        answers = [
            self._predict(
                waveform=windows[i : i + 1], length=lengths[i : i + 1], **self._no_profile
            )["logits"]
            for i in range(len(windows))
        ]
        return np.concatenate(answers)

    def relative(
        self, window: Floats, length: NDArray[np.int32], profile: Floats, count: Floats
    ) -> tuple[Floats, Floats]:
        answer = self._predict(waveform=window, length=length, profile=profile, count=count)
        return answer["logits"], answer["functionals"]


def _no_profile(inputs: dict[str, Any]) -> dict[str, Floats]:
    """Zeros for what a model takes beside the window: no reference recordings."""
    return {
        name: np.zeros(tuple(details["shape"]), np.float32)
        for name, details in inputs.items()
        if name not in {"waveform", "length"}
    }


def _sizes(tensors: dict[str, Any]) -> Sizes:
    return {name: _size(details["shape_signature"]) for name, details in tensors.items()}


def _size(shape: Sequence[int | None]) -> int | None:
    """The last of a tensor's dimensions; None where it is left open."""
    last = shape[-1] if len(shape) else None
    return None if last is None or last < 0 else int(last)


def check_runtime(name: str) -> None:
    """Raises `BundleError` where a runtime is not installed; imports nothing."""
    for module in ("tensorflow", "keras") if name == "tensorflow" else ():
        if importlib.util.find_spec(module) is None:
            raise BundleError(f"the runtime {name} needs {lacking(module, 'train')}")


class TensorFlow:
    """TensorFlow itself, for hosts with a GPU and for layers that LiteRT cannot run."""

    def __init__(self, path: Path) -> None:
        try:
            from ser_core.lab.export import load_keras  # noqa: PLC0415 (TensorFlow only when asked for)

            self._model: Any = load_keras(path)
            self.inputs: Sizes = {each.name: _size(each.shape) for each in self._model.inputs}
            self.outputs: Sizes = {
                name: _size(each.shape) for name, each in self._model.output.items()
            }
        except ModuleNotFoundError as e:
            raise BundleError(f"the runtime tensorflow needs {lacking(e.name, 'train')}") from e
        except (OSError, ValueError, TypeError, AttributeError) as e:
            raise BundleError(f"{path} is not a model that Keras can run: {e}") from e

    def logits(
        self, windows: NDArray[np.float32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        inputs: dict[str, Any] = {"waveform": windows, "length": lengths[:, None]}
        for each in self._model.inputs[2:]:
            inputs[each.name] = np.zeros((len(windows), *each.shape[1:]), np.float32)
        answers = self._model(list(inputs.values()), training=False)
        return np.asarray(answers["logits"], np.float32)

    def relative(
        self, window: Floats, length: NDArray[np.int32], profile: Floats, count: Floats
    ) -> tuple[Floats, Floats]:
        answer = self._model([window, length[:, None], profile, count[:, None]], training=False)
        return np.asarray(answer["logits"]), np.asarray(answer["functionals"])


class Pool:
    """As many runtimes of one bundle as may work at once; callers wait for a free one."""

    def __init__(
        self, bundle: Bundle, runtime: str = "litert", threads: int = 1, size: int = 1
    ) -> None:
        if runtime not in RUNTIMES:
            raise BundleError(f"no runtime {runtime!r}; there are {', '.join(RUNTIMES)}")
        path = bundle.path / "model.keras"
        start: Callable[[Path], LiteRT | TensorFlow] = TensorFlow
        if runtime == "litert":
            path, content = bundle.model, bundle.content or bundle.model.read_bytes()
            start = partial(LiteRT, threads=threads, content=content)
        runtimes = [start(path) for _ in range(size)]
        _check_fit(bundle, path, runtimes[0].inputs, runtimes[0].outputs)
        self._fill(runtimes)

    def _fill(self, runtimes: Sequence[Runtime]) -> None:
        self.size = len(runtimes)
        self._lock = threading.Lock()
        self._free = list(runtimes)
        self._waiting: deque[queue.SimpleQueue[Runtime]] = deque()

    @contextmanager
    def borrow(self) -> Iterator[Runtime]:
        """A runtime for the length of a `with` block; who came first is served first."""
        runtime = self._take()
        try:
            yield runtime
        finally:
            with self._lock:
                if self._waiting:
                    self._waiting.popleft().put(runtime)
                else:
                    self._free.append(runtime)

    def _take(self) -> Runtime:
        with self._lock:
            if self._free:
                return self._free.pop()
            mine: queue.SimpleQueue[Runtime] = queue.SimpleQueue()
            self._waiting.append(mine)
        return mine.get()

    def each(
        self, work: Callable[[Runtime, Item], Answer], items: Iterable[Item], count: int
    ) -> Iterator[Answer]:
        """`work` on each of `count` items, answers in their order; only a few items are held.

        Each item borrows anew, so that a long recording does not keep short ones waiting.
        """

        def one(item: Item) -> Answer:
            with self.borrow() as runtime:
                return work(runtime, item)

        if min(self.size, count) <= 1:
            yield from map(one, items)
            return
        with ThreadPoolExecutor(min(self.size, count)) as threads:
            ahead: deque[Future[Answer]] = deque()
            for item in items:
                ahead.append(threads.submit(one, item))
                if len(ahead) > 2 * self.size:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()


def _check_fit(bundle: Bundle, path: Path, inputs: Sizes, outputs: Sizes) -> None:
    """Raises `BundleError` where a network is not the one that `bundle.json` describes."""
    norm = bundle.norm()
    needed = {"waveform", "length", *(("profile", "count") if norm else ())}
    given = {"logits", *(("functionals",) if norm else ())}
    # A network may know profiles that its bundle says nothing of, and none besides.
    if not needed <= {*inputs} <= {*needed, "profile", "count"}:
        raise _misfit(path, f"it takes {_named(inputs)}, and not {_named(needed)}")
    if not given <= {*outputs}:
        raise _misfit(path, f"it gives {_named(outputs)}, and not {_named(given)}")
    samples = round(bundle.window * bundle.sampling_rate)
    if inputs["waveform"] not in {None, samples}:
        what = f"it takes {inputs['waveform']} samples"
        raise _misfit(path, f"{what}, window and sampling_rate make {samples}")
    if outputs["logits"] not in {None, len(bundle.emotions)}:
        what = f"it tells {outputs['logits']} emotions apart"
        raise _misfit(path, f"{what}, emotions has {len(bundle.emotions)}")
    if norm is None:
        return
    for size in (inputs["profile"], outputs["functionals"]):
        if size not in {None, len(norm.mean)}:
            what = f"its profiles have {size} numbers"
            raise _misfit(path, f"{what}, the mean of profile has {len(norm.mean)}")


def _misfit(path: Path, why: str) -> BundleError:
    return BundleError(f"{path} does not fit {INFO}: {why}")


def _named(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
