"""The processor cores that this process may use, which are fewer than the machine's under `taskset` and in a container."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """At least one: the cores of its affinity, limited by the quota of its control group."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _quota_cores(CGROUP) or affinity))


def _quota_cores(cgroup: Path) -> int | None:
    """The processor time that the control group may take, in whole cores, rounded up; None without a limit.

    Source: the kernel's documentation of cgroup v2 (cpu.max) and v1 (cpu.cfs_quota_us).
    """
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        except OSError:
            return None
    if not quota.isdecimal() or not period.isdecimal():  # 'max', and -1 before it
        return None
    return max(1, math.ceil(int(quota) / int(period)))
