"""Finished cells: rows that are only ever added, whatever happens to who adds them."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ser_core.lab.benchmark_results import Results, ResultsError, Row, held

ROW = Row(
    protocol="ravdess-5x4", fold=1, folds=5, preset="plain", seed=0, references=0,
    speakers_heard="no", n=240, accuracy=0.5, uar=0.4875, ece=0.1, parameters=1000, bytes=5000,
    milliseconds=1.25, epochs=3, seconds=12.5, design="0123abcd", data="4567cdef", code="9ab",
    date="2026-11-20T17:00:00Z",
)  # fmt: skip


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    results = Results(tmp_path / "new")
    rows = [ROW, replace(ROW, fold=2, seconds=None), replace(ROW, preset='a "b", c')]
    results.add(rows[:1])
    results.add(rows[1:])
    assert results.rows() == rows


def test_without_a_file_nothing_is_finished(tmp_path: Path) -> None:
    assert Results(tmp_path / "none").rows() == []


def test_what_is_there_is_never_changed(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.add([ROW])
    before = results.cells.read_bytes()
    results.add([replace(ROW, uar=0.6)])
    assert results.cells.read_bytes().startswith(before)


def test_what_a_killed_process_left_of_a_line_is_not_read_and_cut_off(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.add([ROW])
    with results.cells.open("a") as file:
        file.write("ravdess-5x4,2,5,pl")
    assert results.rows() == [ROW]
    results.add([replace(ROW, fold=3)])
    assert results.rows() == [ROW, replace(ROW, fold=3)]


def test_a_killed_process_may_leave_half_a_header(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.cells.write_text("protocol,fol")
    results.add([ROW])
    assert results.rows() == [ROW]


def test_processes_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from ser_core.lab.benchmark_results import Results\n"
        "from tests.ser_core.lab.test_benchmark_results import ROW\n"
        "for fold in range(50):\n"
        "    Results(Path(sys.argv[1])).add([replace(ROW, seed=int(sys.argv[2]), fold=fold)])\n"
    )
    root = Path(__file__).parents[3]
    adders = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(seed)], cwd=root)
        for seed in range(3)
    ]
    assert [adder.wait() for adder in adders] == [0, 0, 0]
    rows = Results(tmp_path).rows()
    assert sorted((row.seed, row.fold) for row in rows) == [
        (seed, fold) for seed in range(3) for fold in range(50)
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "has other columns than protocol, fold"),
        (None, "line 2: invalid literal for int"),
        ("\udcff".encode("utf-8", "surrogateescape"), "cannot be read"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused_and_left_alone(
    tmp_path: Path, content: str | bytes | None, message: str
) -> None:
    results = Results(tmp_path)
    results.add([ROW])
    if content is None:
        content = results.cells.read_text().replace(",240,", ",many,")
    raw = content if isinstance(content, bytes) else content.encode()
    results.cells.write_bytes(raw)
    with pytest.raises(ResultsError, match=message):
        results.rows()
    with pytest.raises(ResultsError):
        results.add([ROW])
    assert results.cells.read_bytes() == raw


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "cell.lock"
    with held(path) as mine, held(path) as theirs:
        assert (mine, theirs) == (True, False)
    with held(path) as mine:
        assert mine
