"""Ray: one that is started for the run, or a cluster that is there; and the pool of actors."""

import contextlib
import logging
import math
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Ray tells its makers how it is used, unless it is told not to; its C++ part writes to the terminal
# whatever Python's logging is told; it remembers each task for a dashboard that is not there; and
# what it can wait for, it shall, on a busy machine.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
os.environ.setdefault("RAY_agent_register_timeout_ms", "300000")
os.environ.setdefault("RAY_worker_register_timeout_seconds", "300")

import psutil
import pyarrow as pa
import ray
import ray.data

from ser_core.batch import BatchError
from ser_core.batch.scoring import Attempts, Scorer
from ser_core.batch.setup import Setup
from ser_core.batch.signals import kept

logger = logging.getLogger(__name__)

TASK = 64
"""Recordings that an actor is given at once, at most; each actor gets some pieces of work."""

STORE = 128 * 2**20
"""Bytes of the object store of a Ray that is started here, beside what the locations take."""

STARTS = 4
"""How often starting Ray is tried: it gives its own processes 15 s, which nobody can set
(ray-project/ray#65983) and a busy machine exceeds."""

CONNECT = 30.0
"""Seconds for a cluster to answer at all."""

ROOM = 64 * 2**20
"""Bytes that must be free where a Ray that is started here writes its logs."""

LONGEST_FOLDER = 24
"""Characters: Ray puts sockets into its folder, and their names may not be long."""


@dataclass(frozen=True)
class Engine:
    """Ray, ready for work."""

    workers: int
    """Actors that judge at the same time."""
    nodes: int
    is_cluster: bool


@contextlib.contextmanager
def running(address: str | None, workers: int | None, locations: int) -> Iterator[Engine]:
    """Ray for the length of a `with` block: of its own, or the cluster at `address`.

    `workers` None are as many as there are CPUs; `locations` are bytes to hold in the store.

    Raises:
        BatchError: it cannot be started or reached.
    """
    with contextlib.ExitStack() as stack:
        if address:
            stack.callback(ray.shutdown)
            _join(address)
        else:
            folder = _make_folder()
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            stack.callback(_end_children)
            _start(workers, folder, STORE + 2 * locations)
        _silence()
        alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        cpus = int(sum(node["Resources"].get("CPU", 0) for node in alive))
        yield Engine(workers or max(1, cpus), len(alive), bool(address))


def score(locations: pa.Table, setup: Setup, engine: Engine) -> Iterator[pa.Table]:
    """Rows for all of `locations`, in their order, each with its index; as they are finished.

    What is not asked for is not judged much ahead: Ray's streaming executor holds work back when
    its object store fills.

    Raises:
        BatchError: actors cannot begin, or Ray comes to its end.
    """
    count = locations.num_rows
    task = max(1, min(TASK, math.ceil(count / (4 * engine.workers))))
    tasks = math.ceil(count / task)
    _configure()
    attempts = ray.remote(Attempts).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    try:
        dataset = ray.data.range(count, override_num_blocks=tasks).map_batches(
            Scorer,
            fn_constructor_kwargs={
                "setup": ray.put(setup),
                "locations": ray.put(locations),
                "attempts": attempts.remote(),
            },
            compute=ray.data.ActorPoolStrategy(size=min(engine.workers, tasks)),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
        )
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow")
    except ray.exceptions.RayError as e:
        raise BatchError(f"Ray failed: {_line(e)}") from e


def _join(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address != "auto" and not (host and port.isdecimal()):
        raise BatchError(f"RAY_ADDRESS={address} is neither auto nor HOST:PORT")
    try:
        if host:  # Ray itself would try for minutes
            socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()
        with _quiet(), kept():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (RuntimeError, ValueError, OverflowError, OSError, ray.exceptions.RayError) as e:
        raise BatchError(f"RAY_ADDRESS={address}: no Ray cluster answers there: {_line(e)}") from e


def _start(workers: int | None, folder: Path, store: int) -> None:
    for attempt in range(1, STARTS + 1):
        try:
            with _quiet(), kept():
                ray.init(
                    address="local",
                    num_cpus=workers,
                    object_store_memory=store,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=str(folder),
                )
        except Exception as e:
            _end_children()
            # Where it was too slow, Ray raises this very class.
            if type(e) is not Exception or attempt == STARTS:
                raise BatchError(f"Ray cannot be started: {_line(e)}") from e
            logger.warning("Ray was not ready in time; starting it once more.")
        else:
            return


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let nobody write to the terminal: what Ray has to say comes as an exception."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _end_children() -> None:
    """End Ray, and what it has started and does not know of."""
    ray.shutdown()
    left = psutil.Process().children(recursive=True)
    for child in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(left, timeout=10)


def _configure() -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    # A bundle that cannot be loaded ends the run, a machine that goes away does not.
    context.max_consecutive_actor_init_deaths = 3
    # One piece of work may take as long as its recordings; the actors watch over hangs.
    context.execution_no_progress_timeout_s = -1


def _silence() -> None:
    """Ray Data's own log goes to its files; what matters reaches the user as an exception."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)


def _make_folder() -> Path:
    """A fresh folder for Ray, which must not have a long name."""
    try:
        above = tempfile.gettempdir()
        if len(above) > LONGEST_FOLDER:
            above = "/tmp"  # noqa: S108  # nosec B108
        free = shutil.disk_usage(above).free
        if free >= ROOM:
            return Path(tempfile.mkdtemp(prefix="ser-", dir=above))
        trouble = f"{above} has {free >> 20} MB free, and Ray needs {ROOM >> 20}"
    except OSError as e:
        trouble = f"Ray needs a folder for what it writes: {_line(e)}"
    raise BatchError(
        f"{trouble}: set TMPDIR to a folder with more (whose name has at most {LONGEST_FOLDER} "
        f"characters)"
    )


def _line(error: BaseException) -> str:
    """The last thing that a message of many lines says."""
    told: Any = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(told).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
