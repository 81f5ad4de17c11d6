"""Workers keep sharing what was there before they were forked."""

import subprocess
import sys
from pathlib import Path

import pytest

FORK = """
import gc, os, sys
from pathlib import Path
from api import create_app, gunicorn_config

def own() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))

if sys.argv[1] == "frozen":
    gunicorn_config.pre_fork(None, None)
if os.fork() == 0:
    before = own()
    gc.collect()
    print(own() - before, flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell what is shared"
)
def test_collecting_garbage_in_a_worker_copies_nothing_that_is_shared() -> None:
    def copied(how: str) -> int:
        command = [sys.executable, "-c", FORK, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert copied("as it comes") > 3_000  # kB
    assert copied("frozen") < 1_000
