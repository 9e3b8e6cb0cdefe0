"""What every environment shows after a command."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Observation:
    """One answer of an environment."""

    text: str
    """What the agent reads."""
    admissible_commands: tuple[str, ...]
    """The commands that the environment would accept now, sorted."""
    won: bool
    """The task is solved. The only measure of success."""
    done: bool
    """The environment accepts no more commands; says nothing about success."""
    steps: int
    """Commands given since the reset."""
