"""Ask a speech emotion service what a recording sounds like.

from ser_client import Client
prediction = Client("http://localhost:8000").predict("clip.wav")
prediction.emotion, prediction.confidence
"""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

import urllib3

Recording = bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO
"""An audio file's bytes, its path, or the open file."""
RETRIED = (429, 502, 503, 504)
"""Statuses that pass: too often, too much at once, or a proxy without a service behind it."""
CONNECTIONS = 32
"""That are kept open, for as many threads."""
PROBLEM = "application/problem+json"
"""Type of what the service itself says of a request that fails (RFC 9457)."""


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


_SAID = frozenset(
    each.name
    for each in fields(Prediction)
    if each.default is MISSING and each.default_factory is MISSING
)
"""What each recording's answer has."""


class Client:
    """A service, by its address, which may be below a path; safe to share between threads.

    `key` is one of the service's, `timeout` the seconds to wait for the network, once. What fails
    for another reason that passes is tried again so many times (`retries`): when the service says,
    but never later than after `longest_wait` seconds, or after pauses that double.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = 60.0,
        retries: int = 8,
        longest_wait: int = 30,
    ) -> None:
        if not url.startswith(("http://", "https://")) or not urllib3.util.parse_url(url).host:
            raise ValueError(f"no address of a service: {url!r}")
        self._url = url.rstrip("/")
        again = _Retry(
            retries,
            allowed_methods=None,
            status_forcelist=RETRIED,
            raise_on_status=False,
            backoff_factor=0.1,
            backoff_jitter=0.1,
            backoff_max=5,
            retry_after_max=longest_wait,
        )
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._pool = urllib3.PoolManager(
            headers=headers, timeout=timeout, retries=again, maxsize=CONNECTIONS
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.clear()

    def predict(
        self,
        recording: Recording,
        *,
        profile: str | bool = False,
        references: Sequence[Recording] = (),
        segments: Sequence[Mapping[str, Any]] | None = None,
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
            ServiceError: the service refuses the recording, or has no time.
            OSError: the service cannot be reached.
            ValueError: `channels="split"`, which `predict_channels` asks for.
        """
        if parameters.get("channels") == "split":
            raise ValueError("each channel has an answer of its own: use predict_channels")
        if segments is not None:
            parameters["segments"] = json.dumps([dict(each) for each in segments])
        values = {"profile": profile, **parameters}
        return Prediction.of(self._post(recording, references, values, _SAID))

    def predict_channels(
        self, recording: Recording, **parameters: str | int | bool
    ) -> list[Prediction | ServiceError]:
        """What each channel expresses, or why that cannot be said; otherwise as `predict`."""
        values = {**parameters, "channels": "split"}
        answer = self._post(recording, (), values, {"channels"})
        return [_failure(each) or Prediction.of(each) for each in answer["channels"]]

    def models(self) -> list[dict[str, Any]]:
        """The models that the service has, the default one first."""
        return list(self._ask("GET", "/models", {"models"})["models"])

    def _post(
        self,
        recording: Recording,
        references: Sequence[Recording],
        values: Mapping[str, Any],
        said: Collection[str],
    ) -> Any:
        sent: list[Any] = [("file", ("recording", _bytes(recording)))]
        sent += [("reference", ("recording", _bytes(each))) for each in references]
        sent += [(name, v if isinstance(v, str) else json.dumps(v)) for name, v in values.items()]
        return self._ask("POST", "/predict", said, fields=sent)

    def _ask(self, method: str, path: str, said: Collection[str], **sent: Any) -> Any:
        """An answer that has all of `said`; another one is no answer of the service."""
        try:
            response = self._pool.request(method, self._url + path, **sent)
        except urllib3.exceptions.HTTPError as e:
            raise ConnectionError(f"{self._url} cannot be reached: {e}") from e
        try:
            answer = response.json()
        except ValueError:  # a proxy's page
            answer = None
        if response.status < 400 and isinstance(answer, dict) and answer.keys() >= set(said):
            return answer
        raise ServiceError(response.status, answer if isinstance(answer, dict) else {})


def _failure(answer: Mapping[str, Any]) -> ServiceError | None:
    return ServiceError(answer["error"]["status"], answer["error"]) if "error" in answer else None


class _Retry(urllib3.Retry):
    # By itself it would send what was too large again, if a proxy said when.
    RETRY_AFTER_STATUS_CODES = frozenset(RETRIED)

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: urllib3.BaseHTTPResponse | None = None,
        error: Exception | None = None,
        *args: Any,
        **more: Any,
    ) -> "_Retry":
        # Who did not answer in time is not asked again: the recording may still be judged there.
        waited = isinstance(error, urllib3.exceptions.TimeoutError)
        if waited and not isinstance(error, urllib3.exceptions.NewConnectionError):
            raise urllib3.exceptions.MaxRetryError(more["_pool"], url or "", error)
        # The service says when, if another time will do; only a proxy does not.
        headers = {} if response is None else response.headers
        if headers.get("Content-Type") == PROBLEM and "Retry-After" not in headers:
            raise urllib3.exceptions.MaxRetryError(more["_pool"], url or "")
        return super().increment(method, url, response, error, *args, **more)

    def get_retry_after(self, response: urllib3.BaseHTTPResponse) -> float | None:
        try:
            return super().get_retry_after(response)
        except urllib3.exceptions.InvalidHeader:
            return None  # some proxy's `soon`: as if it had said nothing


def _known(cls: type, answer: Mapping[str, Any]) -> dict[str, Any]:
    return {each.name: answer[each.name] for each in fields(cls) if each.name in answer}


def _bytes(recording: Recording) -> bytes:
    if isinstance(recording, str | os.PathLike):
        return Path(recording).read_bytes()
    if isinstance(recording, bytes | bytearray | memoryview):
        return bytes(recording)
    return recording.read()
