"""`interlat tasks ...`: what the benchmarks ask, whether their graders can be trusted, and answers graded."""

import contextlib
import json
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from rich.cells import set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from interlat.config import read_config
from interlat.errors import InputError
from interlat.files import utf8
from interlat.progress import gathered, say
from interlat.tasks.benchmarks import BENCHMARKS, benchmark_named
from interlat.tasks.records import AMBIGUOUS
from interlat.tasks.sandbox.execution import Limits

if TYPE_CHECKING:
    from interlat.tasks.answer_lines import GradedLine
    from interlat.tasks.base import TaskSet
    from interlat.tasks.verification import Verification


@dataclass(frozen=True)
class ListTasks:
    """List the benchmarks that tasks can be taken from."""

    json: bool = False
    """Print one JSON line per benchmark on stdout."""

    def run(self) -> list[dict[str, object]]:
        fields = ("name", "title", "data", "configuration", "split", "size")
        benchmarks = map(BENCHMARKS.__getitem__, BENCHMARKS.names())
        return [{**{key: getattr(one, key) for key in fields}, "grader": one.grader} for one in benchmarks]

    def report(self, benchmarks: list[dict[str, object]]) -> None:
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
        say(
            "any other questions: `interlat tasks verify FILE.yaml`, a file that maps columns; see docs/how-to/tasks.md"
        )


@dataclass(frozen=True)
class ChosenTasks:
    """Tasks of a benchmark, or of a file that describes a source."""

    name: Positional[str]
    """Name of a benchmark, or a YAML file with the fields of a task source, such as ``kind: records``."""
    file: str = ""
    """Local file or folder in the form of the hub's, or another data set of the hub."""
    split: str = ""
    """Split to use. Empty uses the split that results of the benchmark are reported for."""
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
    """Show the questions of a benchmark."""

    RENAMED: ClassVar = {"count": "limit"}
    limit: int = 3
    """Number of tasks to show, a fixed random subset."""

    def run(self) -> "TaskSet":
        return self.load()

    def report(self, tasks: "TaskSet") -> None:
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
    """Use a fixed random subset of this size. None uses all."""
    workers: int = 2
    """Number of answers that are graded at once."""
    limits: Limits = field(default_factory=Limits)
    """Limits on a program that is run."""

    def run(self) -> TaskVerification:
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


@dataclass(frozen=True)
class GradeAnswers:
    """Grade answers that any program wrote, one JSON object per line. docs/how-to/tasks.md describes the form."""

    file: Positional[str]
    """A file of JSON lines, or - for standard input."""
    json: bool = False
    """Print one JSON line on stdout for each line: id, correct, how, extracted. Or error, if it cannot be graded."""
    workers: int = 2
    """Number of answers that are graded at once."""
    limits: Limits = field(default_factory=Limits)
    """Limits on a program that is run."""

    def run(self) -> tuple[Counter[str], Counter[str]]:
        from interlat.tasks.answer_lines import graded_lines

        counts: Counter[str] = Counter()
        how: Counter[str] = Counter()
        with _lines_of(self.file) as lines:
            if not self.json:
                print(_columns("id", "answer", "how", "extracted"))
            for one in graded_lines(lines, self.limits, self.workers):
                counts[_word(one)] += 1
                how[one.verdict.how if one.verdict else ""] += 1
                _print(json.dumps(one.as_json(), ensure_ascii=False) if self.json else _row(one))
        return counts, how

    def report(self, result: tuple[Counter[str], Counter[str]]) -> int:
        """The counts; 1 if a line could not be graded."""
        counts, how = result
        said = ", ".join(f"{count} {kind}" for kind, count in how.most_common() if kind)
        say(
            f"{counts.total()} answers: {counts['right']} right, {counts['wrong']} wrong"
            + (f" ({said})" if said else "")
            + (f"; {counts['error']} could not be graded" if counts["error"] else "")
        )
        return int(bool(counts["error"]))


@contextlib.contextmanager
def _lines_of(file: str) -> Iterator[BinaryIO]:
    """The lines of a file, or of standard input.

    Raises:
        InputError: there is no such file.
    """
    if file == "-":
        yield sys.stdin.buffer
        return
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(f"there is no file {file}; correct the path, or give - for standard input")
    with path.open("rb") as lines:
        yield lines


def _word(one: "GradedLine") -> str:
    return "error" if one.verdict is None else "right" if one.verdict.correct else "wrong"


def _row(one: "GradedLine") -> str:
    """A line for people, at most 80 wide; an error has all the room that it needs."""
    how = one.verdict.how if one.verdict else ""
    if one.error:
        return f"{_columns(one.id, 'error', '', '')} {one.error}"
    return _columns(one.id, _word(one), how, one.extracted or "-")


def _columns(identifier: str, answer: str, how: str, extracted: str) -> str:
    widths = ((identifier, 20), (answer, 6), (how, 9), (extracted, 42))
    shown = ("".join(sign if sign.isprintable() else " " for sign in " ".join(text.split())) for text, _ in widths)
    return " ".join(set_cell_size(text, width) for text, (_, width) in zip(shown, widths, strict=True)).rstrip()


def _print(line: str) -> None:
    """A line on stdout as soon as it is known. Half a character, which UTF-8 cannot hold, is escaped as in JSON."""
    print(utf8(line).decode(), flush=True)
