"""Where the tasks of a collection come from, and how a task becomes a prompt."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from interlat.agents.settings import PLACE_OF_TEXT, PLAN_REQUEST, Thinking, with_thinking
from interlat.engine.options import TemplateOptions
from interlat.errors import InputError
from interlat.experiments.household.episodes import read_episodes
from interlat.experiments.household.prompts import room_and_task, scout_prompt
from interlat.files import sha256_of
from interlat.tasks.arithmetic import ArithmeticOptions, arithmetic_problems
from interlat.tasks.base import Grader, Task, TaskSet
from interlat.tasks.benchmarks import BENCHMARKS
from interlat.tasks.conversations import load_conversations
from interlat.tasks.grading import ANSWER_FORMATS, PLACE_OF_FORMAT
from interlat.tasks.hendrycks_math import MATH, load_math
from interlat.tasks.records import RecordFields, load_records

if TYPE_CHECKING:
    from interlat.agents.prompting import PromptMaker

Kind = Literal[
    "alfworld",
    "conversations",
    "arithmetic",
    "records",
    "gsm8k",
    "math",
    "math500",
    "aime2024",
    "aime2025",
    "gpqa",
    "arc_easy",
    "arc_challenge",
    "winogrande",
    "medqa",
    "mbppplus",
    "humaneval",
    "humanevalplus",
]
Ask = Literal["default", "text", "plan", "list", "solve"]

TEMPLATES: dict[Ask, str] = {
    "text": PLACE_OF_TEXT,
    "plan": PLAN_REQUEST,
    "solve": f"{PLACE_OF_TEXT}\n\nThink step by step. {PLACE_OF_FORMAT}",
}
HINT = (
    f"{PLACE_OF_TEXT}\n\nWrite a short plan that would lead somebody else to the solution: which ideas are needed, in "
    "which order. Leave out the calculations and the final answer."
)


@dataclass(frozen=True)
class TaskSource:
    """A set of tasks."""

    kind: Kind
    """alfworld: episodes of authored games (`interlat collect episodes`). conversations: ALFWorld trajectories as
    conversation JSON. arithmetic: generated word problems. records: any JSON, JSONL, Parquet or CSV file or hub data
    set. All others: the benchmarks (`interlat tasks list`)."""
    data: str = ""
    """File, folder or hub id; empty is the benchmark's own place on the hub."""
    split: str = ""
    """Such as train or test; empty is the split that results of a benchmark are reported for, and everything for
    files."""
    name: str = ""
    """Configuration of a hub data set; empty is a benchmark's own."""
    revision: str = ""
    """Revision of a hub data set."""
    subjects: tuple[str, ...] = ()
    """math: only these of the seven subjects."""
    levels: tuple[int, ...] = ()
    """math: only these levels, 1 to 5."""
    fields: RecordFields = field(default_factory=RecordFields)
    """records: which columns hold what."""
    notes: bool = True
    """alfworld: give the sender the scout's private notes; without them it gets the opening text."""
    count: int = 200
    """arithmetic: number of problems."""
    problems: ArithmeticOptions = field(default_factory=ArithmeticOptions)
    """arithmetic: how hard they are, and which."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(f"there are no tasks of kind {self.kind!r}; take one of {', '.join(get_args(Kind))}")
        if not self.data and self.kind in ("alfworld", "conversations", "records"):
            raise InputError(f"tasks of kind {self.kind} have no place of their own; set data to a file or hub id")

    @property
    def grader(self) -> Grader:
        """Who judges replies to the tasks."""
        if self.kind in BENCHMARKS:
            return BENCHMARKS[self.kind].grader
        return self.fields.grader if self.kind == "records" else "mathematics"

    def load(self, ask: Ask) -> TaskSet:
        """The tasks, in the order of their data set.

        Raises:
            InputError: no such data, or it cannot be understood.
        """
        if self.kind == "alfworld":
            return household_tasks(self.data, ask, self.notes)
        if self.kind == "conversations":
            return load_conversations(self.data, self.split)
        if self.kind == "math" and (self.subjects or self.levels):
            data, split = self.data or MATH.data, self.split or MATH.split
            return load_math(data, split, self.subjects, self.levels, self.revision)
        if self.kind in BENCHMARKS:
            return BENCHMARKS[self.kind].load(self.data, self.split, self.name, self.revision)
        if self.kind == "arithmetic":
            return arithmetic_problems(self.count, self.split or "test", self.problems)
        return load_records(self.data, self.split, self.fields, self.name, self.revision)

    def describe(self, origin: Mapping[str, str]) -> dict[str, Any]:
        """What a manifest says of the source; which subset was chosen does not matter for the tasks in it."""
        # A file is known by its content, wherever it lies.
        described: dict[str, Any] = {k: v for k, v in origin.items() if k != "data" or "sha256" not in origin}
        if self.kind == "alfworld":
            described["notes"] = self.notes
        if self.kind == "records":
            described["fields"] = asdict(self.fields)
        return {"kind": self.kind, **described}


def household_tasks(path: str, ask: Ask, notes: bool) -> TaskSet:
    """One task for each stored episode, whose record goes into the metadata: training needs nothing else.

    Args:
        path: ``episodes.jsonl`` of authored games.
        ask: "plan" or "list", see `interlat.experiments.household.prompts.SCOUT_REQUEST`.
        notes: whether the prompt has the private notes and the scout's request, or only the opening text.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no file {path}; make it with `interlat collect episodes`")
    tasks = []
    for record in read_episodes(path):
        scene = {key: value for key, value in record.items() if key != "episodes"}
        for episode in record["episodes"]:
            style = "list" if ask == "list" else "plan"
            opening, evidence = record["opening"], episode["evidence"]
            tasks.append(
                Task(
                    id=f"{record['item']}#{episode['draw']}",
                    text=scout_prompt(opening, evidence, style) if notes else room_and_task(opening),
                    split=record["split"],
                    task_type=record["task_type"],
                    metadata={"record": scene, "episode": episode},
                )
            )
    return TaskSet(tuple(tasks), {"data": path, "sha256": sha256_of(Path(path).read_bytes())})


@dataclass(frozen=True)
class PromptOptions:
    """How a task becomes a prompt."""

    ask: Ask = "default"
    """plan, or solve (with the answer in a box), or the text alone; list: an ALFWorld plan that names every place.
    By default a plan for the household and MATH, a solution for GSM8K, the text alone for records."""
    template: str = ""
    """A template of your own with ``{text}`` where the task goes; other braces mean nothing."""
    template_file: str = ""
    """The same in a file."""
    system: str = ""
    """System turn; empty is none."""
    chat: bool = True
    """Use the tokenizer's chat template; False gives the model the bare text, behind the token that its tokenizer
    begins texts with, if it has one."""
    thinking: Thinking = "default"
    """Another name of template.enable_thinking: on or off; default leaves it to that."""
    allow_special_tokens: bool = False
    """Let control tokens that are written in a task, such as ``<|im_end|>``, be control tokens instead of words."""

    def __post_init__(self) -> None:
        if self.template and self.template_file:
            raise InputError("set template or template_file, not both")
        if self.template and PLACE_OF_TEXT not in self.template:
            raise InputError(f"the template {self.template!r} has no {PLACE_OF_TEXT}; write where the task goes")

    def maker(self, template: str, tokenizer: Any, options: TemplateOptions | None = None) -> "PromptMaker":
        """Makes the prompts of one model, with a template as `resolved_template` gives it."""
        from interlat.agents.prompting import PromptMaker

        options = with_thinking(self.thinking, options or TemplateOptions())
        return PromptMaker(
            template,
            tokenizer,
            system=self.system,
            chat=self.chat,
            options=options,
            allow_special_tokens=self.allow_special_tokens,
        )

    def resolved_ask(self, kind: Kind) -> Ask:
        """What is asked for, with the default of a kind of task filled in."""
        if self.ask != "default":
            if self.ask == "list" and kind != "alfworld":
                raise InputError("only the household plan can be asked for as a list; use plan, solve or text")
            return self.ask
        asks: dict[Kind, Ask] = {"alfworld": "plan", "conversations": "plan", "math": "plan", "records": "text"}
        return asks.get(kind, "solve")

    def resolved_template(self, source: TaskSource) -> str:
        """The text of the user turn, with ``{text}`` where the task goes.

        Raises:
            InputError: the file is missing or has no place for the task.
        """
        if self.template:
            return self.template
        if self.template_file:
            path = Path(self.template_file)
            if not path.is_file():
                raise InputError(f"there is no template file {path}; check the path")
            template = path.read_text(encoding="utf-8")
            if PLACE_OF_TEXT not in template:
                raise InputError(f"{path} has no {PLACE_OF_TEXT}; write where the task goes")
            return template
        ask = self.resolved_ask(source.kind)
        if source.kind == "alfworld" and source.notes and ask in ("plan", "list"):
            return TEMPLATES["text"]  # the scout's own prompt ends with its request
        if source.kind == "math" and ask == "plan":
            return HINT
        return TEMPLATES["plan" if ask == "list" else ask].replace(PLACE_OF_FORMAT, ANSWER_FORMATS[source.grader])


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
