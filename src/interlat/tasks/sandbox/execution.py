"""Running generated code against tests, where it can neither judge itself nor harm the machine.

The code and its tests are in two fresh processes with plain data between them. The code's process gives up everything
but computing (`interlat.tasks.sandbox.confinement`); what the tests expect it never sees. The verdict comes from the
tests' process, behind a nonce that is new for every job.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from interlat.errors import InputError
from interlat.tasks.parallel import map_in_order

GRACE_SECONDS = 5.0
"""What the two processes get to start, on top of the limit."""


@dataclass(frozen=True)
class Job:
    """Code and what it is tested with."""

    program: str
    """The generated code. It is not trusted."""
    tests: str
    """Statements that raise an exception unless the code is right. They are trusted, as data sets are."""
    functions: tuple[str, ...]
    """Names of the code's functions that the tests call, with plain data."""
    before: str = ""
    """Statements of the data set that stand before the code, such as helper functions that the tests use, too."""


@dataclass(frozen=True)
class Limits:
    """What a job may take."""

    seconds: float = 10.0
    """Time for all of it."""
    memory: int = 2**30
    """Bytes of address space, for each of the two processes."""

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.memory < 2**27:
            raise InputError(
                f"limits of {self.seconds} seconds and {self.memory} bytes; give more than 0 seconds and at least "
                f"{2**27} bytes, which Python itself needs"
            )


@dataclass(frozen=True)
class Execution:
    """The verdict about a job."""

    passed: bool
    """Whether all tests passed."""
    reason: str
    """Why not; empty if they did."""
    seconds: float
    """How long it took, starting the processes included."""
    isolation: tuple[str, ...]
    """By what the code was confined, see `interlat.tasks.sandbox.confinement.confine`; empty where it never began."""


def execute(job: Job, limits: Limits | None = None) -> Execution:
    """Run one job to its verdict. Nothing of it is left afterwards: no process, no file.

    Raises:
        InputError: the system is neither Linux nor macOS.
    """
    if os.name != "posix":
        raise InputError("generated code is only run on Linux and macOS; run this there or in a container")
    limits = limits or Limits()
    began = time.perf_counter()
    nonce = secrets.token_hex(16)
    task = {
        "program": job.program,
        "tests": job.tests,
        "functions": list(job.functions),
        "before": job.before,
        "nonce": nonce,
    }
    with tempfile.TemporaryDirectory(prefix="interlat-", ignore_cleanup_errors=True) as folder:
        found = _verdict(json.dumps(task).encode(), limits, folder)
    verdict = found if found.get("nonce") == nonce else {"reason": found.get("reason", "no verdict was given")}
    return Execution(
        passed=verdict.get("passed") is True,
        reason=str(verdict.get("reason", "")),
        seconds=time.perf_counter() - began,
        isolation=tuple(verdict.get("isolation", ())),
    )


def execute_all(jobs: Iterable[Job], limits: Limits | None = None, workers: int = 2) -> Iterator[Execution]:
    """The verdicts about some jobs, in their order; jobs are taken as they are needed.

    Raises:
        InputError: fewer than one worker, or as `execute`.
    """
    yield from map_in_order(lambda job: execute(job, limits), jobs, workers)


def _verdict(task: bytes, limits: Limits, folder: str) -> dict[str, Any]:
    # Each side reads where the other writes.
    guest_reads, judge_writes = os.pipe()
    judge_reads, guest_writes = os.pipe()
    try:
        guest = _start("guest", guest_reads, guest_writes, limits, folder)
        judge = _start("judge", judge_reads, judge_writes, limits, folder)
    finally:
        for handle in (guest_reads, guest_writes, judge_reads, judge_writes):
            os.close(handle)
    try:
        output, _ = judge.communicate(task, timeout=limits.seconds + GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        return {"reason": f"no verdict within {limits.seconds:g} seconds"}
    finally:
        for process in (guest, judge):
            _end(process)
    try:
        found = json.loads(output)
    except ValueError:
        return {"reason": "the tests ended without a verdict"}
    return found if isinstance(found, dict) else {}


def _start(module: str, read: int, write: int, limits: Limits, folder: str) -> "subprocess.Popen[bytes]":
    numbers = [str(number) for number in (read, write, limits.seconds, limits.memory)]
    judges = module == "judge"
    return subprocess.Popen(
        [sys.executable, "-I", "-B", "-m", f"interlat.tasks.sandbox.{module}", *numbers],
        pass_fds=(read, write),
        stdin=subprocess.PIPE if judges else subprocess.DEVNULL,
        stdout=subprocess.PIPE if judges else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        # Nothing of the environment, where keys and passwords are.
        env={"HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill all that a process has started, and itself."""
    # Its group has its number, and as long as nobody has waited for it that is nobody else's.
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
