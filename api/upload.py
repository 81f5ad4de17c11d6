"""Audio out of a request's body, in bounded memory and never in a file."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import IO, Any, BinaryIO, cast

import flask
from flask import Flask, current_app, request
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from api.overload import REFUSAL, check_deadline
from api.problems import Problem

FIELD = "file"
REFERENCE = "reference"
"""Field of other recordings of the same speaker."""
PARAMETERS = ("model", "timeline", "top", "channels", "segments", "profile", "explain", "adapt")
"""Fields of text, and the names of a query."""
FORM_ALLOWANCE = 1_500_000
"""Bytes that a form's own text may take beside the audio: as many parts of a recording as there may
be, with the longest names, in JSON that escapes each character."""
FORM_FIELDS = 16
"""Fields that a form may have beside the files."""

_AS_TEXT = "The field {!r} came as text: send it as a file, with a file name."
_BLOCK = 64 * 1024
_FORM_BLOCK = 1024 * 1024
_RAW_TYPES = (
    *("audio/", "video/", "application/ogg"),
    *("application/octet-stream", "binary/octet-stream"),
)
"""How the types of recordings begin: MP4 and WebM are called videos, whatever they hold."""


@dataclass(frozen=True)
class Upload:
    """One recording of a request."""

    file: BinaryIO
    filename: str | None
    """As the client called it; None where the body itself is the recording."""


class _Budget:
    """Bytes of audio, or of text, that a request may still send."""

    def __init__(self, left: int, what: str) -> None:
        self._left, self._what = left, what

    def take(self, count: int) -> None:
        """Raises `Problem` once there is nothing left to take."""
        self._left -= count
        if self._left < 0:
            raise too_large(self._what)


class _Sink(BytesIO):
    """A file's bytes, within the budget of its request."""

    def __init__(self, budget: _Budget) -> None:
        super().__init__()
        self._budget = budget

    def write(self, data: Any, /) -> int:
        self._budget.take(len(data))
        return super().write(data)

    def read(self, size: int | None = -1, /) -> bytes:
        # Decoders read as they go along, so this is between two blocks of any of them.
        check_deadline()
        return super().read(size)


class _Input:
    """The server's input stream, whose failures are the client's doing, not the service's.

    Servers raise errors of their own on a broken chunk or a connection that closed.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except Exception as e:
            raise Problem("malformed-body", "The body could not be read to its end.") from e


class _Forms(FormDataParser):
    """Forms with files by a parser that has nothing to prepare.

    Werkzeug's own compiles two regular expressions for each request, as each boundary is a new one;
    measured, that took as long as decoding a recording of three seconds.
    """

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> Any:
        """The stream, the fields and the files.

        Raises:
            ValueError: it is not such a form.
            Problem: it has too many parts, or too much text.
        """
        if mimetype != "multipart/form-data":
            return super().parse(stream, mimetype, content_length, options)
        try:
            block = min(_FORM_BLOCK, content_length or _FORM_BLOCK)
            fields, files = self._parts(stream, (options or {}).get("boundary", ""), block)
        except ParserLimitReached as e:
            raise too_large("parts" if "segment count" in e.args[0] else "headers") from e
        except MultipartError as e:
            # What else an error holds quotes what was sent.
            coding = ": it is not UTF-8" if isinstance(e.__context__, UnicodeDecodeError) else ""
            raise ValueError(f"{e.args[0]}{coding}") from e
        return stream, fields, files

    def _parts(
        self, stream: IO[bytes], boundary: str, block: int
    ) -> "tuple[MultiDict[str, str], MultiDict[str, FileStorage]]":
        fields: MultiDict[str, str] = MultiDict()
        files: MultiDict[str, FileStorage] = MultiDict()
        parser = PushMultipartParser(boundary, max_segment_count=self.max_form_parts)
        text, start = _Budget(self.max_form_memory_size or 0, "text"), f"--{boundary}".encode()
        name, filename = "", None
        content: IO[bytes] = BytesIO()
        for event in parser.parse_blocking(stream.read, block):
            if isinstance(event, MultipartSegment):
                name, filename = event.name or "", _filename(event)
                if name in PARAMETERS:
                    filename = None  # its text, as `curl -F segments=@parts.json` sends it
                file = filename is not None
                content = self.stream_factory(None, None, filename) if file else BytesIO()
            elif event is not None:
                if not content.tell() and event.startswith(start):
                    # Werkzeug's test client leaves it out before nothing; the next part would be
                    # taken for this one's content.
                    raise ValueError(f"The part {name[:40]!r} has no empty line after its headers")
                if filename is None:
                    text.take(len(event))
                content.write(event)
            elif filename is None:
                content.seek(0)
                fields.add(name, content.read().decode("utf-8", "replace"))
            else:
                content.seek(0)
                files.add(name, FileStorage(content, filename, name))
        return fields, files


def _filename(part: MultipartSegment) -> str | None:
    """As the client called it; older ones write names that are not ASCII by RFC 2231."""
    if part.filename is not None:
        return str(part.filename)
    return parse_options_header(part.header("Content-Disposition"))[1].get("filename")


class AudioRequest(flask.Request):
    """A request whose files stay in memory: Werkzeug's own go to disk above 500 kB."""

    form_data_parser_class = _Forms

    def __init__(self, environ: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        environ["wsgi.input"] = _Input(environ["wsgi.input"])
        super().__init__(environ, *args, **kwargs)

    @cached_property
    def _budget(self) -> _Budget:
        return _Budget(current_app.config["MAX_AUDIO_BYTES"], "audio")

    def new_file(self) -> BytesIO:
        """An empty file in memory; all of a request's together hold `SER_MAX_BYTES` at most."""
        return _Sink(self._budget)

    def make_form_data_parser(self) -> FormDataParser:
        parser = super().make_form_data_parser()
        parser.silent = False  # a form that cannot be parsed is an error, not an empty form
        return parser

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return self.new_file()


def init_app(app: Flask, max_bytes: int, max_files: int) -> None:
    """Bound what a request may send."""
    app.request_class = AudioRequest
    app.config["MAX_AUDIO_BYTES"] = max_bytes
    app.config["MAX_AUDIO_FILES"] = max_files
    app.config["MAX_CONTENT_LENGTH"] = max_bytes + FORM_ALLOWANCE
    app.config["MAX_FORM_MEMORY_SIZE"] = FORM_ALLOWANCE
    app.config["MAX_FORM_PARTS"] = max_files + FORM_FIELDS
    app.before_request(_refuse_too_large)


def _refuse_too_large() -> None:
    if REFUSAL.get() == "too-large":
        raise too_large()


def uploads() -> list[Upload]:
    """The recordings of the request at hand, at least one.

    Raises:
        Problem: there is none, or too much of it.
    """
    if (coding := request.headers.get("Content-Encoding", "identity").lower()) != "identity":
        detail = f"The body is compressed ({coding[:40]}), which is not undone: send it as it is."
        raise Problem("media-type", detail)
    try:
        if request.mimetype == "multipart/form-data":
            return _from_form()
        return [Upload(_from_body(), None)]
    except RequestEntityTooLarge as e:
        raise too_large() from e


def references() -> list[Upload]:
    """The recordings that say what is normal for the speaker; call `uploads` before."""
    if request.mimetype != "multipart/form-data":
        return []
    return _files(REFERENCE)


def too_large(what: str = "audio") -> Problem:
    """The refusal of a request that sends too much audio, text, parts or headers of them."""
    config = current_app.config
    taken = {
        "audio": f"A request may hold {config['MAX_AUDIO_BYTES'] / 1e6:g} MB of audio in"
        f" {config['MAX_AUDIO_FILES']} files.",
        "text": f"The text of a form may hold {FORM_ALLOWANCE / 1e6:g} MB.",
        "parts": f"A form may have {config['MAX_FORM_PARTS']} parts, files among them.",
        "headers": "A part of a form may have 8 headers of 4 kB, its file's name included.",
    }
    return Problem(
        "too-large",
        taken[what],
        {"max_bytes": config["MAX_AUDIO_BYTES"], "max_files": config["MAX_AUDIO_FILES"]},
    )


def _from_form() -> list[Upload]:
    try:
        files, fields = request.files, request.form
    except ValueError as e:
        raise Problem("malformed-body", f"The form cannot be parsed: {e}.") from e
    found = _files(FIELD)
    if not found:
        raise Problem("no-audio", _what_came(list(files), list(fields)))
    _refuse_strange([*fields, *files])
    for name in (FIELD, REFERENCE):
        if name in fields:
            raise Problem("bad-parameter", _AS_TEXT.format(name), {"parameter": name})
    if len(found) + len(_files(REFERENCE)) > current_app.config["MAX_AUDIO_FILES"]:
        raise too_large()
    return found


def _refuse_strange(names: list[str]) -> None:
    """What would be left out in silence is a mistake of who sent it."""
    known = (FIELD, REFERENCE, *PARAMETERS)
    for name in names:
        if name not in known:
            detail = f"There is no field {name[:80]!r}, only {', '.join(known)}."
            raise Problem("bad-parameter", detail, {"parameter": name[:80]})


def _files(field: str) -> list[Upload]:
    found = []
    for each in request.files.getlist(field):
        if each.filename:
            found.append(Upload(each.stream, each.filename))  # type: ignore[arg-type]
        elif each.stream.read(1):
            # A browser sends a nameless file where none was chosen, but that one is empty.
            detail = f"A file in the field {field!r} has no name: send one with it."
            raise Problem("bad-parameter", detail, {"parameter": field})
    return found


def _what_came(files: list[str], fields: list[str]) -> str:
    if FIELD in fields:
        return _AS_TEXT.format(FIELD)
    if FIELD in files:
        return f"The field {FIELD!r} names no file: was one chosen?"
    names = ", ".join(repr(name[:40]) for name in (*files, *fields)[:5])
    came = f"only {names}" if names else "no field at all"
    return f"The form needs a file in the field {FIELD!r}, and has {came}."


def _from_body() -> BinaryIO:
    kind = request.mimetype
    body = cast(AudioRequest, request).new_file()
    if request.content_length != 0:
        if kind and not kind.startswith(_RAW_TYPES):
            raise Problem(
                "media-type",
                f"The body is {kind[:80]}: send multipart/form-data with a field {FIELD!r},"
                " or the recording itself as audio/*, video/* or application/octet-stream.",
            )
        for block in _blocks():
            body.write(block)
    if not body.tell():
        raise Problem("no-audio", f"The body is empty: send a recording, or a form with {FIELD!r}.")
    if body.tell() < (request.content_length or 0):
        raise Problem("malformed-body", "The body is shorter than its Content-Length says.")
    body.seek(0)
    return body


def _blocks() -> Iterator[bytes]:
    if (request.content_length or 0) > current_app.config["MAX_AUDIO_BYTES"]:
        raise too_large()
    while block := request.stream.read(_BLOCK):
        yield block
