"""`interlat tasks list` and `interlat tasks show`."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from interlat.config import read_config
from interlat.errors import InputError
from interlat.progress import say
from interlat.tasks.benchmarks import BENCHMARKS, benchmark_named

if TYPE_CHECKING:
    from interlat.tasks.base import TaskSet


@dataclass(frozen=True)
class ListTasks:
    """The benchmarks that tasks can be taken from."""

    json: bool = False
    """Print one JSON line a benchmark on stdout."""

    def run(self) -> list[dict[str, object]]:
        """What is known of each benchmark."""
        fields = ("name", "title", "data", "configuration", "split", "size")
        benchmarks = map(BENCHMARKS.__getitem__, BENCHMARKS.names())
        return [{**{key: getattr(one, key) for key in fields}, "grader": one.grader} for one in benchmarks]

    def report(self, benchmarks: list[dict[str, object]]) -> None:
        """List them."""
        if self.json:
            for one in benchmarks:
                print(json.dumps(one))
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in ("name", "grader", "tasks", "split", "data set of the hub"):
            table.add_column(column, justify="right" if column == "tasks" else "left", overflow="fold")
        for one in benchmarks:
            place = f"{one['data']} {one['configuration']}".rstrip()
            table.add_row(*map(str, (one["name"], one["grader"], one["size"], one["split"])), Text(place))
        Console().print(table)
        say("any other questions: `interlat tasks verify FILE.yaml`, where the file maps columns, see docs/guide.md")


@dataclass(frozen=True)
class ChosenTasks:
    """Tasks of a benchmark, or of a file that describes a source."""

    name: Positional[str]
    """Name of a benchmark, or a YAML file with the fields of a task source, such as ``kind: records``."""
    file: str = ""
    """A local file or folder in the form of the hub, or another data set of the hub."""
    split: str = ""
    """Another split than the one that results are reported for."""
    revision: str = ""
    """Branch, tag or commit on the hub."""
    json: bool = False
    """Print JSON lines on stdout."""

    def load(self) -> "TaskSet":
        """The tasks.

        Raises:
            InputError: there is no such benchmark, file or data.
        """
        if not self.name.endswith((".yaml", ".yml")):
            return benchmark_named(self.name).load(self.file, self.split, revision=self.revision)
        if self.file or self.split or self.revision:
            raise InputError(f"{self.name} says where its tasks are; set data, split and revision in that file")
        from interlat.tasks.sources import TaskSource

        return read_config(TaskSource, self.name).load("solve")


@dataclass(frozen=True)
class ShowTasks(ChosenTasks):
    """What a benchmark asks."""

    RENAMED: ClassVar = {"count": "limit"}
    limit: int = 3
    """Show this many tasks, a fixed random subset."""

    def run(self) -> "TaskSet":
        """The tasks."""
        return self.load()

    def report(self, tasks: "TaskSet") -> None:
        """Show some tasks as an agent sees them, with their answers."""
        from interlat.tasks.grading import GRADERS
        from interlat.tasks.sources import some_tasks

        console = Console()
        for _, task in some_tasks(tasks, self.limit):
            if self.json:
                print(json.dumps(asdict(task), ensure_ascii=False))
                continue
            console.rule(Text(task.id), align="left")
            print(f"{task.text}\n{GRADERS[task.grader].answer_format}\n\nanswer: {task.answer}")
        say(f"{len(tasks.tasks)} tasks; {', '.join(f'{key} {value}' for key, value in tasks.origin.items())}")
