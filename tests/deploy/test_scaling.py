"""From what a container takes to containers and prices."""

import json
from pathlib import Path

import pytest

from benchmarks.scaling import a_million, least_for_a_million, main, plan, rate, units


def test_containers_take_the_busiest_second_within_their_share() -> None:
    # 8.64 million a day are 100 a second, 500 in the busiest; each container is given 60.
    made = plan(8.64e6, 100, peak=5, utilisation=0.6, least=1)
    assert made.peak_per_second == pytest.approx(500)
    assert made.containers == 9


def test_what_fits_exactly_needs_no_container_more() -> None:
    assert plan(86_400, 1, peak=3, utilisation=1, least=1).containers == 3


def test_there_are_never_fewer_than_asked_for() -> None:
    assert plan(10, 100, peak=5, utilisation=0.6, least=2).containers == 2


def test_a_month_has_730_hours() -> None:
    assert a_million(365.0, 1e6) == pytest.approx(12.0)
    assert least_for_a_million(730 * 3.6, 1.0, 1.0) == pytest.approx(1000.0)


def test_a_load_balancer_counts_the_larger_of_bytes_and_connections() -> None:
    assert units(86_400 * 25, 0.001) == pytest.approx(1.0)
    assert units(86_400, 1e6 / 3600) == pytest.approx(1.0)


def measured(folder: Path) -> Path:
    path = folder / "capacity.json"
    loads = [
        {"requests": "3 s WAV, 96 kB", "clients": 1, "per_second": 50.0},
        {"requests": "3 s WAV, 96 kB", "clients": 8, "per_second": 100.0},
        {"requests": "30 s WAV, 1 MB", "clients": 8, "per_second": 10.0},
    ]
    path.write_text(json.dumps({"machine": "a quiet one", "loads": loads}))
    return path


def test_the_figure_is_read_from_what_was_measured(tmp_path: Path) -> None:
    assert rate(measured(tmp_path), 8) == (100.0, "a quiet one")


def test_the_table_is_printed_for_the_prices_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--measured", str(measured(tmp_path)), "--calls", "8640000", "--dyno-month", "10"]
    assert main(given) == 0
    told = capsys.readouterr().out
    assert "a container answers 100 requests of 3 s a second (a quiet one)" in told
    (row,) = (line for line in told.splitlines() if line.startswith("| 8,640,000"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:3] == ["500.0", "9"]
    assert cells[5] == "90"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--peak", "0.5"], "argument --peak"),
        (["--utilisation", "0"], "argument --utilisation"),
        (["--utilisation", "1.5"], "argument --utilisation"),
        (["--calls", "many"], "argument --calls"),
        (["--vcpu-hour", "-1"], "argument --vcpu-hour"),
        (["--least", "0"], "argument --least"),
        (["--measured", "nowhere.json"], "--measured nowhere.json"),
    ],
)
def test_a_wrong_parameter_is_named(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert named in capsys.readouterr().err


def test_a_load_that_was_not_measured_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no load of 3 s by 16 clients"):
        rate(measured(tmp_path), 16)
