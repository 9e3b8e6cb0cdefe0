"""The process that runs the tests of a data set; the functions that they test are in another process.

``python -I -B -m interlat.tasks.sandbox.judge READ WRITE PATIENCE MEMORY``. The job comes on standard input: the tests,
the text that comes before the generated code (for its helper functions), the names of the functions to be tested, and a
nonce. The verdict goes to standard output behind that nonce, which the generated code never gets to see.
"""

import builtins
import json
import os
import signal
import sys
from typing import Any, BinaryIO

from interlat.tasks.sandbox.confinement import die_with_parent, hide_memory, limit_resources
from interlat.tasks.sandbox.plain import NotPlain, from_plain, receive, send, to_plain


class GuestError(Exception):
    """The process of the generated code is gone, or does not keep to plain data."""


class Proxy:
    """A function of the generated code, called with plain data; what it does to its arguments stays on its side."""

    def __init__(self, name: str, source: BinaryIO, sink: BinaryIO) -> None:
        self.name, self._source, self._sink = name, source, sink
        self.__name__ = self.__qualname__ = name

    def __call__(self, *values: Any, **named: Any) -> Any:
        try:
            send(self._sink, {"name": self.name, "values": to_plain(list(values)), "named": to_plain(named)})
            answer = receive(self._source)
            if not isinstance(answer, dict):
                raise NotPlain("no answer")
            if "error" in answer:
                raise _known_error(str(answer["error"]), str(answer.get("reason", "")))
            return from_plain(answer.get("result"))
        except (EOFError, BrokenPipeError) as error:
            raise GuestError("the process of the code ended") from error
        except NotPlain as error:
            raise GuestError(f"the code gave {error}") from error


def _known_error(kind: str, reason: str) -> BaseException:
    """An exception of the kind that the code raised; never one that would end this process."""
    found = vars(builtins).get(kind)
    if kind == "NotPlain":
        return GuestError(f"the code gave {reason}")
    if isinstance(found, type) and issubclass(found, Exception):
        try:
            return found(reason)
        except TypeError:
            return Exception(f"{kind}: {reason}")
    return GuestError(f"the code raised {kind}")


def judged(job: dict[str, Any], source: BinaryIO, sink: BinaryIO) -> dict[str, Any]:
    """The verdict about a job."""
    try:
        send(sink, job["program"])
        began = receive(source)
    except (EOFError, BrokenPipeError, NotPlain, TimeoutError) as error:
        return {"passed": False, "reason": f"the code ended before it was tested ({type(error).__name__})"}
    isolation = [str(name) for name in began.get("isolation", [])] if isinstance(began, dict) else []
    verdict = {"passed": False, "reason": "", "isolation": isolation}
    if not isinstance(began, dict) or "error" in began:
        kind, reason = (str(began.get(k, "")) for k in ("error", "reason")) if isinstance(began, dict) else ("", "")
        return {**verdict, "reason": f"{kind}: {reason}"}
    names: dict[str, Any] = {"__name__": "tests"}
    try:
        exec(compile(job["before"], "before", "exec"), names)
        names.update({name: Proxy(name, source, sink) for name in job["functions"]})
        exec(compile(job["tests"], "tests", "exec"), names)
    except BaseException as error:
        return {**verdict, "reason": f"{type(error).__name__}: {error}"[:500]}
    return {**verdict, "passed": True}


def _too_late(number: int, frame: object) -> None:
    raise TimeoutError("the time is over")


def main(arguments: list[str]) -> None:
    """Judge the one job that comes in."""
    read, write, patience, memory = arguments
    die_with_parent()
    hide_memory()
    job = json.loads(sys.stdin.buffer.read())
    verdict_sink = os.dup(1)
    # Tests may print.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    limit_resources(float(patience), int(memory))
    # Ends the wait for an answer that does not come; what the tests catch of it is ended from outside.
    signal.signal(signal.SIGALRM, _too_late)
    signal.setitimer(signal.ITIMER_REAL, float(patience))
    verdict = judged(job, os.fdopen(int(read), "rb"), os.fdopen(int(write), "wb"))
    with os.fdopen(verdict_sink, "wb") as sink:
        sink.write(json.dumps({"nonce": job["nonce"], **verdict}).encode())
        sink.flush()
        # Neither the tests nor what they imported have anything left to do here.
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
