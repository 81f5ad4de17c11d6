"""A real Redis for tests, as Debian's package has it."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def redis_server(
    folder: Path, *options: str | Path, port_option: str = "--port"
) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """Redis in `folder`, which keeps nothing: its port, and its process."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("NO redis-server: limits across workers are not tested (apt install redis)")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [program, port_option, str(port), "--bind", "127.0.0.1", "--save", "", *options],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield port, process
    finally:
        process.kill()
        process.wait()
