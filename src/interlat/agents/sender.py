"""What a sender makes for a batch of items, and what that costs: a written plan, latents, a KV cache."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from interlat.connectors.base import Connector
from interlat.connectors.bridge import Bridge, begin_thought, finish_thought
from interlat.engine.cache import KVCache
from interlat.engine.cache_message import header_of, message_of_cache
from interlat.engine.sampling import Sampling
from interlat.messages import Header, HiddenMessage, Message
from interlat.states import StateAt

if TYPE_CHECKING:
    from interlat.agents.agent import Agent

PREFILL, THINKING = "sender_prefill", "thinking"
"""Phases of a sender: it reads its prompt; it writes, or takes latent steps."""


@dataclasses.dataclass(frozen=True)
class SenderOutput:
    """What a sender made for one item."""

    message: Message | None
    """What travels; None where there is nothing."""
    text: str = ""
    """All that it wrote, thoughts included."""
    tokens: int = 0
    """Positions of its prompt, and of what it wrote or thought."""
    latent_steps: int = 0
    forward_passes: int = 0
    """Passes of the batch that the item took part in."""
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Phase -> the item's share of the batch's time."""
    failure: str = ""
    """Why there is no message, where one was wanted."""


class Clock:
    """Seconds of a batch by phase, with an accelerator's work counted to its end.

    Args:
        items: how many share the time evenly.
    """

    def __init__(self, items: int) -> None:
        self.items = items
        self.seconds: dict[str, float] = {}
        self._began = self._now()

    def lap(self, phase: str) -> None:
        """Give the time since the last lap to a phase."""
        now = self._now()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + (now - self._began) / self.items
        self._began = now

    def _now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()


def write(
    agent: "Agent",
    tasks: Sequence[str],
    sampling: Sampling,
    seeds: Sequence[int],
    *,
    state_at: StateAt = "before_token",
    provenance: Mapping[str, Any] | None = None,
    cache: bool = False,
) -> list[SenderOutput]:
    """Write a plan for each task, one batch.

    Args:
        agent: the sender.
        tasks: what goes into its prompt template.
        sampling: how it writes.
        seeds: one a task.
        state_at: which state belongs to a token, see `Agent.write`.
        provenance: what the headers say besides.
        cache: hand over the KV cache of prompt and plan instead of the states.

    Returns:
        Hidden messages in the model's dtype, or cache messages. A plan without a word has no message.
    """
    engine, clock = agent.engine, Clock(len(tasks))
    spare = min(sampling.max_new_tokens, engine.context_length)
    memory = engine.prefill([agent.task_prompt(task) for task in tasks], spare=spare)
    clock.lap(PREFILL)
    decoded = engine.decode(memory, sampling, seeds, keep_hidden_states=True, state_at=state_at)
    clock.lap(THINKING)
    made = []
    for row, task in enumerate(tasks):
        text, ids = engine.chat.opened_thought + decoded.texts[row], decoded.token_ids[row]
        start = int(memory.next_position[row]) - (state_at == "before_token")
        said = {"method": "write", "task": task, **(provenance or {}), "stopped": decoded.stopped[row]}
        message: Message | None = None
        if cache:
            message = _cache_message(agent, decoded.cache, row, said)
        elif decoded.texts[row].strip():
            header = header_for(agent, state_at, range(start, start + len(ids)), said)
            message = HiddenMessage(decoded.hidden_states[row], decoded.texts[row], tuple(ids), header)
        made.append(
            SenderOutput(
                message,
                text,
                tokens=int(decoded.cache.next_position[row]),
                forward_passes=decoded.forward_passes + 1,
                seconds=clock.seconds,
                failure="" if message else f"{engine.name} wrote an empty plan",
            )
        )
    return made


def think(
    agent: "Agent",
    tasks: Sequence[str],
    steps: int,
    *,
    connector: Connector | None = None,
    cache: bool = False,
) -> list[SenderOutput]:
    """Take latent steps about each task, one batch.

    Args:
        agent: the sender.
        tasks: what goes into its prompt template.
        steps: K, at least 1.
        connector: from a state to the next input; by default the bridge of a compressed sender, else the norm-matched
            identity.
        cache: hand over the KV cache of prompt and steps instead of the latents.

    Returns:
        Hidden messages of K latents in the model's dtype, or cache messages.
    """
    engine, clock = agent.engine, Clock(len(tasks))
    prompts = [agent.task_prompt(task) for task in tasks]
    bridge = agent.bridge if connector is None else None
    if bridge is not None:
        memory = begin_thought(engine, bridge, prompts, steps)
        clock.lap(PREFILL)
        memory, latents = finish_thought(engine, bridge, memory, steps)
        with torch.no_grad():
            latents = bridge.message(latents).to(engine.dtype)
    else:
        chosen = connector or agent.identity
        memory = engine.prefill(prompts, spare=steps)
        clock.lap(PREFILL)
        memory, latents = engine.think(memory, steps, chosen)
    clock.lap(THINKING)
    made = []
    for row, task in enumerate(tasks):
        end = int(memory.next_position[row])
        said = {"method": "think" if bridge is None else "compressed", "task": task, "steps": steps}
        message: Message = (
            _cache_message(agent, memory, row, said)
            if cache
            else HiddenMessage(latents[row], header=thought_header(agent, bridge, range(end - steps, end), said))
        )
        passes = steps + (bridge is None)
        made.append(SenderOutput(message, "", end, steps, passes, clock.seconds))
    return made


def thought_header(agent: "Agent", bridge: Bridge | None, positions: range, provenance: Mapping[str, Any]) -> Header:
    """The header of latents; a compressed sender's stand for the states that its receiver was trained to read."""
    if bridge is None:
        return header_for(agent, "before_token", positions, provenance)
    config = bridge.config
    return dataclasses.replace(
        header_for(agent, config.state_at, positions, provenance),
        space_fingerprint=config.sender_fingerprint,
        layer=config.layer,
        norm=config.norm,
    )


def header_for(agent: "Agent", state_at: StateAt, positions: range, provenance: Mapping[str, Any]) -> Header:
    """The header of states of the last layer, after its norm."""
    header = header_of(agent.engine, {"role": agent.settings.role, **provenance})
    return dataclasses.replace(header, state_at=state_at, positions=tuple(positions))


def _cache_message(agent: "Agent", memory: KVCache, row: int, provenance: Mapping[str, Any]) -> Message:
    said = {"role": agent.settings.role, **provenance}
    return message_of_cache(agent.engine, memory.select([row]), said)
