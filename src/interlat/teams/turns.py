"""An item on its way through a team: the question, what each member did with it, and its costs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from interlat.engine.cache import CachedSequence
from interlat.messages import Message

QUESTION = "/question"
"""Segment of the common beginning of all prompts, where it is read once. No member can have this name."""


@dataclass(frozen=True)
class Question:
    """One item for a team."""

    key: str
    """Name of the item; part of the seeds."""
    text: str
    """Replaces ``{question}`` in every prompt."""
    others: str = ""
    """Replaces it for all but the final agent: the control of a cache of another question."""
    messages: Mapping[str, Message] = field(default_factory=dict)
    """Messages of an earlier run, by sender. Their senders do not run again, nor do members whose messages only these
    senders need."""


@dataclass(frozen=True)
class Turn:
    """What one member did for one item, and its costs."""

    text: str = ""
    """What it wrote, after `Member.opening` and the opening mark of its reasoning; empty for latent steps."""
    final: str | None = ""
    """The text without reasoning, which receivers and graders read (`interlat.reasoning.final_part`); None where the
    reasoning did not end."""
    token_ids: tuple[int, ...] = ()
    """The text in tokens, special ones included."""
    prompt_tokens: int = 0
    """Positions that it read, without the caches that it received."""
    latent_steps: int = 0
    decoded_tokens: int = 0
    message_bytes: int = 0
    """Bytes that a receiver gets: UTF-8 text without reasoning, or the keys and values that are passed on."""
    cache_positions: int = 0
    """Positions that are passed on."""
    forward_passes: int = 0
    stopped: bool = True
    """False where a text ran out of tokens or context."""
    seconds: float = 0.0
    """Its part of the time of a batch of latent steps; text, written with continuous batching, is not timed."""


@dataclass(eq=False)
class TeamRun:
    """One item on its way through a team."""

    question: Question
    turns: dict[str, Turn] = field(default_factory=dict)
    """What each member did, by name."""
    latents: dict[str, Float[Tensor, "K D"]] = field(default_factory=dict)
    """The states of the latent steps, by member."""
    failure: str = ""
    """Why the item could not be finished; empty if it could."""
    shared: tuple[int, ...] = ()
    """The tokens that all its prompts begin with, where these are read once."""
    caches: dict[str, CachedSequence] = field(default_factory=dict, repr=False)
    """Caches on their way to members that have not read them yet: sequences of shared batches, never copied for one
    item. `QUESTION` names the common beginning."""
