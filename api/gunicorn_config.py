"""How gunicorn serves: `gunicorn --config python:api.gunicorn_config "api:create_app()"`."""

import atexit
import ctypes
import gc
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from api.metrics import FOLDER
from api.models import keep
from api.settings import SettingError, Settings
from ser_core.bundle import BundleError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGE, _KEPT = 256 * 1024, 1024 * 1024
"""Bytes: more than a block of a short recording, and than a request for one frees in the end."""

try:
    _settings = Settings.from_environment()
except SettingError as e:
    raise SystemExit(f"ser: {e}") from e

_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host
bind = f"{_host}:{_settings.port}"
worker_class = "api.worker.Worker"
workers = _settings.workers
threads = _settings.threads
worker_connections = _settings.max_connections
preload_app = False  # interpreters do not survive a fork
timeout = 30  # of the loop, which never waits: requests have their own
graceful_timeout = 25
# Longer than a load balancer's 60 s and the 90 s of Heroku's router, so that these never reuse a
# closed connection: what is posted they cannot send again.
keepalive = 95

# The container's file system may be read-only, and a heartbeat on a disk can block.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
control_socket_disable = True

# Whom to believe about proxies is said by `SER_TRUSTED_PROXIES` alone: gunicorn by itself believes
# everybody on this machine, and lets them move paths.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}


def on_starting(server: Any) -> None:
    """Stop with one clear line, before any worker starts, if a bundle cannot be served."""
    try:
        keep(_settings)
    except BundleError as e:
        raise SystemExit(f"ser: {e}") from e
    server.stop = _tell_and(server.stop, server)
    if not os.environ.get(FOLDER):
        folder = tempfile.mkdtemp(prefix=f"ser-metrics-{os.getpid()}-", dir=worker_tmp_dir)
        os.environ[FOLDER] = folder
        # gunicorn's on_exit is not called where the start fails.
        atexit.register(_remove, folder, os.getpid())


def on_reload(server: Any) -> None:
    """Read the bundles anew, for the workers that are started now; damaged ones change nothing."""
    try:
        keep(_settings)
    except BundleError as e:
        server.log.error("%s: the models stay as they were", e)  # noqa: TRY400 (one clear line)


def _remove(folder: str, owner: int) -> None:
    """Leave nothing behind; the workers, which inherit this, end earlier."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _tell_and(stop: Callable[..., None], server: Any) -> Callable[..., None]:
    """Let workers know that it is the service that stops: a reload must not shut the listeners."""
    from api.door import STOPPING  # noqa: PLC0415 (the settings above are for it as well)

    def tell_and_stop(graceful: bool = True) -> None:
        if not server.systemd:
            STOPPING[0] = 1
        stop(graceful)

    return tell_and_stop


def child_exit(server: Any, worker: Any) -> None:
    """Stop counting what a worker that is gone had in its hands."""
    from prometheus_client import multiprocess  # noqa: PLC0415 (it needs the folder)

    from api.door import CROWD  # noqa: PLC0415 (the settings above are for it as well)

    CROWD.leave(worker.age)
    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def pre_fork(server: Any, worker: Any) -> None:
    """Keep the workers' garbage collection off the objects that they share with this process.

    It writes to every object that it looks at, so that their first full one, some ten thousand
    requests on, copied what was shared until then: measured, 15 MB for two workers.
    """
    gc.freeze()


def post_fork(server: Any, worker: Any) -> None:
    """Have the C library give large blocks back to the system once they are free.

    By itself glibc raises this threshold to the largest block ever freed, and then keeps what a
    few large uploads needed: measured, 198 MB a worker in place of 78 MB (mallopt(3)). Lower, and
    short recordings would fetch their memory anew each time: 7 % of a request's CPU time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # macOS and musl have none
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE)
    mallopt(_M_TRIM_THRESHOLD, _KEPT)
