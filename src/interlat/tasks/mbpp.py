"""MBPP+ (arXiv 2108.07732 with the tests of EvalPlus, arXiv 2305.01210): small programs from one sentence."""

import ast
from collections.abc import Mapping
from typing import Any

from interlat.errors import InputError
from interlat.tasks.base import Task
from interlat.tasks.benchmark import Benchmark
from interlat.tasks.evalplus import complete
from interlat.tasks.records import value_of

_SHOWN = 3
"""Assertions that are shown, since a sentence names no function; the same as in LatentMAS (arXiv 2511.20639)."""


def _task(row: Mapping[str, Any], where: str) -> Task:
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
    "mbppplus", "MBPP+ (arXiv 2305.01210)", data="evalplus/mbppplus", task_of=_task, size=378, grader="code"
)
