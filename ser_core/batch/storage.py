"""Local files, and what pyarrow's file systems or fsspec open, behind one face."""

import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

import fsspec
import fsspec.core
import pyarrow
from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow import fs

from ser_core.audio import Source
from ser_core.batch import BatchError

WHOLE = 16_000_000
"""Bytes up to which a remote recording is read at once; longer ones are read as they are heard."""

BLOCK = 1_000_000
"""Bytes that are then asked for at once."""

TIMEOUT = 60.0
"""Seconds that one request to S3 may take, of which each is tried some times."""

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

_LIKE_A_BYTE = re.compile(r"\\(?=x[0-9a-f]{2})")

_ROOT_IS_BUCKET = {"s3", "gs", "gcs"}


def is_uri(location: str) -> bool:
    """Whether it is `scheme://...` and not a path on this machine."""
    return _URI.match(location) is not None


def local(location: str) -> str:
    """A location as a path where it is one of this machine: `file://` is only spelling."""
    if not location.lower().startswith("file://"):
        return location
    return unquote("/" + location[len("file://") :].partition("/")[2])


def reason(error: Exception) -> str:
    """What an error of a storage says, on one line."""
    said = getattr(error, "strerror", None) or error
    return " ".join(str(said).split()) or type(error).__name__


def printable(name: str) -> str:
    """A file's name as tables and terminals can hold it: bytes that are no UTF-8 become `\\xNN`.

    So does the backslash of a name that says such a thing itself: no two names become one.
    """
    name = _LIKE_A_BYTE.sub(r"\\x5c", name)
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def split(uri: str) -> tuple[str, str]:
    """`scheme://host` and what comes after it."""
    matched = _URI.match(uri)
    assert matched is not None  # noqa: S101 (`is_uri` was asked)
    host, _, path = uri[matched.end() :].partition("/")
    return f"{matched[1].lower()}://{host}", path


@dataclass
class Stores:
    """Connections to buckets; pickled, they go to where the work is done."""

    connected: dict[str, fs.FileSystem] = field(default_factory=dict)
    """Those of pyarrow: fsspec keeps its own, one a thread where threads cannot share it."""

    def open(self, uri: str, *, alone: bool = False) -> tuple[fs.FileSystem, str]:
        """The file system of a URI, and the path in it.

        Keys are taken as they are: nothing in them is decoded. `alone` asks for a connection of
        its own, where threads cannot share one.

        Raises:
            BatchError: the scheme is unknown, needs a package that is not installed or more than
                a URI tells, or nobody answers.
        """
        root, path = split(uri)
        scheme, _, bucket = root.partition("://")
        try:
            if scheme not in _ROOT_IS_BUCKET:
                # It has what the URI says of host, port and user, and is to have nothing of a file.
                other, _ = fsspec.core.url_to_fs(root, skip_instance_cache=alone)
                return fs.PyFileSystem(fs.FSSpecHandler(other)), str(other._strip_protocol(uri))
            if root not in self.connected:
                self.connected[root] = _s3(bucket) if scheme == "s3" else fs.GcsFileSystem()
        except Exception as e:  # of fsspec's, each raises what the library below it does
            raise BatchError(f"{root}: {reason(e)}") from e
        return self.connected[root], f"{bucket}/{path}".rstrip("/")

    def source(self, location: str) -> Source:
        """What can be judged: a path, the bytes of a short file, or a long one as an open file.

        Raises:
            OSError: there is no such file, or the storage cannot be reached; or whatever else the
                library that opens it raises.
        """
        if not is_uri(location):
            return location
        filesystem, path = self.open(location)
        with filesystem.open_input_file(path) as file:
            if file.size() <= WHOLE:
                return bytes(file.read())
        # It is heard while this thread reads the next, and over FTP one can only follow the other.
        filesystem, path = self.open(location, alone=True)
        return io.BufferedReader(_Raw(filesystem.open_input_file(path)), BLOCK)

    def globber(self, uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
        """The same as `open`, as an fsspec file system: those know patterns."""
        filesystem, path = self.open(uri)
        if isinstance(filesystem, fs.PyFileSystem):
            return filesystem.handler.fs, path
        return ArrowFSWrapper(filesystem), path


class _Raw(io.RawIOBase):
    """pyarrow's file, which is none of io's."""

    def __init__(self, file: pyarrow.NativeFile) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        return int(self._file.readinto(buffer))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()
        super().close()


@dataclass(frozen=True)
class Place:
    """Where something is written: a path on a file system, the local one included."""

    filesystem: fs.FileSystem
    path: str
    name: str
    """As the user says it."""

    @classmethod
    def of(cls, location: str, stores: Stores) -> "Place":
        if is_uri(local(location)):
            filesystem, path = stores.open(location)
            return cls(filesystem, path, location)
        return cls(fs.LocalFileSystem(), str(Path(local(location)).absolute()), location)

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def sibling(self, suffix: str) -> "Place":
        return Place(self.filesystem, self.path + suffix, self.name + suffix)

    def child(self, name: str) -> "Place":
        return self.sibling(f"/{name}")

    def is_same(self, other: "Place") -> bool:
        """Whether both are one file, which exists, on this machine by whatever path."""
        if self.is_local and other.is_local:
            there = Path(self.path).exists() and Path(other.path).exists()
            return there and Path(self.path).samefile(other.path)
        return self.path == other.path and self.filesystem == other.filesystem and self.exists()

    def exists(self) -> bool:
        return bool(self.filesystem.get_file_info(self.path).type != fs.FileType.NotFound)

    def is_folder(self) -> bool:
        return bool(self.filesystem.get_file_info(self.path).type == fs.FileType.Directory)

    def children(self) -> list[str]:
        """Names of what the folder holds, in order; none where there is no folder."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(each.base_name for each in found)

    def make_folder(self) -> None:
        self.filesystem.create_dir(self.path, recursive=not self.is_local)

    def remove_folder(self) -> None:
        if self.exists():
            self.filesystem.delete_dir(self.path)

    def read(self) -> BinaryIO:
        file: BinaryIO = self.filesystem.open_input_file(self.path)
        return file

    def write(self) -> BinaryIO:
        file: BinaryIO = self.filesystem.open_output_stream(self.path)
        return file

    def move_to(self, place: "Place") -> None:
        """To its name at once, whole: on the local disk it is there to stay before it is named."""
        if self.is_local:
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self.filesystem.move(self.path, place.path)


def _s3(bucket: str, environment: Mapping[str, str] = os.environ) -> fs.S3FileSystem:
    """By the variables that Amazon's own tools know; pyarrow knows all but the endpoint's."""
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if not endpoint and not region:
        region = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        endpoint_override=endpoint, region=region, request_timeout=TIMEOUT, connect_timeout=TIMEOUT
    )
