"""An actor plays many games at once: one batch of conversations, each game at its own length."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from interlat.connectors.adapter import CommunicationAdapter
from interlat.connectors.base import padded_rows
from interlat.engine.prompt import Latents, Part, Text
from interlat.engine.protocol import Engine
from interlat.engine.sampling import Sampling
from interlat.environments.alfworld.pool import GamePool
from interlat.environments.protocol import Observation
from interlat.experiments.household.prompts import BEGIN_MESSAGE, END_MESSAGE, actor_prompt, command_of

Message = str | Float[Tensor, "K D"] | None
"""What the actor gets: a plan as text, hidden states of a sender, or nothing."""


@dataclass
class Episode:
    """One played game and what it cost."""

    won: bool = False
    steps: int = 0
    turns: list[tuple[str, str]] = field(default_factory=list)
    """(command, observation) pairs."""
    prompt_tokens: int = 0
    """Positions that the actor read: prompts, messages, observations."""
    decoded_tokens: int = 0
    receiver_seconds: float = 0.0
    """The episode's share of the model's time: a batch's time is split evenly over the rows that took part."""
    world_seconds: float = 0.0
    forward_passes: int = 0
    """Passes of the batch that the row took part in."""


def message_parts(message: Message, adapted: Tensor | None) -> list[Part]:
    """The parts that stand between ``<bop>`` and ``<eop>``."""
    if isinstance(message, str):
        return [Text(message, literal=True)]
    return [] if adapted is None else [Latents(adapted)]


def adapt_messages(
    messages: Sequence[Message], adapter: CommunicationAdapter | None, engine: Engine
) -> list[Float[Tensor, "K D"] | None]:
    """Pass hidden messages through the adapter in one padded batch; None for all others."""
    indices = [i for i, message in enumerate(messages) if isinstance(message, Tensor) and len(message)]
    adapted: list[Tensor | None] = [None] * len(messages)
    if not indices or adapter is None:
        return adapted
    rows, mask = padded_rows([torch.as_tensor(messages[i]) for i in indices], engine.device)
    with torch.no_grad():
        output = adapter(rows, mask, dtype=engine.dtype)
    for i, rows_of_message, real in zip(indices, output, mask, strict=True):
        adapted[i] = rows_of_message[real]
    return adapted


def play_games(
    engine: Engine,
    pool: GamePool,
    games: Sequence[str],
    messages: Sequence[Message],
    step_caps: Sequence[int],
    adapter: CommunicationAdapter | None = None,
    sampling: Sampling | None = None,
    seeds: Sequence[int] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> list[Episode]:
    """Play each game once, all of them in one batch.

    Args:
        engine: the actor's model.
        pool: where the games run.
        games: game files, each at most once.
        messages: one for each game.
        step_caps: most commands in each game.
        adapter: reads hidden messages; needed if there are any.
        sampling: greedy with at most 16 tokens a command by default.
        seeds: one a game, where the sampling needs them.
        on_step: called with the number of games still running after every turn.

    Returns:
        The episodes, in the order of the games.
    """
    sampling = sampling or Sampling(max_new_tokens=16)
    began = time.perf_counter()
    observations = pool.reset(games)
    episodes = [Episode(world_seconds=(time.perf_counter() - began) / len(games)) for _ in games]
    began = time.perf_counter()
    adapted = adapt_messages(messages, adapter, engine)
    prompts = [
        engine.chat.opening(
            [
                (
                    "user",
                    [
                        Text(actor_prompt(observation.text), literal=True),
                        Text(BEGIN_MESSAGE),
                        *message_parts(message, rows),
                        Text(END_MESSAGE),
                    ],
                )
            ]
        )
        for observation, message, rows in zip(observations, messages, adapted, strict=True)
    ]
    memory = engine.prefill(prompts)
    running = list(range(len(games)))
    turn = 0
    while running:
        for row, index in enumerate(running):
            episodes[index].prompt_tokens = int(memory.next_position[row]) - episodes[index].decoded_tokens
        turn_seeds = None if seeds is None else [seeds[index] + turn for index in running]
        decoded = engine.decode(memory, sampling, turn_seeds)
        thinking = time.perf_counter() - began
        began = time.perf_counter()
        commands = [command_of(engine.chat.opened_thought + text) for text in decoded.texts]
        answers: list[Observation] = pool.step([games[index] for index in running], commands)
        acting = time.perf_counter() - began
        began = time.perf_counter()
        keep: list[int] = []
        for row, (index, command, answer) in enumerate(zip(running, commands, answers, strict=True)):
            episode = episodes[index]
            episode.turns.append((command, answer.text))
            episode.steps, episode.won = answer.steps, answer.won
            episode.decoded_tokens += len(decoded.token_ids[row])
            episode.receiver_seconds += thinking / len(running)
            episode.world_seconds += acting / len(running)
            episode.forward_passes += decoded.forward_passes + 1
            if not (answer.won or answer.done) and answer.steps < step_caps[index]:
                keep.append(row)
        running = [running[row] for row in keep]
        if running:
            memory = decoded.memory.select(keep)
            memory = engine.prefill([engine.chat.continuation(answers[row].text) for row in keep], memory)
        turn += 1
        if on_step:
            on_step(len(running))
    return episodes
