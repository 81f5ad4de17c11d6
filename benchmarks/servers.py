"""The services that are measured: how each is started, watched and stopped."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
MB = 1e6
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ONE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Service:
    """A command that serves /predict and /ready on $PORT."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def services(workers: int, threads: int) -> list[Service]:
    """Ours first, then the classic one as it comes and as an expert would tune it."""
    ours = Service(
        "ser-service",
        (sys.executable, "-m", "ser_core.cli", "serve"),
        {"SER_WORKERS": str(workers), "SER_THREADS": str(threads)},
    )
    shape = f"--worker-class gthread --workers {workers} --threads {threads} --keep-alive 75"
    classic = (
        *(sys.executable, "-m", "gunicorn", *shape.split()),
        "benchmarks.classic_app:create_app()",
    )
    return [
        ours,
        Service("classic", classic),
        Service("classic, 1 BLAS thread", classic, ONE_BLAS_THREAD),
    ]


@dataclass(frozen=True)
class Memory:
    """Resident memory in MB."""

    worker: float
    """Of the largest worker."""
    unshared: float
    """The part of it that no other process shares."""
    total: float
    """Of all processes; where the system tells (Linux), what they share is counted once."""


class Running:
    """A service that has been started and answers."""

    def __init__(self, url: str, process: psutil.Process, seconds_to_ready: float) -> None:
        self.url = url
        self.seconds_to_ready = seconds_to_ready
        self.pid = process.pid
        self._process = process

    def memory(self) -> Memory:
        workers = [child.memory_full_info() for child in self._process.children(recursive=True)]
        everyone = [self._process.memory_full_info(), *workers]
        processes = [self._process, *self._process.children(recursive=True)]
        rolled = [_smaps(process.pid) for process in processes]
        if all(rolled):
            # Not the sum of Pss: pages of libraries are divided among all who map them, so that it
            # grows when some other program of the same libraries ends.
            own = sum(each["Pss_Anon"] + each["Pss_Shmem"] for each in rolled)
            total = own + max(each["Rss"] - each["Anonymous"] for each in rolled)
        else:
            total = sum(each.rss for each in everyone)
        return Memory(
            worker=max(each.rss for each in workers) / MB,
            unshared=max(each.uss for each in workers) / MB,
            total=total / MB,
        )


def _smaps(pid: int) -> dict[str, int]:
    """Sums over all that a process maps, in bytes; empty where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {
        name: 1024 * int(rest.split()[0])
        for name, _, rest in (line.partition(":") for line in lines)
    }


@contextmanager
def running(service: Service, log: Path) -> Iterator[Running]:
    """Start a service on a free port, wait until it is ready, and stop it in the end."""
    port = free_port()
    environment = {**os.environ, **service.environment, "PORT": str(port), "HOST": "127.0.0.1"}
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            service.command, cwd=ROOT, env=environment, stdout=output, stderr=output
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, process, log)
            took = time.perf_counter() - started
            yield Running(url, psutil.Process(process.pid), took)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=40)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.perf_counter() + 120
    while time.perf_counter() < give_up:
        if process.poll() is not None:
            break
        try:
            with DIRECT.open(f"{url}/ready", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.01)
    raise RuntimeError(f"not ready: {log.read_text(errors='replace')[-2000:]}")
