"""Answers to what is no HTTP request as a whole, so that the app never sees it.

gunicorn's own would be pages of HTML that quote what was sent.
"""

import json
import re
import uuid
from collections.abc import Collection, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors

from api import logs, overload
from api.arrival import Arrival
from api.connections import send
from api.headers import sharing
from api.problems import REQUEST_ID, SANE_ID, Problem, about_blank
from api.settings import Settings

_SENT_ID = re.compile(rb"\r\nx-request-id:[ \t]*([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)
_ORIGIN = re.compile(rb"\r\norigin:[ \t]*([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)

_STATUSES: Mapping[type[Exception], HTTPStatus] = {
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.ForbiddenProxyRequest: HTTPStatus.FORBIDDEN,
}
_OURS = (
    errors.ConfigurationProblem,
    errors.InvalidResponseHeader,
    errors.InvalidResponseHeaderName,
)


def of_error(error: Exception) -> tuple[Problem | HTTPStatus, bool]:
    """The answer to a request that gunicorn failed at, and whether the client is at fault."""
    if isinstance(error, _OURS) or not isinstance(error, errors.ParseException):
        return Problem("internal", "The service failed; its log has the request id."), False
    status = _STATUSES.get(type(error))
    if status is not None:
        return status, True
    return Problem("malformed-request", "What came in is not a request by HTTP/1.1."), True


def refuse(
    sock: Any,
    problem: Problem | HTTPStatus,
    arrival: Arrival,
    settings: Settings,
    *,
    keep: bool = False,
    **logged: str,
) -> tuple[str, bool]:
    """Answer a request, log and count it, as the app would.

    The request's id, and whether there was room for the answer.
    """
    identity, data = answer(problem, arrival.head or b"", settings.cors_origins, keep=keep)
    if isinstance(problem, Problem):
        name, status = problem.name, problem.status
    else:
        name, status = "malformed-request", problem.value
    overload.on_bare_refusal(name, status)
    if settings.access_log:
        method = "POST" if arrival.heavy else None
        logs.write(
            method=method, route=None, status=status, seconds=0, request_id=identity, **logged
        )
    return identity, send(sock, data)


def answer(
    problem: Problem | HTTPStatus,
    head: bytes = b"",
    origins: Collection[str] = (),
    *,
    keep: bool = False,
) -> tuple[str, bytes]:
    """An id for the request, and the bytes of the answer to it.

    Args:
        problem: what is wrong.
        head: the request's line and headers, where they came in.
        origins: whose pages may read the answer.
        keep: the connection stays open; else it closes after this.
    """
    identity = _sent(_SENT_ID, head)
    if not SANE_ID.fullmatch(identity):
        identity = uuid.uuid4().hex
    if isinstance(problem, Problem):
        members, extra = problem.to_dict(identity), problem.headers
    else:
        members, extra = about_blank(problem, None, identity), {}
    body = json.dumps(members).encode()
    headers = {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Date": formatdate(usegmt=True),
        "Connection": "keep-alive" if keep else "close",
        "X-Content-Type-Options": "nosniff",
        REQUEST_ID: identity,
        **sharing(_sent(_ORIGIN, head), origins),
        **extra,
    }
    lines = [f"HTTP/1.1 {members['status']} {HTTPStatus(members['status']).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return identity, "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _sent(header: re.Pattern[bytes], head: bytes) -> str:
    found = header.search(head)
    return found[1].decode("latin-1") if found else ""
