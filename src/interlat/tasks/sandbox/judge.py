"""The process that runs the tests of a data set; the functions that they test are in another process.

``python -s -P -B -m interlat.tasks.sandbox.judge READ WRITE SECONDS WALL_SECONDS MEMORY``. The job comes on standard
input: the generated code, the tests, the text that comes before the code (for its helper functions), the names of the
functions to be tested, and a nonce. The verdict goes to standard output behind that nonce, which the generated code
never gets to see.
"""

import ast
import functools
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from interlat.tasks.graders.programs import statements, unbound
from interlat.tasks.sandbox.confinement import die_with_parent, hide_memory, limit_resources
from interlat.tasks.sandbox.plain import NotPlain
from interlat.tasks.sandbox.remote import Code, GuestError

_EXPECTS_EXIT = re.compile(r"(?:except|[Rr]aises)\b[^\n]*\bSystemExit\b")
HARMLESS = (
    "array", "bisect", "cmath", "collections", "copy", "datetime", "decimal", "enum", "fractions", "functools", "heapq",
    "itertools", "math", "numpy", "operator", "random", "re", "statistics", "string", "sys", "time", "typing",
)  # fmt: skip
"""Modules that tests may use because the code has imported them; they are imported here, and not asked for there."""


def judged(job: dict[str, Any], code: Code) -> dict[str, Any]:
    """The verdict about a job."""
    wanted = sorted(unbound(job["tests"]))
    names: dict[str, Any] = {"__name__": "tests"}
    verdict: dict[str, Any] = {"passed": False, "reason": "", "isolation": []}

    def missing(*values: object, **named: object) -> NoReturn:
        raise code.fail("NameError: the code does not define it")

    try:
        began = code.exchange(
            {key: job[key] for key in ("program", "before")} | {"names": [*job["functions"], *wanted]}
        )
        verdict["isolation"] = [str(name) for name in began.get("isolation", [])]
        if "error" in began:
            return {**verdict, "reason": f"{began['error']}: {began.get('reason', '')}"}
        found = {name: code.value(value) for name, value in dict(began.get("names", {})).items()}
    except (GuestError, NotPlain, TypeError, ValueError) as error:
        return {**verdict, "reason": f"the code ended before it was tested ({error})"}
    try:
        if "numpy" in job["before"] + job["tests"]:
            compare_strictly()
        exec(compile(job["before"], "before", "exec", dont_inherit=True), names)
        names.update({name: found.get(name, missing) for name in job["functions"]})
        names.update({name: found[name] for name in wanted if name in found and name not in names})
        names.update(_imported(job["program"], wanted))
        exec(compile(job["tests"], "tests", "exec", dont_inherit=True), names)
    except BaseException as error:
        return {**verdict, "reason": code.fault or _words(error)}
    return {**verdict, "passed": not code.fault, "reason": code.fault}


def _words(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:500]
    except BaseException:
        return type(error).__name__


def _imported(program: str, wanted: list[str]) -> dict[str, Any]:
    """What the code imports from harmless modules, of the names that the tests want."""
    names: dict[str, Any] = {}
    for node in statements(program):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for alias in node.names:
            module = alias.name if isinstance(node, ast.Import) else node.module or ""
            if (alias.asname or alias.name).partition(".")[0] in wanted and module.partition(".")[0] in HARMLESS:
                exec(ast.unparse(ast.Module([type(node)(**{**vars(node), "names": [alias]})], [])), names)
    return {name: names[name] for name in wanted if name in names}


def comparable(one: Any, other: Any) -> bool:
    """Whether two arrays can be close: not if only one of them is empty."""
    return bool((one.size == 0) == (other.size == 0))


def compare_strictly() -> None:
    """Let numpy's comparisons refuse, in this process, what is not `comparable`, and sequences of two shapes."""
    import numpy
    import numpy.testing

    def not_close() -> None:
        raise AssertionError("one of the values is empty, or they have different shapes")

    numpy.allclose = _strict(numpy.allclose, lambda: False)
    for name in ("assert_allclose", "assert_almost_equal", "assert_array_almost_equal", "assert_array_equal"):
        setattr(numpy.testing, name, _strict(getattr(numpy.testing, name), not_close))


def _strict(compare: Callable[..., Any], otherwise: Callable[[], Any]) -> Callable[..., Any]:
    import numpy

    @functools.wraps(compare)
    def strict(one: Any, other: Any, *rest: Any, **named: Any) -> Any:
        # Read once: an object of the code may have another length the second time.
        arrays = [numpy.asanyarray(value) for value in (one, other)]
        sequences = isinstance(one, list | tuple) and isinstance(other, list | tuple)
        if not comparable(*arrays) or (sequences and arrays[0].shape != arrays[1].shape):
            return otherwise()
        return compare(
            *(array if array.ndim else value for array, value in zip(arrays, (one, other), strict=True)), *rest, **named
        )

    return strict


def main(arguments: list[str]) -> None:
    """Judge the one job that comes in."""
    read, write, seconds, wall_seconds, memory = arguments
    die_with_parent()
    hide_memory()
    job = json.loads(sys.stdin.buffer.read())
    verdict_sink = os.dup(1)
    # Tests may print.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    limit_resources(float(seconds), int(memory))
    exits = bool(_EXPECTS_EXIT.search(job["tests"]))
    code = Code(os.fdopen(int(read), "rb"), os.fdopen(int(write), "wb"), exits)

    def too_late(number: int, frame: object) -> None:
        raise code.fail(f"{float(wall_seconds):g} seconds of wall time are over")

    # Ends the wait for an answer that does not come; tests that do not let go are ended from outside.
    signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, float(wall_seconds))
    verdict = judged(job, code)
    signal.setitimer(signal.ITIMER_REAL, 0)
    with os.fdopen(verdict_sink, "wb") as sink:
        sink.write(json.dumps({"nonce": job["nonce"], **verdict}).encode())
        sink.flush()
        # Neither the tests nor what they imported have anything left to do here.
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
