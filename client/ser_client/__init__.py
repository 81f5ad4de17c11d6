"""Ask a speech emotion service what a recording sounds like; Python's standard library is enough.

from ser_client import Client
prediction = Client("http://localhost:8000").predict("clip.wav")
prediction.emotion, prediction.confidence
"""

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
    """A part of a recording; without speech it has no emotion."""

    start: float
    end: float
    emotion: str | None
    confidence: float | None
    probabilities: Mapping[str, float] | None
    speech: bool = True
    speaker: str | None = None

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "Segment":
        """A segment of an answer; what a later service may say beside it is left out."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in answer.items() if name in known})


@dataclass(frozen=True)
class Prediction:
    """What a recording sounds like."""

    emotion: str
    confidence: float
    uncertain: bool
    probabilities: Mapping[str, float]
    duration: float
    segments: tuple[Segment, ...]
    profile: str | None
    """The speaker's, for the next request; only if it was asked for."""
    answer: Mapping[str, Any] = field(repr=False)
    """Everything that the service said."""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "Prediction":
        """What an answer of the service says."""
        names = ("emotion", "confidence", "uncertain", "probabilities", "duration")
        return cls(
            **{name: answer[name] for name in names},
            segments=tuple(Segment.of(each) for each in answer.get("segments", ())),
            profile=answer.get("profile"),
            answer=answer,
        )


class ServiceError(Exception):
    """The service refused, or failed; it says why by RFC 9457."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.kind = str(problem.get("type", "about:blank")).rpartition("/")[2]
        """The kind of problem, such as `silent` or `overloaded`."""
        self.request_id: str | None = problem.get("request_id")
        self.problem = problem
        title, detail = problem.get("title", "No answer of the service"), problem.get("detail", "")
        super().__init__(f"{title} ({status}). {detail}".strip())


class Client:
    """One connection to a service, kept open; each thread wants its own client.

    Args:
        url: where the service is; it may be below a path.
        key: one of the service's keys, if it asks for one.
        timeout: seconds to wait for the network.
        patience: seconds to go on trying while the service is away or has too much to do.
    """

    def __init__(
        self, url: str, *, key: str | None = None, timeout: float = 60.0, patience: float = 30.0
    ) -> None:
        place = urlsplit(url)
        if place.scheme not in {"http", "https"} or place.hostname is None:
            raise ValueError(f"no address of a service: {url!r}")
        kind = (
            http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(place.hostname, place.port, timeout=timeout)
        self._path = place.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._patience = patience

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
        values: dict[str, str | int | bool] = dict(parameters)
        if profile:
            values["profile"] = profile
        if segments:
            values["segments"] = json.dumps([dict(each) for each in segments])
        return Prediction.of(self._predict(recording, references, values))

    def predict_channels(
        self, recording: Recording, **parameters: str | int | bool
    ) -> "list[Prediction | ServiceError]":
        """What each channel expresses, or why that cannot be said; otherwise as `predict`."""
        answer = self._predict(recording, (), {**parameters, "channels": "split"})
        return [
            ServiceError(each["error"]["status"], each["error"])
            if "error" in each
            else Prediction.of(each)
            for each in answer["channels"]
        ]

    def models(self) -> list[dict[str, Any]]:
        """The models that the service has, the default one first."""
        models: list[dict[str, Any]] = self.request("GET", "/models")["models"]
        return models

    def _predict(
        self,
        recording: Recording,
        references: Sequence[Recording],
        values: Mapping[str, str | int | bool],
    ) -> Any:
        files = [("file", recording), *(("reference", each) for each in references)]
        body, media_type = _form({name: _text(each) for name, each in values.items()}, files)
        return self.request("POST", "/predict", body, {"Content-Type": media_type})

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


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _form(values: Mapping[str, str], files: Sequence[tuple[str, Recording]]) -> tuple[bytes, str]:
    """A multipart body and its type (RFC 7578)."""
    boundary = uuid.uuid4().hex
    start = f'--{boundary}\r\nContent-Disposition: form-data; name="'
    parts = [f'{start}{name}"\r\n\r\n{value}\r\n'.encode() for name, value in values.items()]
    for name, recording in files:
        head = f'{start}{name}"; filename="recording"\r\nContent-Type: application/octet-stream'
        parts += [f"{head}\r\n\r\n".encode(), _bytes(recording), b"\r\n"]
    body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={boundary}"


def _bytes(recording: Recording) -> bytes:
    if isinstance(recording, bytes):
        return recording
    if isinstance(recording, str | os.PathLike):
        return Path(recording).read_bytes()
    return recording.read()


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
    try:
        problem = json.loads(content)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}
