"""Running generated code against tests, where it can neither judge itself nor harm the machine.

The code and its tests are in two fresh processes with plain data between them. The code's process gives up everything
but computing (`interlat.tasks.sandbox.confinement`); what the tests expect it never sees. The verdict comes from the
tests' process, behind a nonce that is new for every job.
"""

import json
import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from typing import Any

from interlat.errors import InputError

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
    """Names of the code's functions that the tests call."""
    before: str = ""
    """Statements of the data set that run before the code, such as helper functions that the tests use, too."""


@dataclass(frozen=True)
class Limits:
    """Limits on a program that is run."""

    seconds: float = 10.0
    """Processor time in seconds, for each of the two processes, rounded up to whole seconds."""
    wall_seconds: float = 60.0
    """Wall time of the whole job in seconds, which ends code that sleeps.
    It is much larger than ``seconds``, since code waits on a busy machine."""
    memory: int = 2**30
    """Address space in bytes, for each of the two processes."""

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.wall_seconds <= 0 or self.memory < 2**27:
            raise InputError(
                f"limits of {self.seconds} seconds, {self.wall_seconds} wall_seconds and {self.memory} bytes; give "
                f"more than 0 seconds and at least {2**27} bytes, which Python itself needs"
            )


@dataclass(frozen=True)
class Execution:
    """The verdict about a job."""

    passed: bool
    """Whether all tests passed."""
    reason: str
    """Why not; empty if they did."""
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
    nonce = secrets.token_hex(16)
    task = asdict(job) | {"nonce": nonce}
    with tempfile.TemporaryDirectory(prefix="interlat-", ignore_cleanup_errors=True) as folder:
        found = _verdict(json.dumps(task).encode(), limits, folder)
    verdict = found if found.get("nonce") == nonce else {"reason": found.get("reason", "no verdict was given")}
    return Execution(
        passed=verdict.get("passed") is True,
        reason=str(verdict.get("reason", "")),
        isolation=tuple(verdict.get("isolation", ())),
    )


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
    too_long = {"reason": f"{limits.wall_seconds:g} seconds of wall time are over"}
    output = b""
    try:
        output, _ = judge.communicate(task, timeout=limits.wall_seconds + GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        return too_long
    finally:
        used = _end(guest)
        _end(judge)
    try:
        found = json.loads(output)
    except ValueError:
        found = {"reason": "the tests ended without a verdict"}
    # Whoever has used that much was ended for it, by the system.
    if used >= math.ceil(limits.seconds) or -signal.SIGXCPU in (guest.returncode, judge.returncode):
        found.update(passed=False, reason=f"{math.ceil(limits.seconds)} seconds of processor time are over")
    return found if isinstance(found, dict) else {}


def _start(module: str, read: int, write: int, limits: Limits, folder: str) -> "subprocess.Popen[bytes]":
    judges = module == "judge"
    wall = [limits.wall_seconds] if judges else []
    numbers = [str(number) for number in (read, write, limits.seconds, *wall, limits.memory)]
    # Nothing of the environment, where keys and passwords are. Both processes iterate sets of texts in one order.
    environment = {"HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    if "PYTHONPATH" in os.environ:
        places = os.environ["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(place) for place in places if place)
    return subprocess.Popen(
        [sys.executable, "-s", "-P", "-B", "-m", f"interlat.tasks.sandbox.{module}", *numbers],
        pass_fds=(read, write),
        stdin=subprocess.PIPE if judges else subprocess.DEVNULL,
        stdout=subprocess.PIPE if judges else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )


def _end(process: "subprocess.Popen[bytes]") -> float:
    """Kill all that a process has started, and itself; the seconds of processor time that it has used."""
    used = 0.0
    # Its group has its number, and as long as nobody has waited for it that is nobody else's.
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        used = usage.ru_utime + usage.ru_stime
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    return used
