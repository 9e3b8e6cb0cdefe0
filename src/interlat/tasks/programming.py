"""Write a Python function: HumanEval (arXiv 2107.03374), HumanEval+ and MBPP+ (arXiv 2108.07732).

The tests of the + are of EvalPlus (arXiv 2305.01210), as it has written them out for the hub, with what its own program
checks besides. It refuses a result of another type or length before it looks whether numbers are close, and asserts
what it has compared. The tests of the hub lack the first everywhere, and the second for three functions of MBPP+ that
may return whatever is true: what these return is never looked at.
"""

import ast
from collections.abc import Mapping
from typing import Any

from interlat.errors import InputError
from interlat.tasks.base import Task
from interlat.tasks.benchmarks import Benchmark
from interlat.tasks.rows import value_of

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


def _humaneval_task(row: Mapping[str, Any], where: str) -> Task:
    prompt, function = value_of(row, "prompt", where), value_of(row, "entry_point", where)
    return Task(
        id=where,
        text=(
            "Write the Python function that is begun here. Write all that it needs, with its imports.\n\n"
            f"```python\n{prompt.strip()}\n```"
        ),
        answer=prompt + value_of(row, "canonical_solution", where),
        metadata={
            "tests": complete(f"{value_of(row, 'test', where)}\ncheck({function})\n"),
            "functions": [function],
            # Some tests use the helper functions that stand there.
            "before": prompt,
        },
    )


HUMANEVAL = Benchmark(
    "humaneval",
    "HumanEval (arXiv 2107.03374)",
    data="openai/openai_humaneval",
    task_of=_humaneval_task,
    size=164,
    grader="code",
)
HUMANEVAL_PLUS = Benchmark(
    "humanevalplus",
    "HumanEval+ (arXiv 2305.01210)",
    data="evalplus/humanevalplus",
    task_of=_humaneval_task,
    size=164,
    grader="code",
)

_SHOWN = 3
"""Assertions that are shown, since a sentence names no function; the same as in LatentMAS (arXiv 2511.20639)."""


def _mbpp_task(row: Mapping[str, Any], where: str) -> Task:
    solution, tests = value_of(row, "code", where), value_of(row, "test", where)
    shown = row.get("test_list")
    functions = _defined(solution, f"code of {where}") & _named("\n".join(shown or ()), f"test_list of {where}")
    if not functions:
        raise InputError(f"{where} has no function in its code that its test_list calls; correct the row")
    examples = "\n".join(list(shown or ())[:_SHOWN])
    return Task(
        id=where,
        text=(
            f"{value_of(row, 'prompt', where).strip()} Write Python, with all its imports. It should satisfy\n\n"
            f"```python\n{examples}\n```"
        ),
        answer=solution,
        metadata={
            "tests": complete("\n".join([*(row.get("test_imports") or ()), tests])),
            "functions": sorted(functions),
            "before": "",
        },
    )


def _tree(program: str, where: str) -> ast.Module:
    try:
        return ast.parse(program)
    except SyntaxError as error:
        raise InputError(f"the {where} is no Python ({error.msg}); correct the row") from error


def _defined(program: str, where: str) -> set[str]:
    return {node.name for node in _tree(program, where).body if isinstance(node, ast.FunctionDef)}


def _named(program: str, where: str) -> set[str]:
    return {node.id for node in ast.walk(_tree(program, where)) if isinstance(node, ast.Name)}


MBPP_PLUS = Benchmark(
    "mbppplus", "MBPP+ (arXiv 2305.01210)", data="evalplus/mbppplus", task_of=_mbpp_task, size=378, grader="code"
)
