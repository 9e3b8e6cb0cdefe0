"""A question is an environment that ends after one action: the reply, which is graded."""

from collections.abc import Mapping, Sequence
from typing import Any

from interlat.environments.protocol import Item, Outcome
from interlat.errors import InputError
from interlat.tasks.base import Task, TaskSet
from interlat.tasks.grading import extracted_answer, grade
from interlat.tasks.parallel import map_in_order
from interlat.tasks.sandbox.execution import Limits

PLACE = "{text}"


class QuestionEnvironment:
    """The questions of a benchmark or of any other task set, graded one reply each.

    Args:
        tasks: the questions; each needs an answer to be graded against.
        template: what the receiver reads, with ``{text}`` where the question goes.
        limits: what a program may take, in tasks that ask for one.
        workers: replies that are graded at once.

    Raises:
        InputError: a task has no answer.
    """

    reply_tokens = 1024

    def __init__(
        self, name: str, tasks: TaskSet, *, template: str = PLACE, limits: Limits | None = None, workers: int = 2
    ) -> None:
        self.name, self.template, self.limits, self.workers = name, template, limits or Limits(), workers
        self.origin: Mapping[str, Any] = dict(tasks.origin)
        without = next((task for task in tasks.tasks if not task.answer.strip()), None)
        if without is not None:
            raise InputError(f"{without.id} has no answer to grade against; add it, or leave the task out")
        self._tasks = {task.id: task for task in tasks.tasks}

    def items(self) -> Sequence[Item]:
        return [
            Item(
                id=task.id,
                question=task.text,
                notes=task.notes,
                everything=task.told,
                split=task.split,
                task_type=task.task_type,
                family=(task.task_type, task.text),
                facts={"answer": task.answer, **_known(task)},
            )
            for task in self._tasks.values()
        ]

    def start(self, items: Sequence[Item]) -> Sequence[Outcome]:
        return [Outcome(self.template.replace(PLACE, item.question)) for item in items]

    def step(self, items: Sequence[Item], replies: Sequence[str]) -> Sequence[Outcome]:
        def graded(pair: tuple[Item, str]) -> Outcome:
            item, reply = pair
            task = self._tasks[item.id]
            verdict, given = grade(reply, task, self.limits), extracted_answer(reply, task)
            facts = {
                "given": given or "",
                "how": verdict.how,
                "reason": verdict.reason,
                "isolation": list(verdict.isolation),
            }
            return Outcome("", True, verdict.correct, float(verdict.correct), steps=1, facts=facts)

        return list(map_in_order(graded, zip(items, replies, strict=True), self.workers))

    def close(self) -> None:
        pass


def _known(task: Task) -> dict[str, Any]:
    """What results are also counted by, where it is known."""
    level = task.metadata.get("level")
    return {} if level is None else {"level": level}
