"""Recordings in buckets and elsewhere, without Ray."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.utils import infer_storage_options

from ser_core import audio
from ser_core.batch import BatchError, storage
from ser_core.batch.inputs import gather
from ser_core.batch.storage import Stores
from tests.ser_core.batch.bucket import Bucket
from tests.sounds import encode, voice

SOUND = encode(voice(1.0), "flac")


@pytest.fixture
def stores(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stores]:
    """Connections to a bucket that holds some objects."""
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    maker = bucket.filesystem(allow_bucket_creation=True, allow_bucket_deletion=True)
    maker.create_dir("talks")
    files = {
        "a/1.flac": SOUND,
        "a/b/2 %41#?.flac": SOUND,
        "a/.hidden/3.flac": SOUND,
        "a/notes.txt": b"1.flac\nb/2 %41#?.flac\n",
        "list.csv": b"path,label\na/1.flac,sad\ns3://talks/x.wav,glad\n",
    }
    for name, content in files.items():
        with maker.open_output_stream(f"talks/{name}") as file:
            file.write(content)
    yield Stores()
    maker.delete_dir("talks")


def names(stores: Stores, *inputs: str) -> list[str]:
    return list(gather(inputs, stores).locations)


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("s3://talks", ["s3://talks/a/1.flac", "s3://talks/a/b/2 %41#?.flac"]),
        ("s3://talks/a/", ["s3://talks/a/1.flac", "s3://talks/a/b/2 %41#?.flac"]),
        ("s3://talks/a/1.flac", ["s3://talks/a/1.flac"]),
        ("s3://talks/a/*.flac", ["s3://talks/a/1.flac"]),
        ("s3://talks/a/b*", ["s3://talks/a/b/2 %41#?.flac"]),
        ("s3://talks/[ab]", ["s3://talks/a/1.flac", "s3://talks/a/b/2 %41#?.flac"]),
        ("s3://talks/a/b/2 %41#?.flac", ["s3://talks/a/b/2 %41#?.flac"]),
        ("s3://talks/list.csv", ["s3://talks/a/1.flac", "s3://talks/x.wav"]),
        ("s3://talks/a/notes.txt", ["s3://talks/a/1.flac", "s3://talks/a/b/2 %41#?.flac"]),
    ],
)
def test_a_bucket_is_looked_through_like_a_folder(
    stores: Stores, place: str, found: list[str]
) -> None:
    assert names(stores, place) == found


def test_a_pattern_reaches_any_depth_of_a_bucket(stores: Stores) -> None:
    assert "s3://talks/a/b/2 %41#?.flac" in names(stores, "s3://talks/**/*.flac")


def test_what_is_not_in_a_bucket_is_named(stores: Stores) -> None:
    for place in ("s3://talks/none.wav", "s3://nobody/none.wav"):
        with pytest.raises(BatchError, match=f"^{place}: "):
            names(stores, place)


@pytest.mark.parametrize("whole", [10, 10_000_000], ids=["as it is heard", "at once"])
def test_an_object_sounds_like_the_file_that_it_was(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, whole: int
) -> None:
    monkeypatch.setattr(storage, "WHOLE", whole)
    source = stores.source("s3://talks/a/b/2 %41#?.flac")
    assert isinstance(source, bytes) == (whole > len(SOUND))
    np.testing.assert_array_equal(audio.load(source), audio.load(SOUND))


def test_a_key_that_cannot_be_is_named(stores: Stores) -> None:
    with pytest.raises(BatchError, match=r"^s3://talks//1\.flac: Empty path component"):
        names(stores, "s3://talks//1.flac")


def test_an_object_that_went_away_is_an_error_of_the_storage(stores: Stores) -> None:
    with pytest.raises(FileNotFoundError):
        stores.source("s3://talks/none.wav")


def test_other_schemes_are_opened_by_fsspec(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "1.flac").write_bytes(SOUND)
    stores = Stores()
    for place in (f"local://{tmp_path}", f"local://{tmp_path}/**/*.flac"):
        (name,) = names(stores, place)
        assert name == f"local://{tmp_path}/deep/1.flac"
        assert stores.source(name) == SOUND


class Hosted(MemoryFileSystem):  # type: ignore[misc]
    """Files on a host, which is to be told a user: as FTP, SFTP, GitHub and others are."""

    protocol = "hosted"
    store: ClassVar[dict[str, Any]] = {}

    def __init__(self, host: str, username: str, **options: Any) -> None:
        super().__init__(**options)
        if (host, username) != ("box", "me"):
            raise RuntimeError("530 Login\nincorrect")  # no OSError, like ftplib's and paramiko's

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return f"/{path.removeprefix('hosted://me@box').strip('/')}".rstrip("/")

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        options = infer_storage_options(path)
        return {key: options[key] for key in ("host", "username") if key in options}


@pytest.fixture
def hosted() -> str:
    """A host with a recording in a folder, and one that is hidden."""
    fsspec.register_implementation("hosted", Hosted, clobber=True)
    files = Hosted("box", "me")
    files.pipe({"/calls/1 #.flac": SOUND, "/.hidden/2.flac": SOUND})
    return "hosted://me@box"


@pytest.mark.parametrize("place", ["", "/", "/calls", "/calls/", "/c*", "/calls/*.flac", "/**"])
def test_a_host_is_asked_as_the_user_that_the_uri_names(hosted: str, place: str) -> None:
    (name,) = (each for each in names(Stores(), hosted + place) if "hidden" not in each)
    assert name == f"{hosted}/calls/1 #.flac"
    assert Stores().source(name) == SOUND


def test_a_connection_is_not_shared_by_threads_nor_by_a_long_file(
    hosted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores, name = Stores(), f"{hosted}/calls/1 #.flac"
    mine, _ = stores.globber(name)
    with ThreadPoolExecutor(1) as other:
        theirs, _ = other.submit(stores.globber, name).result()
    assert stores.globber(name)[0] is mine
    assert theirs is not mine

    opened: list[Hosted] = []
    opening = Hosted._open

    def see(self: Hosted, *arguments: Any, **options: Any) -> Any:
        opened.append(self)
        return opening(self, *arguments, **options)

    monkeypatch.setattr(Hosted, "_open", see)
    monkeypatch.setattr(storage, "WHOLE", 10)
    source = stores.source(name)
    assert isinstance(source, io.BufferedReader)
    assert source.read() == SOUND
    assert [each is mine for each in opened] == [True, False]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("hosted://you@box/1.wav", "hosted://you@box: 530 Login incorrect"),
        ("dbfs://box/1.wav", "dbfs://box: .*missing 2 required positional arguments"),
        ("ftp://127.0.0.1:1/1.wav", r"ftp://127\.0\.0\.1:1: Connection refused"),
        ("ftp://box:port/1.wav", "ftp://box:port: Port could not be cast"),
        ("abfs://box/1.wav", "abfs://box: .*adlfs"),
        ("sftp://box/1.wav", "sftp://box: .*paramiko"),
    ],
)
def test_a_host_that_cannot_be_asked_is_named(hosted: str, place: str, message: str) -> None:
    with pytest.raises(BatchError, match=f"^{message}"):
        names(Stores(), place)
