"""Two Ray nodes of one CPU each on this machine; they live until standard input ends.

RAY_TMPDIR=FOLDER python -m tests.ser_core.batch.two_nodes

A node comes up only if its agent, a process of Python, has written down its port within 15 s, and
nobody can set how long that may take (ray-project/ray#65983). On a busy machine it takes longer: so
the ports are chosen here, and the note is written in the agent's place.
"""

import os
import socket
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import ray._private.node
from ray.cluster_utils import Cluster

NODE = {
    "num_cpus": 1,
    "object_store_memory": 80 * 2**20,
    "include_dashboard": False,
    "include_log_monitor": False,
    "no_monitor": True,
}
"""With as few processes as can be: each costs a second of starting."""

LISTEN = "dashboard_agent_listen_port"
PORTS = (LISTEN, "metrics_agent_port", "metrics_export_port", "runtime_env_agent_port")


class SlowTime:
    """Of the time that Ray's Python waits for the node, which is 30 s, too: let ten be one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        return time.monotonic() / 10


def main() -> None:
    os.environ.setdefault("RAY_agent_register_timeout_ms", "300000")
    os.environ.setdefault("RAY_worker_register_timeout_seconds", "300")
    ray._private.node.time = SlowTime()
    threading.Thread(target=note_ports, daemon=True).start()
    cluster = Cluster()
    try:
        cluster.add_node(**NODE, **free_ports())
        cluster.add_node(**NODE, **free_ports())
        print("address", cluster.address, flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()


def free_ports() -> dict[str, int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in PORTS]
        for each in sockets:
            each.bind(("", 0))
        return {name: each.getsockname()[1] for name, each in zip(PORTS, sockets, strict=True)}


def note_ports() -> None:
    while True:
        for child in psutil.Process().children():
            try:
                command = child.cmdline()
            except psutil.Error:
                continue
            told = dict(each.removeprefix("--").split("=", 1) for each in command if "=" in each)
            if "raylet_socket_name" not in told:
                continue
            listen = told["dashboard_agent_command"].partition("--listen-port=")[2].split()[0]
            note = Path(told["session_dir"], f"{LISTEN}_{told['node_id']}")
            if not note.exists():
                note.write_text(listen, encoding="utf-8")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
