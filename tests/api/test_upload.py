import gc
import tempfile
import weakref
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api import Settings, create_app
from api.models import Models
from api.upload import AudioRequest
from tests.api.fakes import recognizer
from tests.api.live import Server, form, padded, serve
from tests.sounds import encode, noise, voice

LIMIT = 100_000
FIVE_MEGABYTES = encode(noise(160.0))


@pytest.fixture
def small_client() -> FlaskClient:
    app = create_app(Settings(max_bytes=LIMIT, max_files=3), Models([recognizer()]))
    return app.test_client()


def wav_of(size: int) -> bytes:
    """A WAV of so many bytes."""
    return encode(voice((size - 44) / 2 / 16_000))


def as_form(content: bytes) -> dict[str, object]:
    body, content_type = form(("file", "clip.wav", content))
    return {"data": body, "content_type": content_type}


def as_body(content: bytes) -> dict[str, object]:
    return {"data": content, "content_type": "audio/wav"}


Send = Callable[[bytes], dict[str, object]]


@pytest.mark.parametrize("send", [as_form, as_body])
def test_a_large_upload_needs_no_temp_folder(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, send: Send
) -> None:
    request = send(FIVE_MEGABYTES)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not-there"))
    with pytest.raises(FileNotFoundError):
        tempfile.mkstemp()
    answer = client.post("/predict", **request)  # type: ignore[arg-type]
    assert answer.status_code == 200
    assert answer.get_json()["duration"] == 160.0


def test_the_live_service_needs_no_temp_folder(tmp_path: Path) -> None:
    # Python looks for another temporary folder where TMPDIR cannot be used: so pin it.
    (tmp_path / "sitecustomize.py").write_text("import tempfile; tempfile.tempdir = '/not/there'\n")
    with serve(tmp_path, PYTHONPATH=str(tmp_path)) as server:
        answer = server.post("/predict", *form(("file", "clip.wav", FIVE_MEGABYTES)))
        assert answer.status == 200
        assert answer.json["duration"] == 160.0


@pytest.mark.parametrize("send", [as_form, as_body])
@pytest.mark.parametrize(("size", "status"), [(LIMIT, 200), (LIMIT + 2, 413)])
def test_the_limit_is_one_of_audio_not_of_the_form_around_it(
    small_client: FlaskClient, send: Send, size: int, status: int
) -> None:
    answer = small_client.post("/predict", **send(wav_of(size)))  # type: ignore[arg-type]
    assert answer.status_code == status
    if status == 413:
        assert answer.get_json()["type"] == "/problems/too-large"
        assert answer.get_json()["max_bytes"] == LIMIT


def test_the_limit_holds_for_all_files_together(small_client: FlaskClient) -> None:
    half = wav_of(LIMIT // 2)
    two = [(BytesIO(half), "a.wav"), (BytesIO(half), "b.wav")]
    assert small_client.post("/predict", data={"file": two}).status_code == 200
    two = [(BytesIO(half), "a.wav"), (BytesIO(half + b"xx"), "b.wav")]
    assert small_client.post("/predict", data={"file": two}).status_code == 413


def test_the_limit_counts_files_in_other_fields_too(small_client: FlaskClient) -> None:
    data = {"file": (BytesIO(wav_of(LIMIT)), "a.wav"), "other": (BytesIO(b"xx"), "b.wav")}
    assert small_client.post("/predict", data=data).status_code == 413


def test_files_beyond_the_limit_are_refused(small_client: FlaskClient) -> None:
    for count, status in ((3, 200), (4, 413)):
        files = [(BytesIO(wav_of(20_000)), "a.wav") for _ in range(count)]
        assert small_client.post("/predict", data={"file": files}).status_code == status


@pytest.mark.parametrize(
    ("parts", "detail"),
    [
        ([("file", "a.wav", bytes(LIMIT + 1))], "A request may hold 0.1 MB of audio in 3 files."),
        ([("file", "a.wav", b"x")] * 4, "A request may hold 0.1 MB of audio in 3 files."),
        ([("file", "a.wav", b"x")] * 20, "A form may have 19 parts, files among them."),
        ([("model", "a.wav", bytes(1_500_001))], "The text of a form may hold 1.5 MB."),
        ([("file", "a" * 5_000, b"x")], "A part of a form may have 8 headers of 4 kB"),
    ],
    ids=["bytes", "files", "parts", "text", "headers"],
)
def test_what_there_is_too_much_of_is_said(
    small_client: FlaskClient, parts: list[tuple[str, str, bytes]], detail: str
) -> None:
    body, content_type = form(*parts)
    answer = small_client.post("/predict", data=body, content_type=content_type)
    assert (answer.status_code, answer.get_json()["type"]) == (413, "/problems/too-large")
    assert answer.get_json()["detail"].startswith(detail)


@pytest.mark.parametrize("send", [as_form, as_body])
def test_a_compressed_body_is_refused_as_such(client: FlaskClient, send: Send) -> None:
    wav = wav_of(LIMIT)
    for coding, status in (("gzip", 415), ("identity", 200)):
        answer = client.post("/predict", **send(wav), headers={"Content-Encoding": coding})  # type: ignore[arg-type]
        assert answer.status_code == status
        assert ("compressed (gzip)" in answer.get_data(as_text=True)) == (status == 415)


@pytest.mark.parametrize(("size", "status"), [(25_000_000, 200), (25_000_002, 413)])
def test_25_megabytes_are_taken_and_not_more(live: Server, size: int, status: int) -> None:
    wav = padded(encode(voice(1.0)), size)
    answer = live.post("/predict", *form(("file", "clip.wav", wav)))
    assert answer.status == status
    assert live.post("/predict", wav, "audio/wav").status == status


@pytest.mark.parametrize("send", [as_form, as_body])
def test_an_upload_is_freed_with_its_answer_without_the_garbage_collector(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, send: Send
) -> None:
    made: list[weakref.ref[BytesIO]] = []
    new_file = AudioRequest.new_file

    def watched(request: AudioRequest) -> BytesIO:
        file = new_file(request)
        made.append(weakref.ref(file))
        return file

    monkeypatch.setattr(AudioRequest, "new_file", watched)
    gc.disable()
    try:
        answer = client.post("/predict", **send(wav_of(LIMIT)))  # type: ignore[arg-type]
        assert answer.status_code == 200
        assert [file() for file in made] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ('name="file"; filename="a b.wav"', "a b.wav"),
        ("name=file; filename=clip.wav; filename*=utf-8''clip.wav", "clip.wav"),
        ("name=\"file\"; filename*=UTF-8''%e4%bd%a0.wav", "\u4f60.wav"),
        ('name="file"; filename="\u4f60 %22so%22.wav"', '\u4f60 "so".wav'),
    ],
)
def test_file_names_are_read_as_clients_write_them(
    client: FlaskClient, disposition: str, filename: str
) -> None:
    head = f"--x\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()
    body = head + encode(voice(0.5)) + b"\r\n--x--\r\n"
    answer = client.post("/predict", data=body, content_type='multipart/form-data; boundary="x"')
    assert (answer.status_code, answer.get_json()["filename"]) == (200, filename)


WAV = encode(voice(0.5))


@pytest.mark.parametrize(
    ("files", "fields", "parameter"),
    [
        ([], {"tmeline": "true"}, "tmeline"),
        ([("refrence", "a.wav", WAV)], {}, "refrence"),
        ([], {"reference": "hello"}, "reference"),
        ([], {"file": "hello"}, "file"),
        ([("file", "", WAV)], {}, "file"),
        ([("reference", "", WAV)], {}, "reference"),
        ([("top", "top.txt", b"all")], {}, "top"),
    ],
)
def test_a_part_that_would_be_left_out_is_refused(
    client: FlaskClient,
    files: list[tuple[str, str, bytes]],
    fields: dict[str, str],
    parameter: str,
) -> None:
    body, content_type = form(("file", "a.wav", WAV), *files, **fields)
    answer = client.post("/predict", data=body, content_type=content_type)
    assert (answer.status_code, answer.get_json()["type"]) == (400, "/problems/bad-parameter")
    assert answer.get_json()["parameter"] == parameter
    assert parameter in answer.get_json()["detail"]


def test_a_parameter_may_come_as_a_file_and_a_browser_s_empty_file_is_none(
    client: FlaskClient,
) -> None:
    files = [("file", "a.wav", WAV), ("file", "", b""), ("reference", "", b"")]
    body, content_type = form(*files, ("top", "top.txt", b"2"))
    answer = client.post("/predict", data=body, content_type=content_type)
    assert len(answer.get_json()["probabilities"]) == 2


def test_a_form_in_another_coding_is_refused_in_words(client: FlaskClient) -> None:
    head = 'Content-Disposition: form-data; name="file"; filename="\xe9.wav"'.encode("latin-1")
    body = b"--x\r\n" + head + b"\r\n\r\n" + WAV + b"\r\n--x--\r\n"
    answer = client.post("/predict", data=body, content_type="multipart/form-data; boundary=x")
    detail = "The form cannot be parsed: Segment header failed to decode: it is not UTF-8."
    assert (answer.status_code, answer.get_json()["detail"]) == (400, detail)


@pytest.mark.parametrize(
    "body",
    [
        b"--x\nContent-Disposition: form-data; name=a\n\nb\n--x--\n",
        b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb",
        b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n--x\r\n\r\n--x--\r\n",
        b"--x\r\nno header\r\n\r\nb\r\n--x--\r\n",
        b"--x\r\nContent-Type: audio/wav\r\n\r\nb\r\n--x--\r\n",
        b"nothing at all",
    ],
    ids=["line feeds alone", "cut off", "no empty line", "no header", "no name", "no boundary"],
)
def test_what_is_no_form_is_refused_as_malformed(client: FlaskClient, body: bytes) -> None:
    answer = client.post("/predict", data=body, content_type="multipart/form-data; boundary=x")
    assert (answer.status_code, answer.get_json()["type"]) == (400, "/problems/malformed-body")
    assert answer.get_json()["detail"].startswith("The form cannot be parsed: ")
