"""`interlat tasks verify`."""

import json
import textwrap
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from interlat.cli.tasks_show import ChosenTasks
from interlat.progress import gathered, say
from interlat.tasks.records import AMBIGUOUS
from interlat.tasks.sandbox.execution import Limits

if TYPE_CHECKING:
    from interlat.tasks.verification import Verification

NAMED_FAILURES = 10
LONGEST_SHOWN = 70


@dataclass(frozen=True)
class TaskVerification:
    """What the graders said of the answers of a data set, and of corrupted ones."""

    found: "list[Verification]"
    origin: dict[str, Any]
    """Where the tasks came from."""
    seconds: float

    @property
    def refused(self) -> "list[Verification]":
        """Right answers that were refused."""
        return [one for one in self.found if not one.reference.correct]

    @property
    def accepted(self) -> "list[Verification]":
        """Wrong answers that were accepted."""
        return [one for one in self.found if one.corrupted.correct]

    @property
    def unsure(self) -> list[Any]:
        """Tasks whose answer can be read in more than one way."""
        return [one.task for one in self.found if AMBIGUOUS in one.task.metadata]

    def summary(self) -> dict[str, Any]:
        """The counts, as JSON."""
        return {
            "items": len(self.found),
            "references_accepted": len(self.found) - len(self.refused),
            "corrupted_rejected": len(self.found) - len(self.accepted),
            "unsure": len(self.unsure),
            "how": dict(Counter(one.reference.how for one in self.found)),
            "isolation": sorted({part for one in self.found for part in one.reference.isolation}),
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True)
class VerifyTasks(ChosenTasks):
    """Grade the answers of a data set, which must be right, and corrupted ones, which must be wrong."""

    limit: int | None = None
    """Use a fixed random subset of this size."""
    workers: int = 2
    """Answers that are graded at once."""
    limits: Limits = field(default_factory=Limits)
    """What a program may take."""

    def run(self) -> TaskVerification:
        """Grade."""
        from interlat.tasks.sources import some_tasks
        from interlat.tasks.verification import verified

        began = time.perf_counter()
        source = self.load()
        tasks = [task for _, task in some_tasks(source, self.limit)]
        found = gathered(verified(tasks, self.limits, self.workers), len(tasks), "tasks")
        return TaskVerification(found, dict(source.origin), time.perf_counter() - began)

    def report(self, result: TaskVerification) -> int:
        """The failures and the counts; 1 if a right answer is refused or a wrong one accepted."""
        refused, accepted = result.refused, result.accepted
        if self.json:
            for one in result.found:
                if one in refused or one in accepted:
                    print(json.dumps(asdict(one), ensure_ascii=False))
            print(json.dumps({"tasks": self.name, **result.origin, **result.summary()}, ensure_ascii=False))
        for one in refused[:NAMED_FAILURES]:
            reason = one.reference.reason or one.reference.how
            say(f"refused  {one.task.id}: its own answer {_short(one.task.answer)} ({reason})")
        for one in accepted[:NAMED_FAILURES]:
            say(f"accepted {one.task.id}: {_short(one.corruption)} instead of {_short(one.task.answer)}")
        for task in result.unsure[:NAMED_FAILURES]:
            say(f"unsure   {task.id}: {task.answer} is read as its answer; it could also be {task.metadata[AMBIGUOUS]}")
        how = Counter(one.reference.how for one in result.found).most_common()
        say(
            f"{len(result.found)} tasks of {self.name}: {len(result.found) - len(refused)} answers accepted "
            f"({', '.join(f'{count} {kind}' for kind, count in how)}), "
            f"{len(result.found) - len(accepted)} corrupted ones rejected"
        )
        return int(bool(refused or accepted))


def _short(text: str) -> str:
    return textwrap.shorten(text, LONGEST_SHOWN, placeholder="...")
