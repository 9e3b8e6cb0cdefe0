"""Runs one side of a benchmark in a process of its own, where nothing of the other side counts."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interlat.errors import BenchmarkError


def run_side(
    module: str, arguments: list[str], side: str, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What ``python -m module arguments`` prints last, as JSON.

    Args:
        module: name of the module.
        arguments: its arguments.
        side: how an error calls this side.
        environment: further variables.

    Raises:
        BenchmarkError: the process failed.
    """
    search = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **search, **(environment or {})},
    )
    if done.returncode < 0:
        raise BenchmarkError(f"{side} failed: killed by signal {-done.returncode}, perhaps for want of memory")
    if done.returncode:
        raise BenchmarkError(f"{side} failed: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def die_first() -> None:
    """Ask the system (Linux) to end this process before any other, should memory run out."""
    place = Path("/proc/self/oom_score_adj")
    if place.exists():
        place.write_text("1000")


def peak_memory() -> int:
    """Bytes of this process's largest resident memory since it began or since `forget_peak_memory`."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory_since(baseline: int) -> int:
    """By how many bytes `peak_memory` has grown.

    Linux counts pages a thread at a time and adds them up late, so that a peak may be read a few pages too low.
    """
    return max(0, peak_memory() - baseline)


def forget_peak_memory() -> None:
    """Begin to measure `peak_memory` anew, where the system can (Linux)."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")
