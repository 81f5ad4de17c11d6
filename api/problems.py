"""Every error as `application/problem+json` (RFC 9457), and the id that each request carries."""

import logging
import re
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from ser_core.audio import READABLE, AudioError
from ser_core.prediction import SpanError
from ser_core.profile import ProfileError

blueprint = Blueprint("problems", __name__)
log = logging.getLogger(__name__)

REQUEST_ID = "X-Request-ID"
SANE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
"""Ids of requests that are taken from clients."""


@dataclass(frozen=True)
class Kind:
    """One kind of problem; its `type` is `/problems/<name>`, which also answers GET."""

    status: int
    title: str
    meaning: str


KINDS = {
    "no-audio": Kind(
        400,
        "No audio in the request",
        "Send the recording in the multipart field `file`, or as the body.",
    ),
    "malformed-body": Kind(
        400, "Malformed body", "The body ends early, or is not the form that its type says."
    ),
    "malformed-request": Kind(
        400, "Malformed request", "The request line or a header is not as HTTP/1.1 has it."
    ),
    "bad-parameter": Kind(400, "Bad parameter", "The detail names the parameter and its values."),
    "unauthorized": Kind(401, "Key missing or wrong", "This service asks for a key."),
    "not-found": Kind(404, "Not found", "Nothing is at this path."),
    "method-not-allowed": Kind(
        405, "Method not allowed", "The header Allow lists the methods of this path."
    ),
    "body-timeout": Kind(
        408, "Request Timeout", "The request came in too slowly, or not as a whole."
    ),
    "too-large": Kind(
        413, "Request too large", "The request holds more bytes, files or fields than are taken."
    ),
    "too-long": Kind(413, "Recording too long", "The recording lasts longer than is taken."),
    "media-type": Kind(
        415,
        "Unsupported media type",
        "Send multipart/form-data, any audio or video type, or application/octet-stream.",
    ),
    "not-audio": Kind(
        415,
        "Not audio that can be read",
        f"{READABLE} are read, told by their content.",
    ),
    "empty": Kind(422, "Empty recording", "The file holds no sound."),
    "too-short": Kind(422, "Recording too short", "There is too little to judge."),
    "too-many-channels": Kind(422, "Too many channels", "Send fewer channels, or mix them."),
    "sampling-rate": Kind(422, "Unsupported sampling rate", "Send a usual sampling rate."),
    "not-finite": Kind(422, "Samples are not finite", "The samples hold NaN or infinity."),
    "profile": Kind(
        422,
        "Profile that cannot be used",
        "The token is damaged or of another model, or the model knows no profiles.",
    ),
    "silent": Kind(422, "Silent recording", "There is nothing to hear in the recording."),
    "rate-limited": Kind(
        429, "Too many requests", "This client asks too often; Retry-After says when to go on."
    ),
    "internal": Kind(
        500, "Internal error", "The service is at fault; the request id finds it in the log."
    ),
    "overloaded": Kind(
        503,
        "Overloaded",
        "The service is full for a moment: see Retry-After.",
    ),
    "deadline": Kind(503, "Took too long", "The recording was not judged in the time there is."),
    "not-ready": Kind(503, "Not ready", "The model has not answered its warm-up clip yet."),
}


@dataclass(eq=False)
class Problem(Exception):  # noqa: N818 (RFC 9457's word)
    """An error with its answer: a name out of `KINDS`, and what is wrong with this request."""

    name: str
    detail: str
    members: dict[str, Any] = field(default_factory=dict)
    """Further members of the answer, such as the parameter at fault."""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return KINDS[self.name].status

    def to_dict(self, identity: str | None = None) -> dict[str, Any]:
        """The answer's members, in the order of RFC 9457; None: the id of the request at hand."""
        kind = KINDS[self.name]
        return {
            "type": f"/problems/{self.name}",
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "request_id": identity or request_id(),
            **self.members,
        }


def of_audio(error: AudioError) -> Problem:
    """The problem that a recording has: each `AudioError.code` is the name of a kind."""
    return Problem(error.code, str(error))


def about_blank(status: HTTPStatus, detail: str | None, identity: str) -> dict[str, Any]:
    """The members of an error that has no kind here: its status says all there is."""
    return {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail or status.description or status.phrase,
        "request_id": identity,
    }


def of_profile(error: ProfileError) -> Problem:
    """The problem that a profile has; it never repeats the token."""
    return Problem("profile", str(error))


def of_spans(error: SpanError) -> Problem:
    """The problem that marked parts have."""
    return Problem("bad-parameter", str(error), {"parameter": "segments"})


def request_id() -> str:
    """The id of the request at hand: the client's if it is sane, else one made here."""
    if "request_id" not in g:
        sent = request.headers.get(REQUEST_ID, "")
        g.request_id = sent if SANE_ID.fullmatch(sent) else uuid.uuid4().hex
    identity: str = g.request_id
    return identity


def init_app(app: Flask) -> None:
    """Answer every error of the app as a problem, and every request with its id."""
    app.register_blueprint(blueprint)
    app.register_error_handler(Problem, answer_problem)
    app.register_error_handler(ProfileError, lambda error: answer_problem(of_profile(error)))
    app.register_error_handler(SpanError, lambda error: answer_problem(of_spans(error)))
    app.register_error_handler(AudioError, lambda error: answer_problem(of_audio(error)))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    app.after_request(_name_request)


@blueprint.get("/problems/<name>")
def describe(name: str) -> Response:
    """What a problem's `type` leads to."""
    if name not in KINDS:
        raise NotFound
    kind = KINDS[name]
    return jsonify(
        type=f"/problems/{name}", title=kind.title, status=kind.status, meaning=kind.meaning
    )


def _name_request(response: Response) -> Response:
    response.headers[REQUEST_ID] = request_id()
    return response


def answer_problem(problem: Problem) -> Response:
    """The answer that says what is wrong."""
    g.problem = problem.name  # for the metrics
    return _answer(problem.to_dict(), problem.headers)


def _http_error(error: HTTPException) -> Response:
    """Flask's and Werkzeug's own errors; those without a kind here have the type about:blank."""
    status = error.code or 500
    if isinstance(error, NotFound):
        return answer_problem(Problem("not-found", f"Nothing is at {request.path}."))
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        detail = f"{request.path} takes {allowed}, not {request.method}."
        return answer_problem(Problem("method-not-allowed", detail, headers={"Allow": allowed}))
    return _answer(about_blank(HTTPStatus(status), error.description, request_id()), {})


def _unexpected(error: Exception) -> Response:
    log.error("request %s failed", request_id(), exc_info=error)
    return answer_problem(Problem("internal", "The service failed; its log has the request id."))


def _answer(members: dict[str, Any], headers: dict[str, str]) -> Response:
    response = jsonify(members)
    response.status_code = members["status"]
    response.mimetype = "application/problem+json"
    response.headers.update(headers)
    return response
