"""Recordings in buckets and elsewhere, without Ray."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

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
    return list(gather(inputs, stores).names.values())


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("s3://talks", ["s3://talks/a/1.flac", "s3://talks/a/b/2 %41#?.flac"]),
        ("s3://talks/a/", ["s3://talks/a/1.flac", "s3://talks/a/b/2 %41#?.flac"]),
        ("s3://talks/a/1.flac", ["s3://talks/a/1.flac"]),
        ("s3://talks/a/*.flac", ["s3://talks/a/1.flac"]),
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


def test_a_scheme_whose_package_is_missing_says_which() -> None:
    with pytest.raises(BatchError, match=r"^abfs://box: .*adlfs"):
        names(Stores(), "abfs://box/1.wav")
