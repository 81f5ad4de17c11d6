"""Whatever is sent: a clear refusal, never a 5xx, and nothing left behind."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.api.live import Server, form
from tests.sounds import (
    encode,
    encode_blocks,
    flac_of_unknown_length,
    silence,
    tone,
    voice,
    wav_with_data_size,
)

RATE = 16_000
Body = tuple[bytes, str]


@pytest.fixture(autouse=True)
def nothing_left_behind(live: Server, temp_folder: Path) -> Iterator[None]:
    workers, files = _state(live)
    yield
    assert list(temp_folder.iterdir()) == []
    assert _state(live) == (workers, files)
    assert live.post("/predict", encode(voice(1.0)), "audio/wav").status == 200


def _state(live: Server) -> tuple[set[int], set[str]]:
    workers = live.workers
    return {each.pid for each in workers}, {
        file.path for each in workers for file in each.open_files()
    }


def file(content: bytes, filename: str = "clip.wav") -> Body:
    return form(("file", filename, content))


def cut(body: bytes, content_type: str) -> Body:
    return body[: len(body) // 2], content_type


def channels(count: int) -> bytes:
    return encode(np.tile(voice(0.5)[:, None], (1, count)))


@cache
def hour_of_silence() -> bytes:
    flac = encode_blocks((silence(60.0) for _ in range(60)), "flac")
    assert len(flac) < 1_000_000
    return flac


@cache
def twenty_minutes() -> bytes:
    return encode_blocks((tone(60.0, sampling_rate=8_000) for _ in range(20)), "wav8", 8_000)


def with_nan() -> bytes:
    signal = voice(1.0)
    signal[5_000] = np.nan
    return encode(signal, "wav-float")


BAD: dict[str, tuple[Callable[[], Body], int, str]] = {
    "form without a file": (lambda: form(note="hello"), 400, "no-audio"),
    "file in another field": (
        lambda: form(("audio", "clip.wav", encode(voice(1.0)))),
        400,
        "no-audio",
    ),
    "file field as text": (lambda: form(file="RIFF"), 400, "no-audio"),
    "no file chosen": (lambda: form(("file", "", b"")), 400, "no-audio"),
    "form without boundary": (lambda: (b"--x\r\n", "multipart/form-data"), 400, "malformed-body"),
    "form cut off": (
        lambda: cut(*file(encode(voice(1.0)))),
        400,
        "malformed-body",
    ),
    "empty body": (lambda: (b"", "audio/wav"), 400, "no-audio"),
    "JSON": (lambda: (b'{"file": "clip.wav"}', "application/json"), 415, "media-type"),
    "curl's default type": (
        lambda: (encode(voice(1.0)), "application/x-www-form-urlencoded"),
        415,
        "media-type",
    ),
    "text named .wav": (lambda: file(b"This is no sound at all. " * 50), 415, "not-audio"),
    "text as audio/wav": (lambda: (b"This is no sound.", "audio/wav"), 415, "not-audio"),
    "random bytes": (lambda: file(np.random.default_rng(0).bytes(50_000)), 415, "not-audio"),
    "zip": (lambda: file(b"PK\x03\x04" + bytes(500), "clip.flac"), 415, "not-audio"),
    "WAV cut in its header": (lambda: file(encode(voice(1.0))[:30]), 415, "not-audio"),
    "FLAC cut in its header": (lambda: file(encode(voice(1.0), "flac")[:30]), 415, "not-audio"),
    "MP3 cut in its first frame": (lambda: file(encode(voice(1.0), "mp3")[:30]), 415, "not-audio"),
    "empty file": (lambda: file(b""), 422, "empty"),
    "WAV without samples": (lambda: file(encode(silence(0.0))), 422, "empty"),
    "NaN": (lambda: file(with_nan()), 422, "not-finite"),
    "silence": (lambda: file(encode(silence(2.0))), 422, "silent"),
    "0.05 s": (lambda: file(encode(voice(0.05))), 422, "too-short"),
    "9 channels": (lambda: file(channels(9)), 422, "too-many-channels"),
    "384 kHz": (
        lambda: file(encode(tone(0.5, sampling_rate=384_000), sampling_rate=384_000)),
        422,
        "sampling-rate",
    ),
    "20 minutes": (lambda: file(twenty_minutes()), 413, "too-long"),
    "an hour in a small FLAC": (lambda: file(hour_of_silence()), 413, "too-long"),
    "the hour, its length unsaid": (
        lambda: file(flac_of_unknown_length(hour_of_silence())),
        413,
        "too-long",
    ),
    "26 MB": (lambda: file(bytes(26_000_000)), 413, "too-large"),
    "60 MB as the body": (lambda: (bytes(60_000_000), "audio/wav"), 413, "too-large"),
    "17 files": (
        lambda: form(*[("file", "clip.wav", encode(tone(0.2)))] * 17),
        413,
        "too-large",
    ),
    "1,000 fields": (
        lambda: form(**{f"field{i}": "x" for i in range(1_000)}),
        413,
        "too-large",
    ),
    "a field of 2 MB": (lambda: form(model="x" * 2_000_000), 413, "too-large"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(live: Server, name: str) -> None:
    make, status, problem = BAD[name]
    answer = live.post("/predict", *make())
    assert (answer.status, answer.json["type"]) == (status, f"/problems/{problem}")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["title"]
    assert answer.json["detail"]
    assert answer.json["request_id"] == answer.headers["X-Request-ID"]


GOOD: dict[str, tuple[Callable[[], bytes], float]] = {
    "8 channels": (lambda: channels(8), 0.5),
    "192 kHz": (lambda: encode(voice(0.5, sampling_rate=192_000), sampling_rate=192_000), 0.5),
    "WAV with 4 GB in its header": (
        lambda: wav_with_data_size(encode(voice(1.0)), 2**32 - 1),
        1.0,
    ),
    "FLAC of unknown length": (lambda: flac_of_unknown_length(encode(voice(1.0), "flac")), 1.0),
}


@pytest.mark.parametrize("name", GOOD)
def test_unusual_but_whole_audio_is_judged(live: Server, name: str) -> None:
    make, duration = GOOD[name]
    answer = live.post("/predict", *file(make()))
    assert answer.status == 200
    assert answer.json["duration"] == pytest.approx(duration, abs=0.001)


@pytest.mark.parametrize("encoding", ["wav16", "flac", "mp3"])
def test_of_a_truncated_recording_what_came_is_judged(live: Server, encoding: str) -> None:
    whole = encode(voice(4.0), encoding)
    answer = live.post("/predict", *file(whole[: len(whole) // 2]))
    assert answer.status == 200
    assert 1.0 < answer.json["duration"] < 3.0


def test_a_body_without_length_is_no_audio(live: Server) -> None:
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\n\r\n"
    answer = live.send(request)
    assert (answer.status, answer.json["type"]) == (400, "/problems/no-audio")


def test_a_body_in_chunks_needs_no_length(live: Server) -> None:
    wav = encode(voice(1.0))
    blocks = (wav[i : i + 1_000] for i in range(0, len(wav), 1_000))
    answer = live.post("/predict", blocks, "audio/wav")
    assert answer.status == 200
    assert answer.json["duration"] == pytest.approx(1.0)


def test_endless_chunks_are_refused(live: Server) -> None:
    blocks = (bytes(100_000) for _ in range(300))
    answer = live.post("/predict", blocks, "audio/wav")
    assert (answer.status, answer.json["type"]) == (413, "/problems/too-large")


@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\nRIFF\r\n0\r\n\r\n", b"4\r\nRIFFxx\r\n0\r\n\r\n", b"ff\r\nRIFF"],
    ids=["no hexadecimal size", "too long for its size", "cut off"],
)
def test_broken_chunks_are_a_malformed_body(live: Server, chunks: bytes) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\n"
    answer = live.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert (answer.status, answer.json["type"]) == (400, "/problems/malformed-body")


def test_a_body_shorter_than_its_length_is_malformed(live: Server) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\n"
    answer = live.send(head + b"Content-Length: 1000\r\n\r\nRIFF")
    assert (answer.status, answer.json["type"]) == (400, "/problems/malformed-body")


def test_a_body_sent_to_a_wrong_place_is_read_so_that_the_answer_arrives(live: Server) -> None:
    wrong_path = live.post("/predicts", bytes(5_000_000), "audio/wav")
    assert (wrong_path.status, wrong_path.json["type"]) == (404, "/problems/not-found")
    wrong_method = live.request("PUT", "/predict", bytes(5_000_000))
    assert (wrong_method.status, wrong_method.json["type"]) == (405, "/problems/method-not-allowed")
