"""Whether the program in a reply passes the tests of its task, in the sandbox."""

from collections.abc import Iterable, Mapping
from typing import Any

from interlat.errors import InputError
from interlat.tasks.base import Task
from interlat.tasks.graders.programs import program_of
from interlat.tasks.graders.verdict import Grader, Verdict, text_in
from interlat.tasks.sandbox.execution import Job, Limits, execute

WRONG_RESULTS: tuple[object, ...] = ("nothing of the kind", [])
"""What the functions of a corrupted program return; numpy calls an empty list close to every number."""


class Code(Grader):
    """Runs the program in a reply against tests: those in the metadata of a task, with ``functions`` and ``before``,
    see `interlat.tasks.sandbox.execution.Job`. Raises InputError where the system is neither Linux nor macOS."""

    answer_format = "End with the whole program in one block of Python between ```python and ```."

    def grade(self, reply: str, task: Task, limits: Limits | None = None) -> Verdict:
        functions, before = tuple(task.metadata["functions"]), str(task.metadata.get("before", ""))
        program = program_of(reply, functions, before)
        if program is None:
            return Verdict(False, "unparsed", "there is no program in the reply")
        found = execute(Job(program, task.metadata["tests"], functions, before), limits)
        return Verdict(found.passed, "executed", found.reason, found.isolation)

    def extracted(self, reply: str, task: Task) -> str | None:
        return program_of(reply, tuple(task.metadata["functions"]))

    def reference(self, task: Task) -> str:
        return f"```python\n{task.answer}\n```"

    def corruptions(self, task: Task) -> Iterable[str]:
        for result in WRONG_RESULTS:
            body = f"(*values, **named):\n    return {result!r}\n"
            functions = (f"\n\ndef {name}{body}" for name in task.metadata["functions"])
            yield f"```python\n{task.answer}{''.join(functions)}```"

    def task_of(self, line: Mapping[str, Any], kind: str, identifier: str) -> Task:
        functions = line.get("functions")
        if not isinstance(functions, list) or not all(isinstance(name, str) for name in functions):
            raise InputError(f"functions is {functions!r}, expected a list of the names that the tests call")
        before = text_in(line, "before") if "before" in line else ""
        metadata = {"tests": text_in(line, "tests"), "functions": functions, "before": before}
        return Task(identifier, "", metadata=metadata, grader=kind)


CODE = Code()
