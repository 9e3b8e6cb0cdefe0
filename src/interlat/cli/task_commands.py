"""The commands `interlat tasks ...`: which benchmarks there are, what they ask, and whether they can be graded."""

import contextlib
import json
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from rich.cells import set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from interlat.config import read_config
from interlat.errors import InputError
from interlat.files import utf8
from interlat.progress import drain, say, track
from interlat.tasks.answer_lines import GradedLine, graded_lines
from interlat.tasks.base import TaskSet
from interlat.tasks.benchmarks import BENCHMARKS, benchmark_named
from interlat.tasks.grading import GRADERS
from interlat.tasks.records import AMBIGUOUS
from interlat.tasks.sandbox.execution import Limits
from interlat.tasks.sources import TaskSource, some_tasks
from interlat.tasks.verification import Verification, verified

NAMED_FAILURES = 10
LONGEST_SHOWN = 70


@dataclass(frozen=True)
class ListTasks:
    """The benchmarks that tasks can be taken from."""

    json: bool = False
    """Print one JSON line a benchmark on stdout."""


def run_list_tasks(config: ListTasks) -> None:
    """List them."""
    if config.json:
        for one in map(BENCHMARKS.__getitem__, BENCHMARKS.names()):
            fields = {key: getattr(one, key) for key in ("name", "title", "data", "configuration", "split", "size")}
            print(json.dumps({**fields, "grader": one.grader}))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("name", "grader", "tasks", "split", "data set of the hub"):
        table.add_column(column, justify="right" if column == "tasks" else "left", overflow="fold")
    for one in map(BENCHMARKS.__getitem__, BENCHMARKS.names()):
        place = f"{one.data} {one.configuration}".rstrip()
        table.add_row(one.name, one.grader, str(one.size), one.split, Text(place))
    Console().print(table)
    say("any other questions: `interlat tasks verify FILE.yaml`, where the file maps columns, see docs/guide.md")


@dataclass(frozen=True)
class _Chosen:
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

    def load(self) -> TaskSet:
        """The tasks.

        Raises:
            InputError: there is no such benchmark, file or data.
        """
        if not self.name.endswith((".yaml", ".yml")):
            return benchmark_named(self.name).load(self.file, self.split, revision=self.revision)
        if self.file or self.split or self.revision:
            raise InputError(f"{self.name} says where its tasks are; set data, split and revision in that file")
        return read_config(TaskSource, self.name).load("solve")


@dataclass(frozen=True)
class ShowTasks(_Chosen):
    """What a benchmark asks."""

    count: int = 3
    """How many tasks to show, chosen by chance and always the same."""


def run_show_tasks(config: ShowTasks) -> None:
    """Show some tasks as an agent sees them, with their answers."""
    tasks = config.load()
    console = Console()
    for _, task in some_tasks(tasks, config.count):
        if config.json:
            print(json.dumps(asdict(task), ensure_ascii=False))
            continue
        console.rule(Text(task.id), align="left")
        print(f"{task.text}\n{GRADERS[task.grader].answer_format}\n\nanswer: {task.answer}")
    origin = ", ".join(f"{key} {value}" for key, value in tasks.origin.items())
    say(f"{len(tasks.tasks)} tasks; {origin}")


@dataclass(frozen=True)
class VerifyTasks(_Chosen):
    """Grade the answers of a data set, which must be right, and corrupted ones, which must be wrong."""

    limit: int | None = None
    """Only this many tasks, chosen by chance and always the same."""
    workers: int = 2
    """Answers that are graded at once."""
    limits: Limits = field(default_factory=Limits)
    """What a program may take."""


def run_verify_tasks(config: VerifyTasks) -> int:
    """Verify; 1 if a right answer is refused or a wrong one accepted."""
    began = time.perf_counter()
    source = config.load()
    tasks = [task for _, task in some_tasks(source, config.limit)]
    found: list[Verification] = []

    def graded() -> Iterator[tuple[int, int]]:
        for one in verified(tasks, config.limits, config.workers):
            found.append(one)
            yield len(found), len(tasks)

    drain(track(graded(), "tasks"))
    refused = [one for one in found if not one.reference.correct]
    accepted = [one for one in found if one.corrupted.correct]
    unsure = [task for task in tasks if AMBIGUOUS in task.metadata]
    how = Counter(one.reference.how for one in found)
    isolation = sorted({part for one in found for part in one.reference.isolation})
    if config.json:
        for one in found:
            if one in refused or one in accepted:
                print(json.dumps(asdict(one), ensure_ascii=False))
        print(
            json.dumps(
                {
                    "tasks": config.name,
                    **source.origin,
                    "items": len(found),
                    "references_accepted": len(found) - len(refused),
                    "corrupted_rejected": len(found) - len(accepted),
                    "unsure": len(unsure),
                    "how": dict(how),
                    "isolation": isolation,
                    "seconds": round(time.perf_counter() - began, 2),
                },
                ensure_ascii=False,
            )
        )
    for one in refused[:NAMED_FAILURES]:
        reason = one.reference.reason or one.reference.how
        say(f"refused  {one.task.id}: its own answer {_short(one.task.answer)} ({reason})")
    for one in accepted[:NAMED_FAILURES]:
        say(f"accepted {one.task.id}: {_short(one.corruption)} instead of {_short(one.task.answer)}")
    for task in unsure[:NAMED_FAILURES]:
        say(f"unsure   {task.id}: {task.answer} is read as its answer, but it could be {task.metadata[AMBIGUOUS]}, too")
    say(
        f"{len(found)} tasks of {config.name}: {len(found) - len(refused)} answers accepted "
        f"({', '.join(f'{count} {kind}' for kind, count in how.most_common())}), "
        f"{len(found) - len(accepted)} corrupted ones rejected"
    )
    return int(bool(refused or accepted))


@dataclass(frozen=True)
class GradeAnswers:
    """Grade answers that any program wrote, one JSON object a line; the form is in docs/guide.md."""

    file: Positional[str]
    """A file of JSON lines, or - for standard input."""
    json: bool = False
    """Print one JSON line on stdout for each line: id, correct, how, extracted; error where it cannot be graded."""
    workers: int = 2
    """Answers that are graded at once."""
    limits: Limits = field(default_factory=Limits)
    """What a program may take."""


def run_grade_answers(config: GradeAnswers) -> int:
    """Grade line by line; 1 if a line could not be graded."""
    counts: Counter[str] = Counter()
    how: Counter[str] = Counter()
    with _lines_of(config.file) as lines:
        if not config.json:
            print(_columns("id", "answer", "how", "extracted"))
        for one in graded_lines(lines, config.limits, config.workers):
            counts[_word(one)] += 1
            how[one.verdict.how if one.verdict else ""] += 1
            _print(json.dumps(one.as_json(), ensure_ascii=False) if config.json else _row(one))
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


def _word(one: GradedLine) -> str:
    return "error" if one.verdict is None else "right" if one.verdict.correct else "wrong"


def _row(one: GradedLine) -> str:
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


def _short(text: str) -> str:
    return textwrap.shorten(text, LONGEST_SHOWN, placeholder="...")
