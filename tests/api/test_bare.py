"""What is no HTTP request gets a problem as well, never the server's own page."""

import json
import re
from pathlib import Path

import pytest

from api import bare
from tests.api.live import Server, serve

BAD = {
    "no request line": (b"secret\r\n\r\n", 400, "/problems/malformed-request"),
    "binary": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, None),
    "no such version": (b"GET / HTTP/9.9\r\n\r\n", 400, "/problems/malformed-request"),
    "header without a colon": (b"GET / HTTP/1.1\r\nsecret\r\n\r\n", 400, None),
    "two lengths": (
        b"POST /predict HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        400,
        None,
    ),
    "a length that is no number": (
        b"POST /predict HTTP/1.1\r\nContent-Length: secret\r\n\r\n",
        400,
        None,
    ),
    "length and chunks": (
        b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n",
        400,
        None,
    ),
    "a line too long": (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n\r\n", 414, "about:blank"),
    "a header too long": (
        b"GET / HTTP/1.1\r\nsecret: " + b"a" * 9_000 + b"\r\n\r\n",
        431,
        "about:blank",
    ),
    "101 headers": (
        b"GET / HTTP/1.1\r\n" + b"".join(b"a%d: b\r\n" % i for i in range(101)) + b"\r\n",
        431,
        "about:blank",
    ),
    "an unknown coding": (
        b"POST /predict HTTP/1.1\r\nTransfer-Encoding: secret\r\n\r\n",
        400,
        None,
    ),
    "an unknown coding before chunks": (
        b"POST /predict HTTP/1.1\r\nTransfer-Encoding: secret, chunked\r\n\r\n0\r\n\r\n",
        400,
        None,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_request_is_answered_by_a_problem(live: Server, name: str) -> None:
    data, status, kind = BAD[name]
    answer = live.send(data)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    problem = answer.json
    assert problem["type"] == (kind or "/problems/malformed-request")
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert re.fullmatch("[0-9a-f]{32}", problem["request_id"])
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert b"secret" not in answer.body


def test_the_log_names_the_request_and_the_fault_but_quotes_nothing(live: Server) -> None:
    answer = live.send(b"POST /secret HTTP/secret\r\n\r\n")
    (line,) = [
        each for each in live.log.read_text().splitlines() if answer.json["request_id"] in each
    ]
    logged = json.loads(line)
    assert logged.pop("time")
    assert logged == {
        "method": "POST",
        "route": None,
        "status": 400,
        "seconds": 0,
        "request_id": answer.json["request_id"],
        "fault": "InvalidHTTPVersion",
    }
    assert "secret" not in live.log.read_text()


def test_what_is_no_request_is_answered_as_what_it_says_of_itself(tmp_path: Path) -> None:
    sent = b"X-Request-ID: mine-1\r\nOrigin: https://example.org\r\n"
    with serve(tmp_path, SER_WORKERS="1", SER_CORS_ORIGINS="https://example.org") as server:
        answer = server.send(b"GET / HTTP/1.1\r\n" + sent + b"no colon\r\n\r\n")
        assert answer.status == 400
        assert answer.json["request_id"] == answer.headers["X-Request-ID"] == "mine-1"
        assert answer.headers["Access-Control-Allow-Origin"] == "https://example.org"
        assert server.send(b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n\r\n").status == 414
        counted = server.get("/metrics").body.decode()
        assert 'ser_refusals_total{reason="malformed-request"} 2.0' in counted
        assert 'ser_requests_total{method="other",route="none",status="414"} 1.0' in counted


def test_a_failure_of_our_own_says_nothing_about_itself() -> None:
    problem, clients_fault = bare.of_error(RuntimeError("the secret inside"))
    identity, answer = bare.answer(problem)
    head, body = answer.split(b"\r\n\r\n")
    assert not clients_fault
    assert head.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert identity.encode() in body
    assert b"secret" not in answer
