import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.ser_core.batch.bucket import KEYS, Bucket

ROOT = Path(__file__).resolve().parents[3]

STARTS = 5
"""How often the cluster is started: Ray gives its own processes 15 s, which nobody can set
(ray-project/ray#65983)."""


@pytest.fixture(autouse=True)
def hangup() -> Iterator[None]:
    """SIGHUP ends what is started here, also where the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def bucket() -> Iterator[Bucket]:
    """An S3 server with an empty bucket `calls`."""
    server = Bucket()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def two_nodes() -> Iterator[str]:
    """The address of a Ray cluster of two nodes; it knows keys, but of no endpoint for S3."""
    for _ in range(STARTS):
        with cluster() as address:
            if address:
                yield address
                return
    if busy():
        pytest.skip("the machine is too busy for Ray: its nodes did not start")
    pytest.fail("Ray's nodes did not start")


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """The address of two nodes, empty where they did not start in the time that Ray gives them."""
    # Ray's sockets are in there, and their names may not be long.
    folder = tempfile.mkdtemp(prefix="ser-", dir="/tmp")
    Path(folder, "ray").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ser_core.batch.two_nodes"],
        cwd=ROOT,
        env={**clean_environment(), **KEYS, "RAY_TMPDIR": folder},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        yield next((line.split()[1] for line in lines if line.startswith("address ")), "")
    finally:
        below = psutil.Process(process.pid).children(recursive=True)
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()
        for left in psutil.wait_procs(below, 10)[1]:
            left.kill()
        process.wait()
        process.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


def busy() -> bool:
    """Whether there is much more to do than there are CPUs."""
    return os.getloadavg()[0] > 3 * (os.cpu_count() or 1)


def clean_environment() -> dict[str, str]:
    """This one, without what leads to somebody's cluster, bucket or settings."""
    theirs = ("RAY_", "AWS_", "SER_")
    return {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
