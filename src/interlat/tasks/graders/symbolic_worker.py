"""The process that compares expressions: ``python -m interlat.tasks.graders.symbolic_worker MEMORY``.

One JSON line a request on standard input, ``[right answer, found answer]``; one line an answer: true, false, or null
for what cannot be read as an expression. The first line says that it is ready.
"""

import json
import logging
import os
import resource
import sys
from typing import Any


def compare(gold: str, found: str) -> bool | None:
    """Whether two answers in plain LaTeX are the same expression, by math-verify.

    Args:
        gold: the right answer; it goes first, since math-verify is not symmetric.
        found: the answer of a reply.
    """
    from math_verify import LatexExtractionConfig, parse, verify

    # Only as LaTeX: its other way takes the first number of what it cannot read, so that "7y-2/{" would be 7.
    gold_parsed, found_parsed = (
        parse(f"${text}$", [LatexExtractionConfig()], parsing_timeout=None) for text in (gold, found)
    )
    # A text alone means that it could not be read as an expression.
    if any(all(isinstance(part, str) for part in parsed) for parsed in (gold_parsed, found_parsed)):
        return None
    same: Any = verify(gold_parsed, found_parsed, timeout_seconds=None, float_rounding=15, allow_set_relation_comp=True)
    return bool(same)


def main(arguments: list[str]) -> None:
    """Answer until standard input ends."""
    memory = int(arguments[0])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    # It warns once a process that its time-out is off; the one who asks ends this process instead.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    answers = os.fdopen(os.dup(1), "w")
    # What libraries print is no answer.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    compare("1", "1")
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        try:
            same = compare(*json.loads(line))
        except (MemoryError, RecursionError, ArithmeticError):
            same = None
        print(json.dumps(same), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
