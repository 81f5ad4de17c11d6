import os
from pathlib import Path

import pytest

from api.cpus import available_cpus


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def cpus(folder: Path, membership: str, **files: str) -> int:
    """What a process with such a `/proc/self/cgroup` and such files under its mount may use."""
    cgroup = folder / "cgroup"
    cgroup.write_text(membership)
    for name, content in files.items():
        path = folder / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return available_cpus(cgroup, folder / "mount")


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cpus(tmp_path / "nothing", tmp_path) == 8


def test_without_affinity_the_machine_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_cpus(tmp_path / "nothing", tmp_path) == 6


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1)],
)
def test_quota_of_version_2(tmp_path: Path, quota: str, expected: int) -> None:
    assert cpus(tmp_path, "0::/\n", **{"cpu.max": quota}) == expected


def test_the_tightest_quota_on_the_way_to_the_root_counts(tmp_path: Path) -> None:
    files = {"a/cpu.max": "100000 100000", "a/b/cpu.max": "300000 100000", "cpu.max": "max 100000"}
    assert cpus(tmp_path, "0::/a/b\n", **files) == 1


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_quota_of_version_1(tmp_path: Path, controllers: str) -> None:
    files = {
        f"{controllers}/docker/x/cpu.cfs_quota_us": "300000",
        f"{controllers}/docker/x/cpu.cfs_period_us": "100000",
    }
    assert cpus(tmp_path, f"3:{controllers}:/docker/x\n1:memory:/docker/x\n", **files) == 3


def test_a_container_that_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}
    assert cpus(tmp_path, "3:cpu:/docker/0123abc\n", **files) == 2


def test_version_1_without_a_quota(tmp_path: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}
    assert cpus(tmp_path, "3:cpu:/\n", **files) == 8
