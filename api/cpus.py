"""How many CPUs this process may use, which in a container is not how many there are."""

import math
import os
from pathlib import Path

_PROC = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def available_cpus(cgroup: Path = _PROC, mounted: Path = _CGROUPS) -> int:
    """CPUs by affinity and by the quota of the control group, at least 1.

    A quota of 1.5 CPUs counts as 2: a second thread can still use the half.
    """
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has none
        cpus = os.cpu_count() or 1
    quota = _quota(cgroup, mounted)
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def _quota(cgroup: Path, mounted: Path) -> float | None:
    """The tightest quota on the way from this process's control group to the root, in CPUs."""
    try:
        lines = cgroup.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            quotas += [_quota_v2(folder) for folder in _upwards(mounted, path)]
        elif "cpu" in controllers.split(","):
            for name in ("cpu", controllers):
                quotas += [_quota_v1(folder) for folder in _upwards(mounted / name, path)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _upwards(root: Path, path: str) -> list[Path]:
    # A container often sees its own group mounted as the root, so the root counts as well.
    folder = root / path.strip("/")
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]


def _quota_v2(folder: Path) -> float | None:
    """`cpu.max` holds `quota period` in microseconds, or `max period`."""
    words = _words(folder / "cpu.max")
    if len(words) != 2 or not words[0].isdigit():
        return None
    return int(words[0]) / int(words[1])


def _quota_v1(folder: Path) -> float | None:
    quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
    if len(quota) != 1 or not quota[0].isdigit() or len(period) != 1:
        return None
    return int(quota[0]) / int(period[0])


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split()
    except OSError:
        return []
