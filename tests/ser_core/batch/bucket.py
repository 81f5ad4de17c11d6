"""A real S3 server on this machine (moto's), which sees who asks and can make them wait."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import psutil
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from pyarrow import fs
from werkzeug.serving import make_server

NAME = "calls"
PATIENCE = 300
"""Seconds until a test that waits for something gives up."""

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
"""What moto takes, as everything."""

Answer = Callable[..., Any]


class Bucket:
    """One bucket; `on_get` is called with the key and the asking process before it is answered."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self, threaded=True, request_handler=MotoRequestHandler
        )
        # A request that is held back must not hold back the end of the tests.
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.gets: Counter[str] = Counter()
        self.on_get: Callable[[str, int], None] = lambda key, process: None

    @property
    def environment(self) -> dict[str, str]:
        """What leads pyarrow here."""
        more = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
        return {**KEYS, **more, "AWS_ENDPOINT_URL": self.url}

    def filesystem(self, **options: Any) -> fs.S3FileSystem:
        """A way to look into it, and to fill it; patient, as the first answer takes long."""
        return fs.S3FileSystem(
            access_key=KEYS["AWS_ACCESS_KEY_ID"],
            secret_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region="us-east-1",
            endpoint_override=self.url,
            request_timeout=PATIENCE,
            connect_timeout=PATIENCE,
            **options,
        )

    def __call__(self, environ: dict[str, Any], start_response: Answer) -> Iterable[bytes]:
        key = environ["PATH_INFO"].removeprefix(f"/{NAME}/")
        if environ["REQUEST_METHOD"] == "GET" and key.endswith((".wav", ".flac")):
            self.gets[key] += 1
            self.on_get(key, _owner(int(environ["REMOTE_PORT"])))
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer

    def forget(self) -> None:
        """As if nobody had asked yet."""
        self.gets.clear()
        self.on_get = lambda key, process: None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _owner(port: int) -> int:
    """The process that connected from a local port, and waits for its answer."""
    for _ in range(100):
        for connection in psutil.net_connections("tcp4"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                return int(connection.pid)
        time.sleep(0.05)
    raise LookupError(f"nobody has port {port}")
