"""Two Ray nodes of one CPU each on this machine; they live until standard input ends.

python -m tests.ser_core.batch.two_nodes FOLDER
"""

import sys
import time
from typing import Any

import ray._private.node
from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


class SlowTime:
    """Ray gives a node 30 s to start, which a busy machine exceeds: let ten be one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        return time.monotonic() / 10


def main() -> None:
    ray._private.node.time = SlowTime()
    cluster = Cluster()
    try:
        cluster.add_node(**NODE, temp_dir=sys.argv[1])
        cluster.add_node(**NODE)
        print("address", cluster.address, flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
