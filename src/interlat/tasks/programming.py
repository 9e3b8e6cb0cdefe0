"""Write a Python function: HumanEval (arXiv 2107.03374), HumanEval+ and MBPP+ (arXiv 2108.07732).

The tests of the + are of EvalPlus (arXiv 2305.01210), as it has written them out for the hub, with what its own program
checks besides. It refuses a result of another type or length before it looks whether numbers are close, and asserts
what it has compared. The tests of the hub lack the first everywhere, and the second for three functions of MBPP+ that
may return whatever is true: what these return is never looked at.
"""

import ast
from collections.abc import Mapping
from functools import partial
from typing import Any

from interlat.errors import InputError
from interlat.tasks.base import Task
from interlat.tasks.benchmarks import Benchmark
from interlat.tasks.reading import value_of

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


def _humaneval_task(record: Mapping[str, Any], where: str) -> Task:
    prompt, function = value_of(record, "prompt", where), value_of(record, "entry_point", where)
    request = "Write the Python function that is begun here. Write all that it needs, with its imports."
    tests = complete(f"{value_of(record, 'test', where)}\ncheck({function})\n")
    return Task(
        where,
        f"{request}\n\n```python\n{prompt.strip()}\n```",
        prompt + value_of(record, "canonical_solution", where),
        # Some tests use helper functions from the prompt.
        metadata={"tests": tests, "functions": [function], "before": prompt},
    )


_code = partial(Benchmark, grader="code")
HUMANEVAL = _code("humaneval", "HumanEval (arXiv 2107.03374)", "openai/openai_humaneval", _humaneval_task, 164)
HUMANEVAL_PLUS = _code("humanevalplus", "HumanEval+ (arXiv 2305.01210)", "evalplus/humanevalplus", _humaneval_task, 164)

_SHOWN = 3
"""Assertions that are shown, since a sentence names no function; the same as in LatentMAS (arXiv 2511.20639)."""


def _mbpp_task(record: Mapping[str, Any], where: str) -> Task:
    solution, tests = value_of(record, "code", where), value_of(record, "test", where)
    shown, imports = _lines(record, "test_list", where), _lines(record, "test_imports", where)
    defined = {node.name for node in _tree(solution, f"code of {where}").body if isinstance(node, ast.FunctionDef)}
    called = ast.walk(_tree("\n".join(shown), f"test_list of {where}"))
    functions = defined & {node.id for node in called if isinstance(node, ast.Name)}
    if not functions:
        raise InputError(f"{where} has no function in its code that its test_list calls; correct the record")
    examples = "\n".join(shown[:_SHOWN])
    request = f"{value_of(record, 'prompt', where).strip()} Write Python, with all its imports. It should satisfy"
    tests = complete("\n".join([*imports, tests]))
    metadata = {"tests": tests, "functions": sorted(functions), "before": ""}
    return Task(where, f"{request}\n\n```python\n{examples}\n```", solution, metadata=metadata)


def _lines(record: Mapping[str, Any], name: str, where: str) -> list[str]:
    """The lines of code in a field; none where it is empty or not there."""
    lines = record.get(name) or []
    if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines):
        raise InputError(f"{name} of {where} is {lines!r:.60}, expected a list of lines; correct the record")
    return list(lines)


def _tree(program: str, where: str) -> ast.Module:
    try:
        return ast.parse(program)
    except SyntaxError as error:
        raise InputError(f"the {where} is no Python ({error.msg}); correct the record") from error


MBPP_PLUS = _code("mbppplus", "MBPP+ (arXiv 2305.01210)", "evalplus/mbppplus", _mbpp_task, 378)
