"""The process that compares expressions: ``python -m interlat.tasks.graders.symbolic_worker MEMORY SECONDS``.

One JSON line a request on standard input, ``[right answer, found answer]``; one line an answer: true, false, or null
for what cannot be read as an expression or takes more than SECONDS of the processor's time. That time is not the
clock's, so that an answer does not depend on what else the machine does. The first line says that it is ready.
"""

import json
import logging
import os
import resource
import signal
import sys


class _OutOfTimeError(BaseException):
    """Ends a comparison; no Exception, since sympy and math-verify catch those."""


def compare(gold: str, found: str) -> bool | None:
    """Whether two answers in plain LaTeX are the same expression.

    Args:
        gold: the right answer; it goes first, since the comparison is not symmetric.
        found: the answer of a reply.
    """
    from interlat.tasks.graders.expressions import read, same

    expressions = [read(text) for text in (gold, found)]
    return None if any(expression is None for expression in expressions) else same(*expressions)


def main(arguments: list[str]) -> None:
    """Answer until standard input ends."""
    memory, seconds = int(arguments[0]), float(arguments[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    # It warns once a process that its time-out is off.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    answers = os.fdopen(os.dup(1), "w")
    # What libraries print is no answer.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    compare("1", "1")
    signal.signal(signal.SIGVTALRM, _stop)
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
            same = compare(*json.loads(line))
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        except (_OutOfTimeError, MemoryError, RecursionError, ArithmeticError):
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            same = None
        print(json.dumps(same), file=answers, flush=True)


def _stop(*_: object) -> None:
    raise _OutOfTimeError


if __name__ == "__main__":
    main(sys.argv[1:])
