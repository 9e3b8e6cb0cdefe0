"""`interlat tasks grade`."""

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from rich.cells import set_cell_size
from tyro.conf import Positional

from interlat.errors import InputError
from interlat.files import utf8
from interlat.progress import say
from interlat.tasks.sandbox.execution import Limits

if TYPE_CHECKING:
    from interlat.tasks.answer_lines import GradedLine


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

    def run(self) -> tuple[Counter[str], Counter[str]]:
        """Grade and print line by line; how many are right, wrong or in error, and how they were judged."""
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
