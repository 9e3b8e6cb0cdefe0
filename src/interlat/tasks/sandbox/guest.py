"""The process of the generated code: it confines itself, runs the code, and then answers calls with plain data.

``python -I -B -m interlat.tasks.sandbox.guest READ WRITE PATIENCE MEMORY``; the numbers are two open files, seconds and
bytes. The code is free to take everything here apart: all it reaches by that is the data it sends.
"""

import builtins
import os
import sys
import types
from collections.abc import Callable
from typing import Any, BinaryIO

from interlat.tasks.sandbox.confinement import confine, die_with_parent, limit_resources
from interlat.tasks.sandbox.plain import NotPlain, from_plain, receive, send, to_plain

LONGEST_REASON = 500


def serve(source: BinaryIO, sink: BinaryIO, isolation: list[str]) -> None:
    """Run the code that comes first, say how that went, and answer calls until the other side leaves."""
    program = receive(source)
    module = types.ModuleType("solution")
    # Looked up by classes and pickles that the code defines.
    sys.modules["solution"] = module
    try:
        exec(compile(program, "solution", "exec"), vars(module))
    except BaseException as error:
        send(sink, {"isolation": isolation, **_failure(error)})
        return
    send(sink, {"isolation": isolation})
    while True:
        try:
            call = receive(source)
        except EOFError:
            return
        send(sink, _answer(vars(module).get(call["name"]), from_plain(call["values"]), from_plain(call["named"])))


def _answer(function: Callable[..., Any] | None, values: list[Any], named: dict[str, Any]) -> dict[str, Any]:
    try:
        if function is None:
            raise NameError("the code does not define it")
        return {"result": to_plain(function(*values, **named))}
    except NotPlain as error:
        return {"error": "NotPlain", "reason": str(error)[:LONGEST_REASON]}
    except BaseException as error:
        return _failure(error)


def _failure(error: BaseException) -> dict[str, str]:
    kind = next((k.__name__ for k in type(error).__mro__ if vars(builtins).get(k.__name__) is k), "Exception")
    try:
        reason = str(error)[:LONGEST_REASON]
    except BaseException:
        reason = ""
    return {"error": kind, "reason": reason}


def main(arguments: list[str]) -> None:
    """Confine this process and serve."""
    read, write, patience, memory = arguments
    die_with_parent()
    source, sink = os.fdopen(int(read), "rb"), os.fdopen(int(write), "wb")
    limit_resources(float(patience), int(memory))
    serve(source, sink, confine())


if __name__ == "__main__":
    main(sys.argv[1:])
    # Nothing that the code has registered for the end is run.
    os._exit(0)
