"""Two Ray nodes of one CPU each on this machine; they live until standard input ends.

python -m tests.ser_core.batch.two_nodes FOLDER
"""

import os
import sys

import psutil
from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}

TRIES = 6
"""Ray gives a node's own processes 15 s, which nobody can set (ray-project/ray#65983)."""


def main() -> None:
    os.environ.setdefault("RAY_agent_register_timeout_ms", "300000")
    os.environ.setdefault("RAY_worker_register_timeout_seconds", "300")
    cluster = Cluster()
    try:
        for more in ({"temp_dir": sys.argv[1]}, {}):
            add(cluster, {**NODE, **more})
        print("address", cluster.address, flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()


def add(cluster: Cluster, node: dict[str, object]) -> None:
    before = {*psutil.Process().children(recursive=True)}
    for attempt in range(1, TRIES + 1):
        try:
            cluster.add_node(**node)
        except Exception:
            if attempt == TRIES:
                raise
            for late in {*psutil.Process().children(recursive=True)} - before:
                late.kill()
        else:
            return


if __name__ == "__main__":
    main()
