import pytest
from gunicorn.http.errors import LimitRequestHeaders

from api.arrival import MAX_HEAD, Arrival, NotArrivedError

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def with_length(length: int) -> bytes:
    return HEAD + f"Content-Length: {length}\r\n\r\n".encode()


def arrival_of(data: bytes, *, step: int = 0, max_body: int = 1_000_000) -> Arrival:
    arrival = Arrival(max_body)
    for at in range(0, len(data), step or len(data)):
        arrival.feed(data[at : at + (step or len(data))])
    return arrival


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1_000])
@pytest.mark.parametrize(
    "whole",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        with_length(5) + b"hello",
        with_length(0),
        CHUNKED + b"5\r\nhel\r\n\r\n6;note=x\r\n\r\n0\r\n\r\r\n0\r\n\r\n",
        CHUNKED + b"0\r\nTrailer: x\r\n\r\n",
    ],
    ids=["no body", "length", "length 0", "chunks", "trailer"],
)
def test_a_request_is_complete_with_its_last_byte_and_not_before(whole: bytes, step: int) -> None:
    arrival = Arrival(100)
    for at in range(0, len(whole) - 1, step):
        arrival.feed(whole[at : min(at + step, len(whole) - 1)])
        assert not arrival.complete
    arrival.feed(whole[-1:])
    assert arrival.complete
    assert not arrival.too_large
    assert arrival.read(len(whole)) == whole


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_what_is_not_wanted_is_thrown_away_up_to_the_next_request(step: int) -> None:
    head, body, following = with_length(5_000), bytes(5_000), b"GET / HTTP/1.1\r\n\r\n"
    arrival = arrival_of(head + body[:100])
    assert arrival.plain
    arrival.discard()
    rest = body[100:] + following
    for at in range(0, len(rest), step):
        assert arrival.complete == (at >= 4_900)
        arrival.feed(rest[at : at + step])
    assert arrival.complete
    assert arrival.take_buffered() == following


@pytest.mark.parametrize(
    "whole",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        HEAD + b"\r\n",
        with_length(5) + b"hello and more",
        with_length(5).replace(b"1.1", b"1.0"),
        with_length(5).replace(b"Host: x", b"Connection: close"),
        with_length(5).replace(b"Host: x", b"Expect: 100-continue"),
        with_length(5).replace(b"Host: x", b"Content-Length: 5"),
        with_length(5).replace(b"Host: x", b"Content-Length : 7"),
        with_length(5).replace(b"Host: x", b"Transfer-Encoding: gzip"),
        with_length(5).replace(b"Host: x", b"x: y\nTransfer-Encoding: chunked"),
        with_length(5).replace(b"Host: x", b"x: y\r\n folded"),
        CHUNKED + b"0\r\n\r\n",
    ],
)
def test_only_a_request_whose_end_is_beyond_doubt_is_plain(whole: bytes) -> None:
    assert not arrival_of(whole).plain
    assert arrival_of(with_length(5)).plain
    assert arrival_of(with_length(5) + b"hello").plain


def test_a_body_that_nobody_will_read_takes_no_memory() -> None:
    arrival = arrival_of(with_length(1_000) + bytes(600), step=100)
    head = len(with_length(1_000))
    assert (arrival.held, arrival.drop_body(), arrival.held) == (head + 600, 600, head)
    assert arrival.read() == with_length(1_000)


def test_what_follows_a_request_is_left_for_the_next_one() -> None:
    arrival = arrival_of(with_length(2) + b"hiGET / HTTP/1.1\r\n\r\n")
    assert arrival.complete
    assert arrival.read(len(with_length(2)) + 2).endswith(b"hi")
    assert arrival.take_buffered() == b"GET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(("length", "too_large"), [(1_000, False), (1_001, True)])
def test_a_length_beyond_the_limit_is_known_with_the_head(length: int, too_large: bool) -> None:
    arrival = arrival_of(with_length(length), max_body=1_000)
    assert (arrival.complete, arrival.too_large) == (too_large, too_large)


@pytest.mark.parametrize(
    ("length", "too_large"),
    [(b"5", False), (b"5 \t", False), (b"0" * 5_000 + b"5", False), (b"9" * 5_000, True)],
    ids=["plain", "blanks", "zeros", "nines"],
)
def test_a_length_is_understood_however_it_is_written(length: bytes, too_large: bool) -> None:
    arrival = arrival_of(HEAD + b"Content-Length: " + length + b"\r\n\r\nhell")
    assert (arrival.complete, arrival.too_large) == (too_large, too_large)
    arrival.feed(b"o")
    assert arrival.complete


def test_a_request_after_an_empty_line_is_as_heavy_but_not_plain() -> None:
    for before, plain in ((b"", True), (b"\r\n", False)):
        arrival = arrival_of(before + with_length(2) + b"hi")
        assert (arrival.heavy, arrival.plain, arrival.complete) == (True, plain, True)


def test_chunks_beyond_the_limit_are_known_when_they_announce_themselves() -> None:
    arrival = arrival_of(CHUNKED + b"3e8\r\n" + bytes(1_000) + b"\r\n", max_body=1_000)
    assert not arrival.too_large
    arrival.feed(b"1\r\n")
    assert arrival.complete
    assert arrival.too_large


def test_a_body_that_is_mostly_frames_is_too_large() -> None:
    arrival = arrival_of(CHUNKED + b"1\r\nx\r\n" * 60_000)
    assert arrival.too_large


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"-5\r\n", b"\r\n", b"4\r\nRIFFxx\r\nyy\r\n"])
def test_chunks_without_sense_are_waited_for_no_longer(chunk: bytes) -> None:
    assert arrival_of(CHUNKED + chunk).complete


def test_a_head_without_end_is_refused_as_too_long() -> None:
    arrival = arrival_of(b"GET / HTTP/1.1\r\nCookie: " + b"x" * MAX_HEAD)
    assert arrival.complete
    arrival.read()
    with pytest.raises(LimitRequestHeaders):
        arrival.read()


def test_reading_never_waits() -> None:
    arrival = arrival_of(with_length(10) + b"hello")
    head = arrival.read(len(with_length(10)))
    assert head == with_length(10)
    assert arrival.read(3) == b"hel"
    with pytest.raises(NotArrivedError):
        arrival.read(3)


def test_a_client_that_stops_leaves_what_it_sent() -> None:
    arrival = arrival_of(b"hello")
    arrival.end()
    assert arrival.read(3) == b"hel"
    assert arrival.read(3) == b"lo"
    assert arrival.read(3) == arrival.read() == b""


def test_bytes_put_back_are_read_next() -> None:
    arrival = arrival_of(b"hello")
    arrival.unread(arrival.read(2))
    assert arrival.read(5) == b"hello"
