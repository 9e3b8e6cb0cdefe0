"""Tests as EvalPlus (arXiv 2305.01210) has written them out for the hub, with what its own program checks besides.

Its program refuses a result of another type or length before it looks whether numbers are close, and asserts what it
has compared. The tests of the hub lack the first everywhere, and the second for three functions of MBPP+ that may
return whatever is true: what these return is never looked at.
"""

import ast

_PARAMETERS = ["out", "exp", "atol"]
_TYPES = "assert type(out) == type(exp) and (not isinstance(exp, (list, tuple)) or len(out) == len(exp))"
_COMPARED = "assert exact_match"


def complete(tests: str) -> str:
    """The tests with both checks in their ``assertion``; others as they are."""
    if "def assertion(" not in tests:
        return tests
    lines = tests.split("\n")
    # From the end, so that the numbers of lines stay true.
    for node in reversed(ast.parse(tests).body):
        if isinstance(node, ast.FunctionDef) and [one.arg for one in node.args.args] == _PARAMETERS:
            checks = [inner for inner in ast.walk(node) if isinstance(inner, ast.Assert)]
            names = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
            assigned = {one.id for one in names if isinstance(one.ctx, ast.Store)}
            if not checks and "exact_match" in assigned and node.end_lineno:
                lines.insert(node.end_lineno, f"{' ' * node.body[0].col_offset}{_COMPARED}")
            for close in reversed(checks):
                # Where sets are compared, lists and tuples may stand for each other.
                if "allclose" in ast.unparse(close) and "out" not in assigned:
                    lines.insert(close.lineno - 1, f"{' ' * close.col_offset}{_TYPES}")
    return "\n".join(lines)
