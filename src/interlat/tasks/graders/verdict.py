"""What a grader finds."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Verdict:
    """Whether a reply is right, and how that was found out."""

    correct: bool
    """Whether the reply's answer is the right one."""
    how: Literal["exact", "numeric", "symbolic", "executed", "unparsed"]
    """Which judge decided: the same text, the same number, the same expression, the tests of a program; unparsed if
    there was no answer, or none that could be read."""
    reason: str = ""
    """Why a program did not pass, or why a reply has no answer."""
    isolation: tuple[str, ...] = ()
    """By what a program was confined, see `interlat.tasks.sandbox.confinement.confine`."""
