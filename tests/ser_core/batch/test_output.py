"""The table of `ser batch`: whole under its name, or not there."""

import fcntl
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from ser_core.batch import BatchError
from ser_core.batch import output as output_module
from ser_core.batch.output import Output
from ser_core.batch.storage import Place, Stores
from ser_core.batch.table import schema
from tests.ser_core.batch.conftest import ROOT

MADE_BY: dict[str, Any] = {
    "model": "tiny", "version": "1.0.0", "sha256": "ab", "answers": "12",
    "emotions": ["sad", "glad"], "max_seconds": 600.0,
}  # fmt: skip


def rows(*files: str, error: str | None = None, **more: Any) -> pa.Table:
    row = {"duration": 1.25, "emotion": "sad", "confidence": 0.75, "uncertain": False}
    row |= {"p_sad": 0.75, "p_glad": 0.25} if error is None else {}
    row = {} if error else row
    common = {"model": "tiny", "version": "1.0.0", "error": error, **more}
    return pa.Table.from_pylist(
        [{"file": file, **row, **common} for file in files], schema=schema(MADE_BY["emotions"])
    )


def output(path: Path, seconds: float = 0, **made_by: Any) -> Output:
    return Output(Place.of(str(path), Stores()), MADE_BY | made_by, seconds)


def begun(path: Path, *, resume: bool = False, overwrite: bool = False) -> Output:
    table = output(path)
    table.begin(resume=resume, overwrite=overwrite)
    return table


def read(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist() if path.suffix == ".parquet" else read_csv(path)


def read_csv(path: Path) -> list[dict[str, Any]]:
    types = schema(MADE_BY["emotions"])
    options = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True)
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)
    found: list[dict[str, Any]] = pyarrow.csv.read_csv(
        path, parse_options=parsing, convert_options=options
    ).to_pylist()
    return found


@pytest.fixture(params=["table.parquet", "table.csv"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def test_the_table_appears_when_it_is_whole_and_nothing_stays_beside_it(path: Path) -> None:
    table = begun(path)
    table.add(rows("a.wav", 'b, "c".wav'))
    table.add(rows("d.wav", error="line 1\nline 2"))
    assert not path.exists()
    table.finish()
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert read(path) == [
        *rows("a.wav", 'b, "c".wav').to_pylist(),
        *rows("d.wav", error="line 1\nline 2").to_pylist(),
    ]


def test_an_interrupted_run_goes_on_where_it_was(path: Path) -> None:
    interrupted = begun(path)
    interrupted.add(rows("a.wav"))
    interrupted.leave()
    assert not path.exists()
    resumed = output(path)
    assert resumed.begin(resume=True, overwrite=False) == {"a.wav"}
    resumed.add(rows("b.wav"))
    resumed.finish()
    assert read(path) == rows("a.wav", "b.wav").to_pylist()


def test_rows_that_were_not_yet_written_are_when_a_run_is_left(path: Path) -> None:
    interrupted = output(path, seconds=1e6)
    interrupted.begin(resume=False, overwrite=False)
    interrupted.add(rows("a.wav"))
    interrupted.leave()
    assert output(path).begin(resume=True, overwrite=False) == {"a.wav"}


def test_a_part_that_was_cut_off_is_not_taken_for_one(path: Path) -> None:
    interrupted = begun(path)
    interrupted.add(rows("a.wav"))
    interrupted.leave()
    parts = Path(f"{path}.parts")
    (whole,) = parts.glob("part-*")
    (parts / "unfinished").write_bytes(whole.read_bytes()[:100])
    resumed = begun(path, resume=True)
    resumed.add(rows("b.wav"))
    resumed.finish()
    assert read(path) == rows("a.wav", "b.wav").to_pylist()


def test_a_whole_table_is_added_to(path: Path) -> None:
    first = begun(path)
    first.add(rows("a.wav"))
    first.finish()
    second = output(path)
    assert second.begin(resume=True, overwrite=False) == {"a.wav"}
    second.add(rows("b.wav"))
    assert read(path) == rows("a.wav").to_pylist()
    second.finish()
    assert read(path) == rows("a.wav", "b.wav").to_pylist()


def test_failed_ones_can_be_judged_again_and_have_one_row(path: Path) -> None:
    first = begun(path)
    first.add(rows("a.wav", "b.wav", error="The storage was away."))
    first.finish()
    second = output(path)
    assert second.begin(resume=True, overwrite=False, retry_errors=True) == set()
    second.add(rows("a.wav"))
    second.leave()
    third = output(path)
    assert third.begin(resume=True, overwrite=False, retry_errors=True) == {"a.wav"}
    third.add(rows("b.wav"))
    third.finish()
    assert read(path) == rows("a.wav", "b.wav").to_pylist()


def test_parts_that_outlived_their_table_add_no_second_rows(path: Path, tmp_path: Path) -> None:
    first = begun(path)
    first.add(rows("a.wav", "a.wav", "b.wav"))
    shutil.copytree(f"{path}.parts", tmp_path / "kept")
    first.finish()
    shutil.move(tmp_path / "kept", f"{path}.parts")
    second = begun(path, resume=True)
    second.add(rows("c.wav"))
    second.finish()
    assert read(path) == rows("a.wav", "b.wav", "c.wav").to_pylist()


def test_an_existing_table_is_touched_by_nobody_who_does_not_say_so(path: Path) -> None:
    first = begun(path)
    first.add(rows("a.wav"))
    first.finish()
    with pytest.raises(BatchError, match=r"exists: --resume .* --overwrite"):
        begun(path)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_an_unfinished_run_is_touched_by_nobody_who_does_not_say_so(path: Path) -> None:
    interrupted = begun(path)
    interrupted.add(rows("a.wav"))
    interrupted.leave()
    with pytest.raises(BatchError, match=r"parts holds an unfinished run: --resume"):
        begun(path)


def test_overwriting_keeps_the_old_table_until_the_new_one_is_whole(path: Path) -> None:
    first = begun(path)
    first.add(rows("a.wav"))
    first.finish()
    again = begun(path, overwrite=True)
    again.add(rows("b.wav"))
    again.leave()
    assert read(path) == rows("a.wav").to_pylist()
    resumed = output(path)
    assert resumed.begin(resume=True, overwrite=False) == {"b.wav"}
    resumed.add(rows("c.wav"))
    resumed.finish()
    assert read(path) == rows("b.wav", "c.wav").to_pylist()


KILLED = """
import os, signal, sys
from pathlib import Path
from ser_core.batch.storage import Place
from tests.ser_core.batch.test_output import begun

def killed(self: Place) -> None:
    Path(self.path).write_bytes(b"")
    os.kill(os.getpid(), signal.SIGKILL)

Place.write = killed
begun(Path(sys.argv[1]), resume=True)
"""


def test_a_run_that_is_killed_while_it_begins_again_loses_nothing(path: Path) -> None:
    interrupted = begun(path)
    interrupted.add(rows("a.wav"))
    interrupted.leave()
    command = [sys.executable, "-c", KILLED, str(path)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert output(path).begin(resume=True, overwrite=False) == {"a.wav"}


def test_a_run_that_judged_nothing_leaves_nothing(path: Path) -> None:
    begun(path).leave()
    assert list(path.parent.iterdir()) == []


def test_two_runs_do_not_write_the_same_table(path: Path) -> None:
    first = begun(path)
    with pytest.raises(BatchError, match="another `ser batch` is writing it"):
        begun(path, resume=True)
    first.add(rows("a.wav"))
    first.finish()
    assert read(path) == rows("a.wav").to_pylist()


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"overwrite": True}])
def test_of_two_that_begin_together_one_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, bool]
) -> None:
    first = output(path)
    make_folder = Place.make_folder

    def and_then_the_other(self: Place) -> None:
        monkeypatch.undo()
        first.begin(resume=False, overwrite=False)
        make_folder(self)

    # Where it makes the folder, it has seen that nothing is there.
    monkeypatch.setattr(Place, "make_folder", and_then_the_other)
    with pytest.raises(BatchError, match="another `ser batch` is writing it"):
        begun(path, **how)
    first.add(rows("a.wav"))
    first.finish()
    assert read(path) == rows("a.wav").to_pylist()


def test_the_lock_of_a_folder_that_was_removed_is_none(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = begun(path)
    lock = fcntl.flock

    def when_the_other_has_finished(file: int, how: int) -> None:
        monkeypatch.undo()
        first.add(rows("a.wav"))
        first.finish()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", when_the_other_has_finished)
    with pytest.raises(BatchError, match="another `ser batch` is writing it"):
        begun(path)
    assert read(path) == rows("a.wav").to_pylist()
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("key", "value"), [("version", "2.0.0"), ("sha256", "cd"), ("max_seconds", 60.0)]
)
def test_what_another_model_or_limit_made_is_not_added_to(
    tmp_path: Path, key: str, value: Any
) -> None:
    path = tmp_path / "table.parquet"
    first = begun(path)
    first.add(rows("a.wav"))
    first.finish()
    with pytest.raises(BatchError, match=f"made with {key} {MADE_BY[key]}, this is {value}"):
        output(path, **{key: value}).begin(resume=True, overwrite=False)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_what_was_calibrated_otherwise_is_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    first = begun(path)
    first.add(rows("a.wav"))
    first.leave()
    before = sorted(each.name for each in Path(f"{path}.parts").iterdir())
    with pytest.raises(BatchError, match=r"made with this model calibrated otherwise; --overwrite"):
        output(path, answers="34").begin(resume=True, overwrite=False)
    assert sorted(each.name for each in Path(f"{path}.parts").iterdir()) == before


def test_what_an_older_release_made_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    told = {key: value for key, value in MADE_BY.items() if key != "answers"}
    first = Output(Place.of(str(path), Stores()), told, 0)
    first.begin(resume=False, overwrite=False)
    first.add(rows("a.wav"))
    first.finish()
    assert output(path).begin(resume=True, overwrite=False) == {"a.wav"}


def test_a_csv_of_another_version_is_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    first = begun(path)
    first.add(rows("a.wav"))
    first.finish()
    with pytest.raises(BatchError, match=r"made with version 1\.0\.0, this is 2\.0\.0"):
        output(path, version="2.0.0").begin(resume=True, overwrite=False)


@pytest.mark.parametrize("content", [b"", b"Dear Sir or Madam", b"file,emotion\na.wav,sad\n"])
def test_what_is_no_table_of_ours_is_not_added_to(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(BatchError, match=r"is no table of `ser batch`") as raised:
        begun(path, resume=True)
    assert "--overwrite" not in str(raised.value)
    assert path.read_bytes() == content
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_table_of_many_rows_has_each_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_module, "ROWS", 7)
    table = begun(path)
    files = [f"{number}.wav" for number in range(50)]
    for start in range(0, 50, 5):
        table.add(rows(*files[start : start + 5]))
    table.finish()
    assert [row["file"] for row in read(path)] == files


def in_parts(path: Path, parts: int, count: int) -> Output:
    """A table that is still to be put together, with so many rows in each part."""
    table = begun(path)
    for part in range(parts):
        table.add(rows(*(f"/calls/{part:04d}/{number:06d}.wav" for number in range(count))))
    return table


HOLD = """
from pathlib import Path
from tests.ser_core.batch.test_output import in_parts
import sys
import tracemalloc

table = in_parts(Path(sys.argv[1]), parts=20, count=1000)
tracemalloc.start()
table.finish()
print(tracemalloc.get_traced_memory()[1])
"""


def test_putting_parts_together_does_not_hold_the_names_of_all_files(path: Path) -> None:
    # 60 bytes a row; a name and its place in a dictionary take 140
    assert printed(HOLD, path) < 1_200_000


FINISH = """
import ser_core.batch.output
from pathlib import Path
from tests.ser_core.batch.test_output import in_parts
import sys

def held(what: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(what)[1].split()[0])

table = in_parts(Path(sys.argv[1]), parts=3, count=20_000)
Path("/proc/self/clear_refs").write_text("5")
before = held("VmRSS:")
table.finish()
print(held("VmHWM:") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_putting_parts_together_takes_little_memory(path: Path) -> None:
    assert printed(FINISH, path) < 20_000  # kB


def printed(program: str, path: Path) -> int:
    """The number that a program prints: in a process of its own, where no other test's threads
    take memory."""
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("table.xlsx", r"the name must end in \.parquet or \.csv"),
        ("nowhere/table.csv", "nowhere/table.csv: "),
        ("file.txt/table.csv", "file.txt/table.csv: "),
    ],
)
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file.txt").touch()
    with pytest.raises(BatchError, match=message):
        begun(tmp_path / name)
