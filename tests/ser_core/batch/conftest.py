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
    # Ray's sockets are in there, and their names may not be long.
    folder = tempfile.mkdtemp(prefix="ser-", dir="/tmp")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ser_core.batch.two_nodes", folder],
        cwd=ROOT,
        env={**clean_environment(), **KEYS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        address = next((line.split()[1] for line in lines if line.startswith("address ")), "")
        if not address and busy():
            pytest.skip("the machine is too busy for Ray: its nodes did not start")
        assert address, "Ray's nodes did not start"
        yield address
    finally:
        below = psutil.Process(process.pid).children(recursive=True)
        process.stdin.close()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        for left in psutil.wait_procs(below, 30)[1]:
            left.kill()
        process.wait()
        process.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


def busy() -> bool:
    """Ray cannot be told to wait longer for its own processes (ray-project/ray#65983)."""
    return os.getloadavg()[0] > 3 * (os.cpu_count() or 1)


def clean_environment() -> dict[str, str]:
    """This one, without what leads to somebody's cluster, bucket or settings."""
    theirs = ("RAY_", "AWS_", "SER_")
    return {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
