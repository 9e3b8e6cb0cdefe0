"""Which thoughts are worth keeping."""

from dataclasses import dataclass

from interlat.errors import InputError
from interlat.tasks.graders.verdict import Verdict


@dataclass(frozen=True)
class Filters:
    """What a thought must be to be kept; the others are counted and named with a reason."""

    finished: bool = False
    """Only those that the model ended by itself."""
    correct: bool = False
    """Only right answers; needs tasks with answers."""
    min_tokens: int = 0
    """Only those of at least this many tokens."""
    max_tokens: int | None = None
    """Only those of at most this many tokens."""

    def __post_init__(self) -> None:
        if self.min_tokens < 0 or (self.max_tokens is not None and self.max_tokens < max(1, self.min_tokens)):
            raise InputError(f"lengths from {self.min_tokens} to {self.max_tokens} tokens leave nothing; correct them")

    def reason_against(self, tokens: int, stopped: bool, verdict: Verdict | None) -> str:
        """Why a thought is left out; empty if it is kept."""
        if self.finished and not stopped:
            return f"not finished after {tokens} tokens"
        if tokens < self.min_tokens:
            return f"too short: {tokens} tokens"
        if self.max_tokens is not None and tokens > self.max_tokens:
            return f"too long: {tokens} tokens"
        if self.correct and verdict is not None and not verdict.correct:
            return f"wrong answer ({verdict.how})"
        return ""
