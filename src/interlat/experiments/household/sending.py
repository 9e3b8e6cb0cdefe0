"""What a scout sends about household games under each variant, and what that costs it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interlat.agents.agent import load_engine
from interlat.connectors.base import padded_rows
from interlat.connectors.bridge import Bridge, think_over
from interlat.connectors.identity import NormMatchedIdentity
from interlat.connectors.resampler import Resampler
from interlat.controls import CROSS_TASK, INT8, control_messages, cross_task_partners, is_control
from interlat.engine.prompt import Part
from interlat.engine.protocol import Engine
from interlat.engine.sampling import Sampling, row_seed
from interlat.engine.template import TemplateOptions
from interlat.errors import InputError
from interlat.experiments.household.player import Message
from interlat.experiments.household.prompts import scout_prompt
from interlat.reasoning import final_part

PLAIN_VARIANTS = ("none", "text", "text_sampled", "list", "latent", "latent_unsent", "latent_told")
COMPRESSED, RESAMPLED, ROLLOUT = "compressed", "resampled", "rollout"
SHORT_VARIANTS = (COMPRESSED, RESAMPLED, ROLLOUT)
"""With a number of rows behind a colon: a trained sender's latents, a resampler's rows, and the latent steps of the
scout itself, which nobody trained."""
LATENT_WITHOUT_STATES = {"latent_unsent", "latent_told"}
"""Variants of the latent actor in which no states of a sender reach it."""
MESSAGE_DTYPE = torch.bfloat16
"""Hidden states travel as they were stored for training."""
_STYLE_OF = {"text": "plan", "text_sampled": "sampled", "list": "list"}


def check_variants(variants: Sequence[str]) -> None:
    """Raise an InputError unless all of ``variants`` are known, and at least one is given."""
    known = (
        f"{', '.join(PLAIN_VARIANTS)}, {', '.join(f'{name}:8' for name in SHORT_VARIANTS)} or a control such as zeros"
    )
    if not variants:
        raise InputError(f"no variants; choose from {known}")
    for variant in variants:
        if variant not in PLAIN_VARIANTS and not rows_of(variant) and not is_control(variant):
            raise InputError(f"unknown variant {variant!r}; choose from {known}")


def rows_of(variant: str) -> int:
    """K of a short variant such as ``compressed:8``; 0 for any other."""
    name, _, count = variant.partition(":")
    return int(count) if name in SHORT_VARIANTS and count.isdecimal() else 0


def size_in_bytes(message: Message, variant: str = "") -> int:
    """Bytes that a message takes on the wire, without its header."""
    if not isinstance(message, Tensor):
        return len((message or "").encode())
    if variant == INT8:
        # One byte a number, and a float32 scale for each row.
        return message.numel() + 4 * len(message)
    return message.numel() * message.element_size()


@dataclass(frozen=True)
class SenderOutput:
    """What the sender made of one game."""

    plan: str
    """All that it wrote, thoughts included, which a message in words leaves out; empty where it wrote nothing."""
    states: Float[Tensor, "K D"]
    seconds: float
    """The game's share of the sender's batch."""
    tokens: int
    """Positions of the prompt, and of what was written or thought."""
    passes: int
    latent_steps: int = 0


def send(
    engine: Engine, records: Sequence[dict[str, Any]], style: str, sampling: Sampling, seed: int
) -> list[SenderOutput]:
    """Let the scout write about games, one batch, with its time."""
    began = time.perf_counter()
    memory = engine.prefill(_prompts(engine, records, style))
    seeds = [row_seed(seed, record["item"], "scout") for record in records]
    decoded = engine.decode(memory, sampling, seeds, keep_hidden_states=True)
    seconds = (time.perf_counter() - began) / len(records)
    return [
        SenderOutput(
            plan=engine.chat.opened_thought + decoded.texts[row],
            states=decoded.hidden_states[row].to(MESSAGE_DTYPE).cpu(),
            seconds=seconds,
            tokens=int(decoded.memory.next_position[row]),
            passes=decoded.forward_passes + 1,
        )
        for row in range(len(records))
    ]


def think(
    engine: Engine, bridge: Bridge | None, records: Sequence[dict[str, Any]], latent_steps: int
) -> list[SenderOutput]:
    """Let a sender think about games in latent steps, one batch, with its time.

    Args:
        engine: the sender's model.
        bridge: of a compressed sender; None takes untrained steps with the norm-matched identity.
        records: the games.
        latent_steps: K.
    """
    prompts = _prompts(engine, records, "plan")
    align = None if bridge else NormMatchedIdentity.of_embeddings(engine.input_embeddings)
    began = time.perf_counter()
    if bridge is not None:
        memory, rows = think_over(engine, bridge, prompts, latent_steps)
    else:
        assert align is not None, "made above"
        memory, rows = engine.think(engine.prefill(prompts, spare=latent_steps), latent_steps, align)
    seconds = (time.perf_counter() - began) / len(records)
    passes = latent_steps if bridge is not None else latent_steps + 1
    return [
        SenderOutput("", row.to(MESSAGE_DTYPE).cpu(), seconds, int(position), passes, latent_steps)
        for row, position in zip(rows, memory.next_position, strict=True)
    ]


def resample(resampler: Resampler, sent: Sequence[SenderOutput], rows: int) -> list[SenderOutput]:
    """Sum full messages up; the sender's time is that of the full message and the sum."""
    device = resampler.queries.device
    began = time.perf_counter()
    full, mask = padded_rows([one.states for one in sent], device)
    with torch.no_grad():
        summed = resampler(full, mask, rows).to(MESSAGE_DTYPE).cpu()
    seconds = (time.perf_counter() - began) / len(sent)
    return [
        SenderOutput(one.plan, row, one.seconds + seconds, one.tokens, one.passes)
        for one, row in zip(sent, summed, strict=True)
    ]


class Sender:
    """Makes the messages of every variant; what several of them need is made once.

    Args:
        scout: folder of the scout.
        compressed: folder of a compressed sender, needed for its variants.
        resampler: folder of a resampler, needed for its variants.
        games: all games of the run.
        batch_size: games at once.
        seed: of sampled plans and controls.
        max_plan_tokens: most tokens of a plan.
        template: arguments of the chat templates, over those that the models were trained with.
    """

    def __init__(
        self,
        scout: str,
        games: Sequence[dict[str, Any]],
        *,
        compressed: str | None = None,
        resampler: str | None = None,
        batch_size: int = 50,
        seed: int = 0,
        max_plan_tokens: int = 80,
        template: TemplateOptions | None = None,
    ) -> None:
        self.games = {game["item"]: game for game in games}
        self.engine, _ = load_engine(scout, template, dtype="float32")
        self.batch_size = batch_size
        self.seed = seed
        self.max_plan_tokens = max_plan_tokens
        self.resampler = Resampler.load(resampler, self.engine.device) if resampler else None
        self.compressed: tuple[Engine, Bridge] | None = None
        if compressed:
            thinking, _ = load_engine(compressed, template, dtype="float32")
            self.compressed = thinking, Bridge.load(compressed, thinking.device)
        self._sent: dict[str, dict[str, SenderOutput]] = {}

    def sent(self, style: str) -> dict[str, SenderOutput]:
        """Item -> what the sender made: "plan", "sampled", "list", or a short variant."""
        if style not in self._sent:
            made: dict[str, SenderOutput] = {}
            games = list(self.games.values())
            for start in range(0, len(games), self.batch_size):
                batch = games[start : start + self.batch_size]
                made |= {game["item"]: one for game, one in zip(batch, self._make(style, batch), strict=True)}
            self._sent[style] = made
        return self._sent[style]

    def _make(self, style: str, batch: Sequence[dict[str, Any]]) -> list[SenderOutput]:
        name, rows = style.partition(":")[0], rows_of(style)
        if name == ROLLOUT:
            return think(self.engine, None, batch, rows)
        if name == COMPRESSED:
            assert self.compressed is not None, "checked when the configuration was made"
            return think(*self.compressed, batch, rows)
        if name == RESAMPLED:
            assert self.resampler is not None, "checked when the configuration was made"
            plans = self.sent("plan")
            return resample(self.resampler, [plans[game["item"]] for game in batch], rows)
        sampling = Sampling(temperature=1.0 if style == "sampled" else 0.0, max_new_tokens=self.max_plan_tokens)
        return send(self.engine, batch, "list" if style == "list" else "plan", sampling, self.seed)

    def messages(
        self, variant: str, games: Sequence[dict[str, Any]]
    ) -> tuple[list[Message], list[SenderOutput | None]]:
        """The messages of some games and what the sender did for them (None: nothing)."""
        items = [game["item"] for game in games]
        if variant in ("none", "latent_unsent"):
            return [None] * len(games), [None] * len(games)
        if variant in _STYLE_OF:
            sent = [self.sent(_STYLE_OF[variant])[item] for item in items]
            return [final_part(origin.plan) or "" for origin in sent], list(sent)
        made = self.sent(variant if rows_of(variant) else "plan")
        sent = [made[item] for item in items]
        if variant == "latent_told":
            return [final_part(origin.plan) or "" for origin in sent], list(sent)
        if variant == "latent" or rows_of(variant):
            return [origin.states for origin in sent], list(sent)
        if variant.replace("-", "_") == CROSS_TASK:
            everything = list(self.games)
            tasks = [(game["task_type"], game["layout"]["target_type"]) for game in self.games.values()]
            partners = cross_task_partners(everything, run_seed=self.seed, tasks=tasks)
            partner_of = {item: everything[p] for item, p in zip(everything, partners, strict=True)}
            sent = [made[partner_of[item]] for item in items]
            return [origin.states for origin in sent], list(sent)
        states = control_messages(variant, [origin.states for origin in sent], items, run_seed=self.seed)
        return list(states), list(sent)


def _prompts(engine: Engine, records: Sequence[dict[str, Any]], style: str) -> list[list[Part]]:
    texts = [scout_prompt(r["opening"], r["episodes"][0]["evidence"], style) for r in records]
    return [engine.chat.opening([("user", text)]) for text in texts]
