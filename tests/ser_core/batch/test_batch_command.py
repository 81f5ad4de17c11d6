"""`ser batch` where no recording is judged: usage, what stands in the way, nothing to do."""

import errno
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_core import Recognizer
from ser_core.audio import DEFAULT_LIMITS
from ser_core.batch import BatchError, command, engine
from ser_core.batch.command import each_once
from ser_core.batch.inputs import Listing
from ser_core.batch.output import Output
from ser_core.batch.storage import Place, Stores
from ser_core.batch.table import failed, judge, made_by, schema
from ser_core.cli import main
from tests.ser_core.batch.conftest import ROOT, clean_environment
from tests.ser_core.batch.no_ray import NoRay
from tests.sounds import encode, voice


@pytest.mark.parametrize("missing", ["ray", "pyarrow", "fsspec", "tqdm", "psutil"])
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    blocked = f"import sys; sys.modules.update({{{missing!r}: None}})"
    code = f"{blocked}; from ser_core.cli import main; sys.exit(main(['batch', 'x', '--out', 'y']))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == (
        f"ser batch: error: `ser batch` needs {missing}: "
        "pip install '.[batch]' in the project's folder"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["calls"], "the following arguments are required: --out"),
        (["--out", "x.csv"], "the following arguments are required: INPUT"),
        (["calls", "--out", "x.csv", "--workers", "0"], "--workers: 0 is not 1 or more"),
        (["calls", "--out", "x.csv", "--workers", "all"], "--workers: invalid"),
        (["calls", "--out", "x.csv", "--checkpoint", "-1"], "--checkpoint: -1 is not 0 or more"),
        (["calls", "--out", "x.csv", "--max-seconds", "0"], "--max-seconds: 0 is not above 0"),
        (["calls", "--out", "x.csv", "--timeout", "nan"], "--timeout: nan is not above 0"),
        (["calls", "--out", "x.csv", "--resume", "--overwrite"], "not allowed with argument"),
        (["calls", "--out", "x.csv", "--retry-errors"], "--retry-errors goes with --resume"),
    ],
)
def test_wrong_usage_is_named_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["batch", *arguments])
    except SystemExit as stop:
        status = int(stop.code or 0)
    assert status == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.wav").write_bytes(encode(voice(1.0)))
    return "clip.wav"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.wav", "--out", "x.csv"], "none.wav: there is no such file or folder"),
        (["clip.wav", "--out", "x.json"], "x.json: the name must end in .parquet or .csv"),
        (["clip.wav", "--out", "away/x.csv"], "away/x.csv: "),
        (["clip.wav", "--out", "x.csv", "--model", "unheard-of"], "no bundle 'unheard-of'"),
        (["clip.wav", "--out", "folder.csv"], "folder.csv is a folder: name a file with --out"),
        (["clip.wav", "--out", "folder.csv", "--overwrite"], "folder.csv is a folder: name a file"),
        (["clip.wav", "--out", "old.csv"], "old.csv exists: --resume goes on with it"),
    ],
)
def test_what_stands_in_the_way_is_one_line_and_status_1(
    clip: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("old.csv").touch()
    Path("folder.csv").mkdir()
    assert main(["batch", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ser: {message}")
    assert sorted(path.name for path in Path().iterdir()) == ["clip.wav", "folder.csv", "old.csv"]


def test_a_table_that_has_everything_needs_no_ray(
    clip: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    recognizer = Recognizer.load()
    how = made_by(recognizer.bundle, DEFAULT_LIMITS)
    output = Output(Place.of("x.parquet", Stores()), how, 0)
    output.begin(resume=False, overwrite=False)
    row = {"file": str(Path(clip).absolute()), **judge(recognizer, clip, DEFAULT_LIMITS)}
    output.add(pa.Table.from_pylist([row], schema=schema(recognizer.bundle.emotions)))
    output.finish()
    before = Path("x.parquet").read_bytes()
    for spelling in (clip, "./clip.wav", str(Path(clip).absolute())):
        caplog.clear()
        assert main(["batch", spelling, "--out", "x.parquet", "--resume"]) == 0
        assert Path("x.parquet").read_bytes() == before
        assert caplog.messages == [
            "1 recording (1 of them judged before).", "x.parquet has them all.",
        ]  # fmt: skip


@pytest.mark.parametrize(
    "change", [{"temperature": 2.0}, {"threshold": 0.1}, {"bias": [0.5] * 7}, {"hop": 1.0}]
)
def test_a_table_knows_how_its_model_was_calibrated(change: dict[str, object]) -> None:
    bundle = Recognizer.load().bundle
    other = replace(bundle, info={**bundle.info, **change})
    renamed = replace(bundle, info={**bundle.info, "note": "Fitted to our line."})
    how = made_by(bundle, DEFAULT_LIMITS)
    assert made_by(other, DEFAULT_LIMITS) != how
    assert made_by(renamed, DEFAULT_LIMITS) == how


@pytest.mark.parametrize("how", [[], ["--resume"], ["--overwrite"]])
@pytest.mark.parametrize("spelling", ["man.csv", "./man.csv", "link.csv"])
def test_a_list_is_not_replaced_by_the_table_of_what_it_lists(
    clip: str, how: list[str], spelling: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("man.csv").write_text(f"speaker,path\nanna,{clip}\n")
    Path("link.csv").symlink_to("man.csv")
    before = Path("man.csv").read_bytes()
    for named in ("man.csv", "[m]an.csv"):
        if (named, spelling) == ("[m]an.csv", "link.csv"):
            continue  # a pattern names recordings, and a link to one is another
        assert main(["batch", named, "--out", spelling, *how]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line == f"ser: {spelling} is also an input: name another table with --out"
    assert Path("man.csv").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == [clip, "link.csv", "man.csv"]


@pytest.mark.parametrize("how", ["--resume", "--overwrite"])
def test_a_table_can_be_its_own_list(clip: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    NoRay(monkeypatch)
    assert main(["batch", clip, "--out", "x.csv"]) == 0
    before = Path("x.csv").read_bytes()
    assert main(["batch", "x.csv", "--out", "x.csv", how]) == 0
    assert Path("x.csv").read_bytes() == before


def test_folders_that_cannot_be_read_are_named(
    clip: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    NoRay(monkeypatch)
    gathered = command.gather

    def with_one_locked(inputs: Sequence[str], stores: Stores) -> Listing:
        listing = gathered(inputs, stores)
        listing.unreadable.append("calls/lost+found")
        return listing

    monkeypatch.setattr(command, "gather", with_one_locked)
    assert main(["batch", clip, "--out", "x.parquet"]) == 0
    assert caplog.messages[:2] == [
        "1 recording.", "1 folder could not be read: calls/lost+found.",
    ]  # fmt: skip


def files(path: str) -> list[str]:
    return [str(name) for name in pq.read_table(path)["file"].to_pylist()]


def test_a_relative_name_is_another_file_from_another_folder(
    clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    NoRay(monkeypatch)
    out = str(tmp_path / "x.parquet")
    assert main(["batch", clip, "--out", out]) == 0
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / clip).write_bytes(Path(clip).read_bytes())
    monkeypatch.chdir("b")
    assert main(["batch", clip, f"../{clip}", "--out", out, "--resume"]) == 0
    assert files(out) == [f"{tmp_path}/clip.wav", f"{tmp_path}/b/clip.wav"]


@pytest.mark.parametrize("written", [1, 2, 3, 4], ids=["begin", "first", "second", "table"])
def test_a_full_disk_is_one_line_and_loses_nothing_that_was_written(
    clip: str, written: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    NoRay(monkeypatch)
    Path("other.wav").write_bytes(Path(clip).read_bytes())
    arguments = ["batch", clip, "other.wav", "--out", "x.parquet", "--checkpoint", "0"]
    write = Place.write
    writes = []

    def until_it_is_full(self: Place) -> BinaryIO:
        writes.append(self.path)
        if len(writes) >= written:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self)

    with monkeypatch.context() as full:
        full.setattr(Place, "write", until_it_is_full)
        assert main(arguments) == 1
    (line,) = (each for each in capsys.readouterr().err.splitlines() if each.startswith("ser: "))
    assert line == "ser: x.parquet: No space left on device"
    assert len(writes) == written  # nothing is tried again
    parts = sorted(Path().glob("x.parquet.parts/part-*"))
    assert len(parts) == max(0, min(2, written - 2))
    assert main([*arguments, "--resume"]) == 0
    assert files("x.parquet") == [str(Path(name).absolute()) for name in (clip, "other.wav")]
    assert sorted(path.name for path in Path().iterdir()) == ["clip.wav", "other.wav", "x.parquet"]


def test_a_temporary_folder_without_room_for_ray_is_named(
    clip: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    monkeypatch.setattr(engine, "_start", lambda *_: pytest.fail("Ray was started"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 5 << 20))
    assert main(["batch", clip, "--out", "x.csv"]) == 1
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("ser: /tmp has 5 MB free, and Ray needs 64: set TMPDIR to a folder with more")
    )
    assert not list(Path().glob("x.csv*"))


def test_two_names_that_look_alike_are_two_rows(
    clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    NoRay(monkeypatch)
    named = [os.fsencode(tmp_path) + name for name in (b"/\xe9.wav", b"/\\xe9.wav", b"/a\\b.wav")]
    for name in named:
        Path(os.fsdecode(name)).write_bytes(Path(clip).read_bytes())
    arguments = ["batch", *map(os.fsdecode, named), "--out", "x.parquet"]
    assert main(arguments) == 0
    assert files("x.parquet") == [
        f"{tmp_path}/\\xe9.wav", f"{tmp_path}/\\x5cxe9.wav", f"{tmp_path}/a\\b.wav",
    ]  # fmt: skip
    before = Path("x.parquet").read_bytes()
    assert main([*arguments, "--resume"]) == 0
    assert Path("x.parquet").read_bytes() == before


def test_what_nobody_has_thought_of_is_an_error_of_one_row(clip: str) -> None:
    recognizer = Recognizer.load()

    class Strange(Recognizer):
        def predict(self, *arguments: object, **options: object) -> object:  # type: ignore[override]
            raise ZeroDivisionError("by zero")

    strange = Strange(recognizer.bundle, recognizer._pool)
    assert judge(strange, clip, DEFAULT_LIMITS) == failed(
        recognizer.bundle, "ZeroDivisionError: by zero", "internal"
    )


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:{port}"])
def test_a_cluster_that_is_not_there_is_named(clip: str, tmp_path: Path, address: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = address.format(port=silent.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "ser_core.cli", "batch", tmp_path / clip,
             "--out", tmp_path / "x.csv"],
            cwd=ROOT, env={**clean_environment(), "RAY_ADDRESS": address},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"ser: RAY_ADDRESS={address}")
    assert [path.name for path in tmp_path.iterdir()] == [clip]


def indices(*numbers: int) -> pa.Table:
    return pa.table({"index": pa.array(numbers, pa.int64())})


def test_a_row_that_comes_twice_is_taken_once() -> None:
    tables = each_once(iter([indices(0, 1), indices(1, 2), indices(2)]), 3)
    assert [table["index"].to_pylist() for table in tables] == [[0, 1], [2], []]


def test_a_row_that_never_comes_fails_the_run() -> None:
    tables = each_once(iter([indices(0, 3)]), 4)
    with pytest.raises(BatchError, match="2 recordings have no row, number 1 first"):
        list(tables)
