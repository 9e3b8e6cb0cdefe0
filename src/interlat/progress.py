"""A progress bar with rate and time left, on stderr."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Step = TypeVar("Step")


class RateColumn(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        """The rate of a task, a dash before there is one."""
        speed = task.finished_speed or task.speed
        return Text("-/s" if speed is None else f"{speed:.1f}/s", style="cyan")


def say(message: str) -> None:
    """Print a message for people on stderr, as it is: one line, however long."""
    Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)


def drain(steps: Iterable[object]) -> None:
    """Run steps to the end, for what they do."""
    for _ in steps:
        pass


def accepted(steps: Iterable[Step], then: Callable[[], object]) -> Iterator[Step]:
    """Pass steps on and do something at the first one: what is refused has none, and leaves everything as it was."""
    for number, step in enumerate(steps):
        if not number:
            then()
        yield step


def in_bytes(count: float) -> str:
    """A number of bytes for people, such as 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def track(
    steps: Iterable[tuple[int, int]], title: str, notes: Mapping[str, str] | None = None
) -> Iterator[tuple[int, int]]:
    """Pass (done, total) pairs on and show them as a bar, from the first one on.

    ``notes["text"]``, which may change from step to step, stands at the end of the line.
    """
    console = Console(stderr=True)
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    ]
    started = iter(steps)
    # The bar begins with the first step, so that bad input, found before it, leaves one line and no bar.
    first = list(itertools.islice(started, 1))
    if not first:
        return
    with Progress(*columns, console=console, redirect_stdout=False) as progress:
        task = progress.add_task(title, total=None, note="")
        for done, total in itertools.chain(first, started):
            progress.update(task, completed=done, total=total, note=(notes or {}).get("text", ""))
            yield done, total
