"""Whether the program in a reply passes the tests of its task, in the sandbox."""

from interlat.tasks.base import Task
from interlat.tasks.graders.programs import program_of
from interlat.tasks.graders.verdict import Verdict
from interlat.tasks.sandbox.execution import Job, Limits, execute


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
    before = str(task.metadata.get("before", ""))
    program = program_of(reply, functions, before)
    if program is None:
        return Verdict(False, "unparsed", "there is no program in the reply")
    found = execute(Job(program, task.metadata["tests"], functions, before), limits)
    return Verdict(found.passed, "executed", found.reason, found.isolation)
