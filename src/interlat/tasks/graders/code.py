"""Whether the program in a reply passes the tests of its task, in the sandbox."""

import ast
import re
from collections.abc import Sequence

from interlat.tasks.base import Task
from interlat.tasks.graders.verdict import Verdict
from interlat.tasks.sandbox.execution import Job, Limits, execute

_FENCE = re.compile(
    r"^[ \t]*```[ \t]*(?P<language>[\w+.-]*)[^\n]*\n(?P<code>.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL
)
_PYTHON = re.compile(r"(?:py|python)[\d.]*|", re.IGNORECASE)


def grade_code(reply: str, task: Task, limits: Limits | None = None) -> Verdict:
    """Run the program in ``reply`` against the tests of ``task``.

    Args:
        reply: all that the model said.
        task: with the metadata ``tests``, ``functions`` and ``before``, see `interlat.tasks.sandbox.execution.Job`.
        limits: what the program may take.

    Raises:
        InputError: the system is neither Linux nor macOS.
    """
    functions = tuple(task.metadata["functions"])
    program = program_of(reply, functions)
    if program is None:
        return Verdict(False, "unparsed", "there is no program in the reply")
    before = str(task.metadata.get("before", ""))
    found = execute(Job(f"{before}\n{program}", task.metadata["tests"], functions, before), limits)
    return Verdict(found.passed, "executed", found.reason, found.isolation)


def program_of(reply: str, functions: Sequence[str]) -> str | None:
    """The program in a reply: the last block of Python that defines what is tested, else the last block of Python.

    A block stands between fences of three backticks; one that is never closed goes to the end. A reply without any
    fence is a program as a whole, if it can be parsed as one and defines something.

    Returns:
        The program, or None where there is none.
    """
    blocks = [match["code"] for match in _FENCE.finditer(reply) if _PYTHON.fullmatch(match["language"])]
    if not blocks:
        return reply if "```" not in reply and _defined(reply) else None
    return next((block for block in reversed(blocks) if set(functions) & _defined(block)), blocks[-1])


def _defined(program: str) -> set[str]:
    """The names that a program defines; none for what is no program."""
    try:
        body = ast.parse(program).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    return names | {target.id for target in targets if isinstance(target, ast.Name)}
