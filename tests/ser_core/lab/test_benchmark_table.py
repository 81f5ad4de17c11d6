"""The tables: what is averaged, what is not, and what a reader sees."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from ser_core.lab.benchmark_results import ResultsError, Row
from ser_core.lab.benchmark_table import insert, lines, markdown, to_csv
from tests.ser_core.lab.test_benchmark_results import ROW

FOLDS = [replace(ROW, fold=fold + 1, uar=0.4 + 0.1 * fold, n=48) for fold in range(5)]
RANDOM = replace(ROW, protocol="ravdess-random", folds=1, uar=0.91, speakers_heard="yes", n=360)
OUT = replace(ROW, protocol="ravdess-out", folds=1, preset="relative", uar=0.31, n=1199)


def table_of(rows: list[Row]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(rows))))


def test_folds_and_seeds_are_averaged() -> None:
    seeds = [replace(row, seed=1, uar=row.uar + 0.02) for row in FOLDS]
    (line,) = lines([*FOLDS, *seeds])
    assert (line.folds, line.seeds) == (5, "2")
    assert line.mean("uar") == pytest.approx(0.61)
    # The sample's deviation of .4, .42, .5, .52 ... .82.
    assert line.deviation("uar") == pytest.approx(0.1494, abs=1e-4)


def test_a_fold_of_more_seeds_counts_no_more() -> None:
    (line,) = lines([*FOLDS, replace(FOLDS[0], seed=1, uar=0.2)])
    # The first fold has .3 on average, the others .5 to .8.
    assert line.mean("uar") == pytest.approx(0.58)
    assert "| 5 | 1 to 2 | 240 |" in markdown(line.rows)


def test_size_and_time_are_those_of_the_kind_of_file_that_most_folds_serve() -> None:
    small = [replace(row, bytes=2_000_000 + row.fold, milliseconds=1.5) for row in FOLDS]
    large = [replace(row, bytes=6_000_000 + row.fold, milliseconds=4.0 + row.fold) for row in FOLDS]
    (row,) = table_of([*small[:2], *large[2:]])
    assert (row["bytes"], row["milliseconds"]) == ("6000003", "7.0")
    (row,) = table_of([*small[:3], *large[3:]])
    assert (row["bytes"], row["milliseconds"]) == ("2000003", "1.5")


def test_one_cell_has_no_deviation() -> None:
    (row,) = table_of([RANDOM])
    assert (row["uar"], row["uar_deviation"]) == ("0.9100", "")
    assert "| ravdess-random | yes | `plain` | 0 | .910 | .500 |" in markdown([RANDOM])


def test_of_a_cell_that_was_done_again_the_newest_counts() -> None:
    (row,) = table_of([RANDOM, replace(RANDOM, uar=0.5)])
    assert row["uar"] == "0.5000"


def test_other_designs_and_other_data_are_never_averaged() -> None:
    newer = replace(ROW, uar=0.9, date="2026-12-01T00:00:00Z")
    for other in (replace(newer, design="other"), replace(newer, data="other")):
        # One fold of another design does not push five away ...
        (line,) = lines([*FOLDS, other])
        assert line.mean("uar") == pytest.approx(0.6)
        # ... as many folds do, being newer.
        (line,) = lines([*FOLDS, *(replace(other, fold=fold + 1) for fold in range(5))])
        assert line.mean("uar") == pytest.approx(0.9)


def test_counts_of_references_stand_apart() -> None:
    rows = table_of([OUT, replace(OUT, references=10, uar=0.42)])
    assert [(row["references"], row["uar"]) for row in rows] == [("0", "0.3100"), ("10", "0.4200")]


def test_the_overview_says_for_each_protocol_whether_speakers_were_heard() -> None:
    rows = [OUT, *FOLDS, RANDOM, replace(OUT, references=10, uar=0.42)]
    overview = markdown(rows).split("\n\n")[0]
    assert overview == (
        "| UAR | ravdess-random | ravdess-5x4 | ravdess-out |\n"
        "|---|---|---|---|\n"
        "| *speakers heard in training* | yes | no | no |\n"
        "| `plain` | .910 | .600 ± .158 |  |\n"
        "| `relative` |  |  | .310 |\n"
        "| `relative`, 10 references |  |  | .420 |"
    )


def test_unfinished_folds_are_marked() -> None:
    said = markdown(FOLDS[:2])
    assert "| `plain` | .450 ± .071 (2 of 5 folds) |" in said
    assert "| 2 of 5 | 1 | 96 |" in said


def test_every_protocol_in_the_table_is_explained() -> None:
    said = markdown([RANDOM, *FOLDS])
    assert "- `ravdess-random`: RAVDESS, 70 : 30 of the recordings at random" in said
    assert said.count("\n- `") == 2


def test_without_cells_it_says_so() -> None:
    assert markdown([]) == "No cell is finished.\n"


def test_a_document_may_ask_for_a_small_table_of_some_protocols(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    begin, end = "<!-- benchmark: ravdess-random ravdess-5x4 -->\n", "<!-- /benchmark -->\n"
    document.write_text(f"Before\n{begin}old\n{end}")
    # What it takes is of the last one, not the best of models that are not the same.
    one = FOLDS[0]
    insert(document, [OUT, *FOLDS, replace(RANDOM, parameters=7, bytes=70, milliseconds=0.7)])
    assert document.read_text() == (
        f"Before\n{begin}"
        "| UAR / accuracy | ravdess-random | ravdess-5x4 | parameters | MB | ms for 3 s |\n"
        "|---|---|---|---|---|---|\n"
        f"| `plain` | .910 / {one.accuracy:.3f}".replace("/ 0.", "/ .")
        + f" | .600 ± .158 / {FOLDS[0].accuracy:.3f}".replace("/ 0.", "/ .")
        + f" | {one.parameters:,} | {one.bytes / 1e6:.2f} | {one.milliseconds:.1f} |\n{end}"
    )


@pytest.mark.parametrize("text", ["nothing", "<!-- benchmark -->", "<!-- /benchmark -->"])
def test_a_document_without_markers_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    document = tmp_path / "page.md"
    document.write_text(text)
    with pytest.raises(ResultsError, match="<!-- benchmark --> and <!-- /benchmark -->"):
        insert(document, [RANDOM])
    assert document.read_text() == text
