"""Progress on stderr: a bar with rate and time left on a terminal, now and then a line elsewhere."""

import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

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

INTERVAL = 30.0
"""Seconds between two lines where stderr is no terminal."""
Item = TypeVar("Item")


class RateColumn(ProgressColumn):
    """Items a second, over the whole run: of items that all end together the last instant says nothing."""

    def render(self, task: Task) -> Text:
        """The rate of a task, a dash before there is one."""
        return Text(_rate(task.completed - task.fields["begun"], task.elapsed or 0.0), style="cyan")


def say(message: str) -> None:
    """Print a message for people on stderr, as it is: one line, however long."""
    Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)


def drain(steps: Iterable[object]) -> None:
    """Run steps to the end, for what they do."""
    for _ in steps:
        pass


def completed(
    stage: Iterable[tuple[int, int]],
    title: str,
    notes: Mapping[str, str] | None = None,
    begun: Callable[[], object] = lambda: None,
) -> Any:
    """Run a stage to its end and show its progress, see `track`; what its generator returns.

    Args:
        stage: (done, total) pairs, most often a generator.
        title: the word before the bar.
        notes: see `track`.
        begun: called at the first step: what is refused has none, and leaves everything as it was.
    """
    generator = cast("Generator[tuple[int, int], None, Any]", stage)
    returned: list[Any] = []

    def steps() -> Iterator[tuple[int, int]]:
        for number, step in enumerate(delegated()):
            if not number:
                begun()
            yield step

    def delegated() -> Iterator[tuple[int, int]]:
        returned.append((yield from generator))

    drain(track(steps(), title, notes))
    return returned[0]


def gathered(items: Iterable[Item], total: int, title: str) -> list[Item]:
    """All items, with progress while they are made."""
    found: list[Item] = []

    def steps() -> Iterator[tuple[int, int]]:
        for item in items:
            found.append(item)
            yield len(found), total

    completed(steps(), title)
    return found


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
    """Pass (done, total) pairs on and show them, from the first one on.

    On a terminal as a bar; elsewhere, as in the log of a job, as a line at the beginning, one every `INTERVAL` seconds
    and one at the end. ``notes["text"]``, which may change from step to step, ends the line.
    """
    started = iter(steps)
    # Shown from the first step on, so that bad input, found before it, leaves one line and nothing else.
    first = list(itertools.islice(started, 1))
    if not first:
        return
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        redirect_stdout=False,
        disable=not console.is_terminal,
    )
    (begun, total), note = first[0], (notes or {}).get("text", "")
    bar.add_task(title, total=total, completed=begun, note=note, begun=begun)
    task = bar.tasks[0]
    with bar, contextlib.nullcontext() if console.is_terminal else _lines(task):
        for done, total in itertools.chain(first, started):
            bar.update(task.id, completed=done, total=total, note=(notes or {}).get("text", ""))
            yield done, total


@contextlib.contextmanager
def _lines(task: Task) -> Iterator[None]:
    began, ended = time.monotonic(), threading.Event()

    def write() -> None:
        seconds, note = time.monotonic() - began, task.fields["note"]
        rate = _rate(task.completed - task.fields["begun"], seconds)
        line = f"{task.description}: {task.completed:.0f} of {task.total:.0f}, {seconds:.0f} s, {rate}"
        print(f"{line}, {note}" if note else line, file=sys.stderr, flush=True)

    def write_on() -> None:
        # A thread of its own, since one step may take many minutes.
        while not ended.wait(INTERVAL):
            write()

    write()
    writer = threading.Thread(target=write_on, daemon=True)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()
        if task.completed > task.fields["begun"]:
            write()


def _rate(count: float, seconds: float) -> str:
    return f"{count / seconds:.1f}/s" if count and seconds else "-/s"
