"""A receiver plays items of an environment side by side, each with its message."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from interlat.agents.agent import Agent
from interlat.engine.sampling import Sampling
from interlat.environments.protocol import Environment, Item
from interlat.errors import PromptError
from interlat.messages import Message

ENVIRONMENT = "environment"
"""Phase: the environment takes actions."""


@dataclass
class Episode:
    """One played item and what it cost."""

    success: bool = False
    score: float | None = None
    steps: int = 0
    turns: list[tuple[str, str]] = field(default_factory=list)
    """The action, by default the final part of the reply, and what the environment answered."""
    prompt_tokens: int = 0
    """Positions that the receiver read: prompts, messages, observations."""
    decoded_tokens: int = 0
    forward_passes: int = 0
    """Passes of the batch that the episode took part in."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Phase -> the episode's share of the batch's time."""
    stopped: bool = True
    """False where the last reply was cut at its most tokens."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the environment says of it."""
    failure: str = ""
    """Why it could not go on, where what was to be read next did not fit into the context."""


def play(
    environment: Environment,
    items: Sequence[Item],
    receiver: Agent,
    messages: Sequence[Message | None],
    sampling: Sampling,
    seeds: Sequence[int],
) -> list[Episode]:
    """Play each item once, all in one batch; an episode never depends on those beside it.

    Args:
        environment: where they are played.
        items: different ones.
        receiver: the agent that acts.
        messages: one for each item.
        sampling: how the receiver replies.
        seeds: one for each item; its turn is added.

    Raises:
        PromptError: something does not fit into the context: of an item alone its beginning; of several, anything.
        MessageError: a message cannot be read.
    """
    episodes = [Episode() for _ in items]

    def timed(seconds: Mapping[str, float], numbers: Sequence[int]) -> None:
        for number in numbers:
            for phase, value in seconds.items():
                kept = episodes[number].seconds
                kept[phase] = kept.get(phase, 0.0) + value

    began = time.perf_counter()
    outcomes = list(environment.start(items))
    timed({ENVIRONMENT: (time.perf_counter() - began) / max(1, len(items))}, range(len(items)))
    talk = receiver.converse([outcome.text for outcome in outcomes], messages, spare=sampling.max_new_tokens)
    turn = 0
    while talk.running:
        running = list(talk.running)
        replies = talk.reply(sampling, [seeds[number] + turn for number in running])
        timed(talk.clock.seconds, running)
        talk.clock.seconds.clear()
        began = time.perf_counter()
        answers = environment.step([items[number] for number in running], [reply.written for reply in replies])
        timed({ENVIRONMENT: (time.perf_counter() - began) / len(running)}, running)
        kept: list[int] = []
        for row, (number, reply, answer) in enumerate(zip(running, replies, answers, strict=True)):
            episode = episodes[number]
            episode.turns.append((reply.text if answer.action is None else answer.action, answer.text))
            episode.success, episode.score, episode.steps = answer.success, answer.score, answer.steps
            episode.prompt_tokens = reply.prompt_tokens
            episode.decoded_tokens += reply.tokens
            episode.forward_passes += reply.forward_passes
            episode.stopped, episode.facts = reply.stopped, answer.facts
            if not answer.done and answer.steps < items[number].max_steps:
                kept.append(row)
        try:
            talk.go_on(kept, [answers[row].text for row in kept])
        except PromptError as error:
            if len(items) > 1:
                raise
            episodes[0].failure = str(error)
            break
        turn += 1
    return episodes
