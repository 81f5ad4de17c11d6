"""Every setting of the service, read once from the environment."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from api.cpus import available_cpus
from ser_core.runtime import RUNTIMES

NEARLY = 0.9
"""Likeness of two names, by difflib, of which one is taken for a misspelling of the other."""
MOST_WORKERS = 7
"""Unless asked for more: beyond it the CPUs go to interpreters, which share a worker's memory."""


class SettingError(ValueError):
    """A variable of the environment with a value that cannot be used; the message names both."""


def _workers(cpus: int) -> int:
    """Processes by default: one a CPU, and of many CPUs as few as leave the fewest idle."""
    if cpus <= MOST_WORKERS:
        return cpus
    return max(range(4, MOST_WORKERS + 1), key=lambda workers: cpus // workers * workers)


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value.strip()


def _names(value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if not names:
        raise ValueError("must name at least one bundle")
    return names


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ValueError("must be a whole number") from None
        if not least <= number <= most:
            raise ValueError(f"must be between {least} and {most}")
        return number

    return parse


def _seconds(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ValueError("must be a number of seconds") from None
    if not 0.1 <= number <= 86_400:
        raise ValueError("must be between 0.1 and 86400 seconds")
    return number


def _flag(value: str) -> bool:
    try:
        return {"true": True, "1": True, "false": False, "0": False}[value.strip().lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def _runtime(value: str) -> str:
    if value not in RUNTIMES:
        raise ValueError(f"must be one of {', '.join(RUNTIMES)}")
    return value


def _hashes(value: str) -> tuple[str, ...]:
    hashes = tuple(each.strip().lower() for each in value.split(",") if each.strip())
    if not hashes or not all(re.fullmatch("[0-9a-f]{64}", each) for each in hashes):
        raise ValueError("must be SHA-256 hashes, in hexadecimal: printf %s KEY | sha256sum")
    return hashes


def _rate(value: str) -> str:
    from limits import parse_many  # noqa: PLC0415 (only where there is a limit)

    try:
        parse_many(value)
    except ValueError:
        raise ValueError("must be limits such as 60/minute or 10/second;1000/day") from None
    return value


def _redis_url(value: str) -> str:
    if not re.match(r"(redis|rediss|redis\+unix)://.", value):
        raise ValueError("must be an address such as redis://host:6379/0")
    return value


def _origins(value: str) -> tuple[str, ...]:
    origins = tuple(each.strip() for each in value.split(",") if each.strip())
    if not all(each == "*" or re.fullmatch(r"https?://[^/\s]+", each) for each in origins):
        raise ValueError("must be origins such as https://example.org, without a path")
    return origins


def _ancestors(value: str) -> str:
    sources = value.split()
    if not sources or not all(
        re.fullmatch(r"'none'|'self'|\*|(https?://)?[\w.*:-]+", each) for each in sources
    ):
        raise ValueError("must be 'none', 'self', or hosts such as https://example.org")
    return " ".join(sources)


def _setting(
    variable: str, parse: Callable[[str], Any], default: Any, *, secret: bool = False
) -> Any:
    """A field that a variable sets; of several, separated by spaces, the first that is there."""
    metadata = {"variables": variable.split(), "parse": parse, "secret": secret}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True)
class Settings:
    """What the service was told; `Settings()` is what it does untold."""

    host: str = _setting("HOST", _text, "127.0.0.1")
    port: int = _setting("PORT", _whole(1, 65_535), 8000)
    model: tuple[str, ...] = _setting("SER_MODEL", _names, ("default",))
    """Bundles to serve, by name or folder; the first one answers unless another is asked for."""
    runtime: str = _setting("SER_RUNTIME", _runtime, "litert")
    max_bytes: int = _setting("SER_MAX_BYTES", _whole(1_000, 2_000_000_000), 25_000_000)
    """Bytes of audio in one request, all its files together."""
    max_seconds: float = _setting("SER_MAX_SECONDS", _seconds, 600.0)
    max_channels: int = _setting("SER_MAX_CHANNELS", _whole(1, 255), 8)
    max_sampling_rate: int = _setting("SER_MAX_SAMPLING_RATE", _whole(8_000, 768_000), 192_000)
    max_files: int = _setting("SER_MAX_FILES", _whole(1, 1_000), 16)
    workers: int = _setting(
        "SER_WORKERS WEB_CONCURRENCY",
        _whole(1, 256),
        lambda: _workers(available_cpus()),
    )
    """Processes."""
    threads: int = _setting("SER_THREADS", _whole(1, 256), 4)
    """Requests that a worker decodes and judges at the same time."""
    max_in_flight: int = _setting("SER_MAX_IN_FLIGHT", _whole(1, 10_000), 40)
    """Requests that a worker has taken and not yet answered; beyond them it answers 503. More than
    32, so that 32 clients are served even where all their connections come to one worker."""
    max_connections: int = _setting("SER_MAX_CONNECTIONS", _whole(8, 100_000), 512)
    """Connections that a worker keeps open, most of them idle or slow."""
    max_buffered_bytes: int = _setting("SER_MAX_BUFFERED_BYTES", _whole(1_000, 10**11), 128_000_000)
    """Bytes of requests that a worker holds in memory; at least one request's always."""
    read_timeout: float = _setting("SER_READ_TIMEOUT", _seconds, 10.0)
    """Seconds without a byte after which a request that is coming in is refused."""
    body_timeout: float = _setting("SER_BODY_TIMEOUT", _seconds, 120.0)
    """Seconds in which a request has to come in as a whole."""
    request_timeout: float = _setting("SER_REQUEST_TIMEOUT", _seconds, 30.0)
    """Seconds in which a request is to be answered once it has come in as a whole."""
    hang_timeout: float = _setting("SER_HANG_TIMEOUT", _seconds, 10.0)
    """Seconds beyond SER_REQUEST_TIMEOUT after which the worker of a request is replaced."""
    runtime_threads: int = _setting("SER_RUNTIME_THREADS", _whole(1, 256), 1)
    """Threads of one interpreter."""
    api_keys: tuple[str, ...] = _setting("SER_API_KEYS", _hashes, (), secret=True)
    """SHA-256 of the keys that clients need, in hexadecimal; none: everyone may ask."""
    rate_limit: str | None = _setting("SER_RATE_LIMIT", _rate, None)
    """How often a key, or an address, may ask for a prediction: `60/minute;1000/day`."""
    redis_url: str | None = _setting("SER_REDIS_URL", _redis_url, None, secret=True)
    """Where requests are counted for all workers and containers together."""
    trusted_proxies: int = _setting("SER_TRUSTED_PROXIES", _whole(0, 10), 0)
    """Proxies before the service, whose X-Forwarded-For and -Proto are believed."""
    cors_origins: tuple[str, ...] = _setting("SER_CORS_ORIGINS", _origins, ())
    """Origins whose pages may ask, such as `https://example.org`; `*` is all."""
    frame_ancestors: str = _setting("SER_FRAME_ANCESTORS", _ancestors, "'none'")
    """Who may show the page in a frame, as in a Content-Security-Policy."""
    access_log: bool = _setting("SER_ACCESS_LOG", _flag, True)

    @property
    def interpreters(self) -> int:
        """Interpreters a worker, so that all workers' threads together fit the CPUs."""
        return max(1, available_cpus() // (self.workers * self.runtime_threads))

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """The settings that the environment holds; what it does not name keeps its default.

        Raises:
            SettingError: a value cannot be used, or a variable is nearly one of them: who misspells
                SER_API_KEYS must not be left with a service that everybody may ask.
        """
        variables = [name for each in fields(cls) for name in each.metadata["variables"]]
        ours = [name for name, value in environ.items() if value and name.startswith("SER_")]
        for name in ours:
            near = get_close_matches(name, variables, 1, NEARLY)
            if near and near[0] != name:
                raise SettingError(f"{name} is no setting; {near[0]} is")
        given = {}
        for each in fields(cls):
            variable = next(
                (name for name in each.metadata["variables"] if environ.get(name)), None
            )
            if variable is None:
                continue
            try:
                given[each.name] = each.metadata["parse"](environ[variable])
            except ValueError as e:
                shown = "..." if each.metadata["secret"] else repr(environ[variable])
                raise SettingError(f"{variable}={shown}: {e}") from None
        return cls(**given)
