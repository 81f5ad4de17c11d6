"""Ask a speech emotion service what a recording sounds like; Python's standard library is enough.

from ser_client import Client
prediction = Client("http://localhost:8000").predict("clip.wav")
prediction.emotion, prediction.confidence
"""

import contextlib
import http.client
import json
import os
import random
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

Recording = bytes | str | os.PathLike[str] | BinaryIO
"""An audio file's bytes, its path, or the open file."""
RETRIED = {429, 502, 503, 504}
"""Statuses that pass: too often, too much at once, or a proxy without a service behind it."""


@dataclass(frozen=True)
class Segment:
    """A part of a recording, in seconds; without speech it has no emotion."""

    start: float
    end: float
    emotion: str | None
    confidence: float | None
    probabilities: Mapping[str, float] | None
    speech: bool = True
    speaker: str | None = None


@dataclass(frozen=True)
class Prediction:
    """What a recording sounds like; `answer` is everything that the service said."""

    emotion: str
    confidence: float
    uncertain: bool
    probabilities: Mapping[str, float]
    duration: float
    segments: tuple[Segment, ...] = ()
    profile: str | None = None
    answer: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "Prediction":
        """What an answer says; what this client does not know stays in `answer`."""
        segments = tuple(Segment(**_known(Segment, each)) for each in answer.get("segments", ()))
        return cls(**{**_known(cls, answer), "segments": segments, "answer": answer})


class ServiceError(Exception):
    """The service refused, or failed; it says why by RFC 9457: `kind` is such as `silent`."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status, self.problem = status, problem
        self.kind = str(problem.get("type", "about:blank")).rpartition("/")[2]
        self.request_id: str | None = problem.get("request_id")
        title, detail = problem.get("title", "No answer of the service"), problem.get("detail", "")
        super().__init__(f"{title} ({status}). {detail}".strip())


class Client:
    """One connection to a service, kept open; each thread wants its own client.

    `url` may be below a path, `key` is one of the service's, `timeout` the seconds to wait for the
    network, `patience` those to go on trying while the service is away or has too much to do.
    """

    def __init__(
        self, url: str, *, key: str | None = None, timeout: float = 60.0, patience: float = 30.0
    ) -> None:
        place = urlsplit(url)
        if place.scheme not in {"http", "https"} or place.hostname is None:
            raise ValueError(f"no address of a service: {url!r}")
        tls = place.scheme == "https"
        kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
        self._connection = kind(place.hostname, place.port, timeout=timeout)
        self._path, self._patience = place.path.rstrip("/"), patience
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request would open it again."""
        self._connection.close()

    def predict(
        self,
        recording: Recording,
        *,
        profile: str | bool = False,
        references: Sequence[Recording] = (),
        segments: Sequence[Mapping[str, Any]] = (),
        **parameters: str | int | bool,
    ) -> Prediction:
        """Say which emotion a recording expresses.

        Args:
            recording: in any format that the service reads.
            profile: True asks for the speaker's profile; a profile is used, and comes back updated.
            references: other recordings of the same speaker.
            segments: parts to judge, `{"start", "end", "speaker"}`.
            parameters: the others of the service, such as `timeline=True`, `top=3`, `model="..."`.

        Raises:
            ServiceError: the service refuses the recording, or has no time within `patience`.
            OSError: the service cannot be reached within `patience`.
        """
        if profile:
            parameters["profile"] = profile
        if segments:
            parameters["segments"] = json.dumps([dict(each) for each in segments])
        return Prediction.of(self._post(recording, references, parameters))

    def predict_channels(
        self, recording: Recording, **parameters: str | int | bool
    ) -> list[Prediction | ServiceError]:
        """What each channel expresses, or why that cannot be said; otherwise as `predict`."""
        answer = self._post(recording, (), {**parameters, "channels": "split"})
        return [
            ServiceError(each["error"]["status"], each["error"])
            if "error" in each
            else Prediction.of(each)
            for each in answer["channels"]
        ]

    def models(self) -> list[dict[str, Any]]:
        """The models that the service has, the default one first."""
        return list(self.request("GET", "/models")["models"])

    def _post(
        self, recording: Recording, references: Sequence[Recording], values: Mapping[str, Any]
    ) -> Any:
        """A form (RFC 7578) with the recordings and the parameters."""
        boundary = uuid.uuid4().hex
        start = f'--{boundary}\r\nContent-Disposition: form-data; name="'
        parts = [
            f'{start}{name}"\r\n\r\n{_text(value)}\r\n'.encode() for name, value in values.items()
        ]
        for name, each in [("file", recording), *(("reference", each) for each in references)]:
            head = f'{start}{name}"; filename="recording"\r\nContent-Type: application/octet-stream'
            parts += [f"{head}\r\n\r\n".encode(), _bytes(each), b"\r\n"]
        body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return self.request("POST", "/predict", body, kind)

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Any:
        """Send a request, again if it failed for a reason that passes; the answer's JSON."""
        until, attempt = time.monotonic() + self._patience, 0
        while True:
            # By chance, so that many clients do not come back all at once.
            wait = min(random.uniform(0.1, 0.2) * 2**attempt, 5.0)
            try:
                sent = {**self._headers, **(headers or {})}
                self._connection.request(method, self._path + path, body, sent)
                response = self._connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException):
                self._connection.close()
                if time.monotonic() + wait > until:
                    raise
            else:
                if response.status < 400:
                    return json.loads(content)
                wait = _seconds(response.getheader("Retry-After"), wait)
                if response.status not in RETRIED or time.monotonic() + wait > until:
                    raise ServiceError(response.status, _problem(content))
            time.sleep(wait)
            attempt += 1


def _known(cls: type, answer: Mapping[str, Any]) -> dict[str, Any]:
    return {each.name: answer[each.name] for each in fields(cls) if each.name in answer}


def _text(value: str | int | bool) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _bytes(recording: Recording) -> bytes:
    if isinstance(recording, str | os.PathLike):
        return Path(recording).read_bytes()
    return recording if isinstance(recording, bytes) else recording.read()


def _seconds(header: str | None, otherwise: float) -> float:
    """What Retry-After says: seconds, or by some proxies a date."""
    if header and header.isdecimal():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header or "").timestamp() - time.time())
    except ValueError:
        return otherwise


def _problem(content: bytes) -> Mapping[str, Any]:
    """What an error says; a proxy's page says nothing that a program could read."""
    with contextlib.suppress(ValueError):
        if isinstance(problem := json.loads(content), dict):
            return problem
    return {}
