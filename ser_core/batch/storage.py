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

_ROOT_IS_BUCKET = {"s3", "gs", "gcs"}


def is_uri(location: str) -> bool:
    """Whether it is `scheme://...` and not a path on this machine."""
    return _URI.match(location) is not None


def local(location: str) -> str:
    """A location as a path where it is one of this machine: `file://` is only spelling."""
    if not location.lower().startswith("file://"):
        return location
    return unquote("/" + location[len("file://") :].partition("/")[2])


@dataclass
class Stores:
    """Connections, one for each bucket or host; pickled, they go to where the work is done."""

    connected: dict[str, fs.FileSystem] = field(default_factory=dict)

    def open(self, uri: str) -> tuple[fs.FileSystem, str]:
        """The file system of a URI, and the path in it.

        Keys are taken as they are: nothing in them is decoded.

        Raises:
            BatchError: the scheme is unknown, or needs a package that is not installed.
        """
        scheme, rest = _parts(uri)
        root = f"{scheme}://{rest.partition('/')[0]}"
        if root not in self.connected:
            self.connected[root] = _connect(scheme, root)
        filesystem = self.connected[root]
        if scheme in _ROOT_IS_BUCKET:
            return filesystem, rest.rstrip("/")
        return filesystem, str(_fsspec(filesystem)._strip_protocol(uri))

    def source(self, location: str) -> Source:
        """What can be judged: a path, the bytes of a short file, or a long one as an open file.

        Raises:
            OSError: there is no such file, or the storage cannot be reached.
        """
        if not is_uri(location):
            return location
        filesystem, path = self.open(location)
        file = filesystem.open_input_file(path)
        if file.size() <= WHOLE:
            with file:
                return bytes(file.read())
        return io.BufferedReader(_Raw(file), BLOCK)

    def globber(self, uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
        """The same as `open`, as an fsspec file system: those know patterns."""
        filesystem, path = self.open(uri)
        if isinstance(filesystem, fs.PyFileSystem):
            return _fsspec(filesystem), path
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

    def exists(self) -> bool:
        return bool(self.filesystem.get_file_info(self.path).type != fs.FileType.NotFound)

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


def _parts(uri: str) -> tuple[str, str]:
    matched = _URI.match(uri)
    assert matched is not None  # noqa: S101 (`is_uri` was asked)
    return matched[1].lower(), uri[matched.end() :]


def _connect(scheme: str, root: str, environment: Mapping[str, str] = os.environ) -> fs.FileSystem:
    try:
        if scheme == "s3":
            return _s3(root.partition("://")[2], environment)
        if scheme in ("gs", "gcs"):
            return fs.GcsFileSystem()
        return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme)))
    except (ImportError, ValueError, OSError) as e:
        raise BatchError(f"{root}: {' '.join(str(e).split())}") from e


def _s3(bucket: str, environment: Mapping[str, str]) -> fs.S3FileSystem:
    """By the variables that Amazon's own tools know; pyarrow knows all but the endpoint's."""
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if not endpoint and not region:
        region = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        endpoint_override=endpoint, region=region, request_timeout=TIMEOUT, connect_timeout=TIMEOUT
    )


def _fsspec(filesystem: fs.FileSystem) -> fsspec.AbstractFileSystem:
    return filesystem.handler.fs
