"""Answers to what is no HTTP request as a whole, so that the app never sees it.

gunicorn's own would be pages of HTML that quote what was sent.
"""

import json
import uuid
from collections.abc import Mapping
from http import HTTPStatus

from gunicorn.http import errors

from api.problems import REQUEST_ID, Problem, about_blank

_STATUSES: Mapping[type[Exception], HTTPStatus] = {
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
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


def answer(problem: Problem | HTTPStatus) -> tuple[str, bytes]:
    """An id for the request, and the bytes of an answer after which the connection closes."""
    identity = uuid.uuid4().hex
    if isinstance(problem, Problem):
        members, extra = problem.to_dict(identity), problem.headers
    else:
        members, extra = about_blank(problem, None, identity), {}
    body = json.dumps(members).encode()
    headers = {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        REQUEST_ID: identity,
        **extra,
    }
    head = f"HTTP/1.1 {members['status']} {HTTPStatus(members['status']).phrase}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return identity, f"{head}\r\n".encode("latin-1") + body
