"""Where the tasks of a run come from.

A kind of task source is a plug-in: another package adds one by an entry point of ``interlat.task_sources`` that names a
`SourceKind`. Every benchmark is a kind, too.
"""

import dataclasses
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal

from interlat.config import did_you_mean
from interlat.errors import InputError
from interlat.registry import Registry
from interlat.tasks.arithmetic import ArithmeticOptions, arithmetic_problems
from interlat.tasks.base import Task, TaskSet
from interlat.tasks.benchmarks import BENCHMARKS
from interlat.tasks.conversations import load_conversations
from interlat.tasks.grading import PLACE_OF_FORMAT
from interlat.tasks.hendrycks_math import MATH
from interlat.tasks.records import RecordFields, load_records
from interlat.tasks.secret import SecretOptions, secret_tasks

PLACE_OF_TEXT = "{text}"
"""Where a prompt has the text of a task."""
PLAN_REQUEST = f"{PLACE_OF_TEXT}\n\nWrite a short step-by-step plan for this task."

Ask = Literal["default", "text", "plan", "list", "solve"]

TEMPLATES: dict[Ask, str] = {
    "text": PLACE_OF_TEXT,
    "plan": PLAN_REQUEST,
    "list": PLAN_REQUEST,
    "solve": f"{PLACE_OF_TEXT}\n\nThink step by step. {PLACE_OF_FORMAT}",
}
HINT = (
    f"{PLACE_OF_TEXT}\n\nWrite a short plan that would lead somebody else to the solution: which ideas are needed, in "
    "which order. Leave out the calculations and the final answer."
)


@dataclass(frozen=True)
class TaskSource:
    """A set of tasks. Setting a field that belongs to another kind is an error."""

    kind: str
    """Kind of the tasks. conversations: ALFWorld trajectories as conversation JSON.
    arithmetic: generated word problems. secret: generated numbers, names and code words that only the sender is told.
    records: a JSON, JSONL, Parquet or CSV file, or a hub data set.
    alfworld: episodes of authored games (`interlat collect episodes`).
    Or the name of a benchmark (`interlat tasks list`) or of another package's source."""
    data: str = ""
    """File, folder or hub id. Empty uses the benchmark's own hub data set."""
    split: str = ""
    """Split, such as train or test.
    Empty uses the split that results of a benchmark are reported for, and all of a file."""
    name: str = ""
    """Configuration of a hub data set. Empty uses the benchmark's own."""
    revision: str = ""
    """Revision of a hub data set."""
    subjects: tuple[str, ...] = ()
    """math: use only these of the seven subjects. Empty uses all."""
    levels: tuple[int, ...] = ()
    """math: use only these levels, 1 to 5. Empty uses all."""
    fields: RecordFields = field(default_factory=RecordFields)
    """records: which columns hold what."""
    notes: bool = True
    """alfworld, records, arithmetic, secret: give the sender its private notes.
    Without them it gets the same text as the receiver."""
    count: int = 200
    """arithmetic, secret: number of tasks."""
    problems: ArithmeticOptions = field(default_factory=ArithmeticOptions)
    """arithmetic: which problems are generated."""
    secrets: SecretOptions = field(default_factory=SecretOptions)
    """secret: which secrets are generated."""

    def __post_init__(self) -> None:
        if self.kind not in TASK_SOURCES:
            names = TASK_SOURCES.names()
            guess = did_you_mean(self.kind, names)
            raise InputError(f"kind is {self.kind!r}, expected one of {', '.join(names)}{guess}; correct it")
        takes = self.how.takes
        for one in dataclasses.fields(self)[1:]:
            default = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
            if one.name not in takes and getattr(self, one.name) != default:
                raise InputError(
                    f"{one.name} is set, and tasks of kind {self.kind} take {', '.join(takes)}; leave {one.name} out"
                )
        if self.how.needs_data and not self.data:
            raise InputError(f"tasks of kind {self.kind} have no place of their own; set data to a file or hub id")

    @property
    def how(self) -> "SourceKind":
        """What its kind says."""
        return TASK_SOURCES[self.kind]

    @property
    def grader(self) -> str:
        """Name of the grader that judges replies to the tasks."""
        return self.how.grader(self)

    def load(self, ask: Ask) -> TaskSet:
        """The tasks, in the order of their data set.

        Raises:
            InputError: no such data, or it cannot be understood.
        """
        found = self.how.load(self, ask)
        return found if self.notes else replace(found, tasks=tuple(replace(task, notes="") for task in found.tasks))

    def describe(self, origin: Mapping[str, str]) -> dict[str, Any]:
        """What a manifest says of the source; which subset was chosen does not matter for the tasks in it."""
        # A file is known by its content, wherever it lies.
        described = {k: v for k, v in origin.items() if k != "data" or "sha256" not in origin}
        without = {} if self.notes else {"notes": False}
        return {"kind": self.kind, **described, **self.how.described(self)} | without

    @property
    def record(self) -> dict[str, Any]:
        """All fields as hashes of runs have them: without what older versions did not know and is not used."""
        record = asdict(self) | {"fields": self.fields.record}
        if not self.problems.split_facts:
            del record["problems"]["split_facts"]
        if self.secrets == SecretOptions():
            del record["secrets"]
        return record


class SourceKind:
    """One kind of task source: how its tasks are read, and what is asked for."""

    takes: ClassVar[tuple[str, ...]] = ("data", "split", "name", "revision")
    """The fields of a `TaskSource` that it looks at."""
    needs_data: ClassVar[bool] = False
    """Whether ``data`` must be set."""
    ask: ClassVar[Ask] = "solve"
    """What is asked for by default."""
    asks: ClassVar[tuple[Ask, ...]] = ("text", "plan", "solve")
    """What can be asked for."""

    def load(self, source: TaskSource, ask: Ask) -> TaskSet:
        """The tasks, in the order of their data set."""
        raise NotImplementedError

    def grader(self, source: TaskSource) -> str:
        """Name of the grader that judges replies to the tasks."""
        return "mathematics"

    def described(self, source: TaskSource) -> dict[str, Any]:
        """What a manifest says besides the kind, the origin and the lack of notes."""
        return {}

    def template(self, source: TaskSource, ask: Ask) -> str:
        """The user turn, with ``{text}`` where the task goes and ``{format}`` for how answers are to be written."""
        return TEMPLATES[ask]


class BenchmarkKind(SourceKind):
    """The tasks of a benchmark."""

    def load(self, source: TaskSource, ask: Ask) -> TaskSet:
        return BENCHMARKS[source.kind].load(source.data, source.split, source.name, source.revision)

    def grader(self, source: TaskSource) -> str:
        return BENCHMARKS[source.kind].grader


class MathKind(BenchmarkKind):
    """MATH, of which a sender writes a hint."""

    takes = (*SourceKind.takes, "subjects", "levels")
    ask = "plan"

    def load(self, source: TaskSource, ask: Ask) -> TaskSet:
        return MATH.load(source.data, source.split, source.name, source.revision, source.subjects, source.levels)

    def template(self, source: TaskSource, ask: Ask) -> str:
        return HINT if ask == "plan" else TEMPLATES[ask]


class ConversationsKind(SourceKind):
    """Trajectories as conversations."""

    takes, needs_data, ask = ("data", "split"), True, "plan"

    def load(self, source: TaskSource, ask: Ask) -> TaskSet:
        return load_conversations(source.data, source.split)


class ArithmeticKind(SourceKind):
    """Generated word problems."""

    takes = ("split", "count", "problems", "notes")

    def load(self, source: TaskSource, ask: Ask) -> TaskSet:
        return arithmetic_problems(source.count, source.split or "test", source.problems)


class SecretKind(SourceKind):
    """Generated secrets that only the sender is told."""

    takes, ask = ("split", "count", "secrets", "notes"), "text"

    def load(self, source: TaskSource, ask: Ask) -> TaskSet:
        return secret_tasks(source.count, source.split or "test", source.secrets)


class RecordsKind(SourceKind):
    """Any data set."""

    takes, needs_data, ask = (*SourceKind.takes, "fields", "notes"), True, "text"

    def load(self, source: TaskSource, ask: Ask) -> TaskSet:
        return load_records(source.data, source.split, source.fields, source.name, source.revision)

    def grader(self, source: TaskSource) -> str:
        return source.fields.grader

    def described(self, source: TaskSource) -> dict[str, Any]:
        return {"fields": source.fields.record}


class TaskSources(Registry[SourceKind]):
    """Kinds of task sources; every benchmark is one, too."""

    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*super().names(), *BENCHMARKS.names())))

    def __getitem__(self, name: str) -> SourceKind:
        return super().__getitem__(name) if name in super().names() or name not in BENCHMARKS else BenchmarkKind()


CONVERSATIONS, ARITHMETIC, RECORDS, MATH_PROBLEMS = ConversationsKind(), ArithmeticKind(), RecordsKind(), MathKind()
SECRETS = SecretKind()
_HOMES = {
    "conversations": "CONVERSATIONS",
    "arithmetic": "ARITHMETIC",
    "records": "RECORDS",
    "math": "MATH_PROBLEMS",
    "secret": "SECRETS",
}
TASK_SOURCES = TaskSources("task_sources", {name: f"{__name__}:{home}" for name, home in _HOMES.items()})


def some_tasks(tasks: TaskSet, limit: int | None) -> list[tuple[int, Task]]:
    """Tasks with their places in the set: ``limit`` of them by chance, always the same ones, or all."""
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}, expected at least 1; leave it out to take all tasks")
    numbered = list(enumerate(tasks.tasks))
    if limit is None or limit >= len(numbered):
        return numbered
    # Shuffled and cut, so that a larger limit keeps what a smaller one chose.
    random.Random("some of the tasks").shuffle(numbered)
    return sorted(numbered[:limit], key=lambda pair: pair[0])
