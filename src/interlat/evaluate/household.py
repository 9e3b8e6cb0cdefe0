"""Evaluate channels between a scout and an actor on held-out household games, with controls.

Variants: ``none``, ``text`` (greedy plan), ``text_sampled``, ``list`` (a plan that names every place), ``latent``,
``latent_unsent`` (the latent actor without a message), ``latent_told`` (the latent actor with the plan in words), and
every control of `interlat.evaluate.controls`, which replaces the message of the latent actor. One JSON line an episode
in ``results.jsonl``; what is there is not played again.
"""

import dataclasses
import functools
import hashlib
import json
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interlat.agents.household import scout_prompt
from interlat.agents.player import Episode, Message, play_games
from interlat.align.adapter import CommunicationAdapter
from interlat.engine.sampling import Sampling, row_seed
from interlat.engine.transformers import Engine
from interlat.errors import InputError
from interlat.evaluate.controls import CROSS_TASK, control_messages, cross_task_partners, is_control
from interlat.files import append_line, read_lines, write_atomically
from interlat.worlds.pool import GamePool

RESULTS_FILE = "results.jsonl"
INSPECTIONS_FILE = "inspections.json"
PLAIN_VARIANTS = ("none", "text", "text_sampled", "list", "latent", "latent_unsent", "latent_told")
DEMO_VARIANTS = ("none", "text", "latent", "cross_task", "zeros", "gaussian")
MESSAGE_DTYPE = torch.bfloat16
"""Hidden states travel as they were stored for training."""
_ACTOR_OF = {"none": "none", "text": "text", "text_sampled": "text", "list": "list"}


def check_variants(variants: Sequence[str]) -> None:
    """Raise an InputError unless all of ``variants`` are known, and at least one is given."""
    if not variants:
        raise InputError(f"no variants; choose from {', '.join(PLAIN_VARIANTS)} or a control such as zeros")
    for variant in variants:
        if variant not in PLAIN_VARIANTS and not is_control(variant):
            raise InputError(
                f"unknown variant {variant!r}; choose from {', '.join(PLAIN_VARIANTS)} or a control such as zeros"
            )


@dataclass(frozen=True)
class Checkpoints:
    """Folders of the trained models."""

    scout: str
    """The sender."""
    none: str
    """Actor trained without messages."""
    text: str
    """Actor trained on text plans."""
    latent: str
    """Actor and adapter trained on hidden states."""
    list: str | None = None
    """Actor trained on plans that name every place."""


def _content_digest(place: str) -> str:
    """Digest of the files of a checkpoint's folder without its card; the name itself for a hub id."""
    files = sorted(path for path in Path(place).glob("*") if path.is_file() and path.name != "README.md")
    if not files:
        return place
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as handle:
            digest.update(path.name.encode() + hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


@dataclass(frozen=True)
class EvaluateHousehold:
    """Play held-out games under several variants of the message."""

    checkpoints: Checkpoints
    """The models."""
    output: str
    """The run directory."""
    variants: tuple[str, ...] = DEMO_VARIANTS
    """What stands between scout and actor."""
    batch_size: int = 50
    """Games in one batch."""
    seed: int = 0
    """Seed of sampled plans and controls."""
    workers: int = 2
    """Processes that run the games."""
    max_plan_tokens: int = 80
    """Most tokens of a plan."""

    def __post_init__(self) -> None:
        check_variants(self.variants)
        if "list" in self.variants and self.checkpoints.list is None:
            raise InputError("variant 'list' needs the checkpoint of an actor trained on list plans")

    @functools.cached_property
    def hash(self) -> str:
        """Twelve digits of all that decides a result: every setting but output, workers and variants, and every model.

        A folder is known by its content and not by its name, so that a model that was trained on is another one.
        It is read once, at the first use: a run has one hash from its first episode to its last.
        """
        fields = {k: v for k, v in dataclasses.asdict(self).items() if k not in ("output", "workers", "variants")}
        fields["checkpoints"] = {
            role: _content_digest(place) for role, place in fields["checkpoints"].items() if place is not None
        }
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Sent:
    """What the scout made of one game."""

    plan: str
    states: Tensor
    seconds: float
    """The game's share of the scout's batch."""
    tokens: int
    """Prompt and plan together."""
    passes: int


def send(engine: Engine, records: Sequence[dict[str, Any]], style: str, sampling: Sampling, seed: int) -> list[Sent]:
    """Let the scout write about games, one batch, with its time."""
    prompts = [scout_prompt(r["opening"], r["episodes"][0]["evidence"], style) for r in records]
    began = time.perf_counter()
    memory = engine.prefill([engine.chat.opening([("user", prompt)]) for prompt in prompts])
    seeds = [row_seed(seed, record["item"], "scout") for record in records]
    decoded = engine.decode(memory, sampling, seeds, keep_hidden_states=True)
    seconds = (time.perf_counter() - began) / len(records)
    return [
        Sent(
            plan=decoded.texts[row],
            states=decoded.hidden_states[row].to(MESSAGE_DTYPE).cpu(),
            seconds=seconds,
            tokens=int(decoded.memory.next_position[row]),
            passes=decoded.forward_passes + 1,
        )
        for row in range(len(records))
    ]


def evaluate_household(config: EvaluateHousehold, records: Sequence[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    """Run or continue the evaluation; yields (episodes done, episodes in all) as it goes.

    Args:
        config: the settings.
        records: games with one drawn evidence each, as `interlat.collect.episodes` writes them.

    Raises:
        InputError: no games, or an unknown variant.
    """
    games = [record for record in records if record["episodes"]]
    if not games:
        raise InputError("no game to play: none of the games is a search problem; author more games")
    results = Path(config.output) / RESULTS_FILE
    kept = [line for line in read_lines(results) if line["config_hash"] == config.hash]
    done = {(line["item"], line["variant"]) for line in kept}
    total = len(games) * len(config.variants)
    wanted = [(v, g) for v in config.variants for g in games if (g["item"], v) not in done]
    yield total - len(wanted), total
    if not wanted:
        return
    sender = _Sender(config, games)
    actors: dict[str, tuple[Engine, CommunicationAdapter | None]] = {}
    count = total - len(wanted)
    with GamePool(config.workers, games_kept=config.batch_size) as pool:
        # Batches of games outermost: a loaded game is then reused by every variant.
        for start in range(0, len(games), config.batch_size):
            batch = games[start : start + config.batch_size]
            for variant in config.variants:
                todo = [game for game in batch if (game["item"], variant) not in done]
                if not todo:
                    continue
                kind = _ACTOR_OF.get(variant, "latent")
                if kind not in actors:
                    actors[kind] = _load_actor(getattr(config.checkpoints, kind), kind == "latent")
                engine, adapter = actors[kind]
                messages, sent = sender.messages(variant, todo)
                episodes = play_games(
                    engine,
                    pool,
                    [game["game"] for game in todo],
                    messages,
                    [game["max_steps"] for game in todo],
                    adapter,
                )
                for game, message, origin, episode in zip(todo, messages, sent, episodes, strict=True):
                    append_line(results, _record(config, variant, kind, game, message, origin, episode))
                count += len(todo)
                yield count, total


def _load_actor(folder: str, latent: bool) -> tuple[Engine, CommunicationAdapter | None]:
    return Engine.load(folder, dtype="float32"), CommunicationAdapter.load(folder).eval() if latent else None


class _Sender:
    """Makes the messages of every variant; each plan is written once."""

    def __init__(self, config: EvaluateHousehold, games: Sequence[dict[str, Any]]) -> None:
        self.config = config
        self.games = {game["item"]: game for game in games}
        self.engine = Engine.load(config.checkpoints.scout, dtype="float32")
        self._sent: dict[str, dict[str, Sent]] = {}

    def sent(self, style: str) -> dict[str, Sent]:
        """Item -> what the scout wrote: "plan", "sampled" or "list"."""
        if style not in self._sent:
            sampling = Sampling(
                temperature=1.0 if style == "sampled" else 0.0, max_new_tokens=self.config.max_plan_tokens
            )
            written: dict[str, Sent] = {}
            games = list(self.games.values())
            for start in range(0, len(games), self.config.batch_size):
                batch = games[start : start + self.config.batch_size]
                request = "list" if style == "list" else "plan"
                answers = send(self.engine, batch, request, sampling, self.config.seed)
                written |= {game["item"]: answer for game, answer in zip(batch, answers, strict=True)}
            self._sent[style] = written
        return self._sent[style]

    def messages(self, variant: str, games: Sequence[dict[str, Any]]) -> tuple[list[Message], list[Sent | None]]:
        """The messages of some games and what the scout did for them (None: nothing)."""
        items = [game["item"] for game in games]
        if variant in ("none", "latent_unsent"):
            return [None] * len(games), [None] * len(games)
        if variant in ("text", "text_sampled", "list"):
            style = {"text": "plan", "text_sampled": "sampled", "list": "list"}[variant]
            sent = [self.sent(style)[item] for item in items]
            return [origin.plan for origin in sent], list(sent)
        plans = self.sent("plan")
        sent = [plans[item] for item in items]
        if variant == "latent_told":
            return [origin.plan for origin in sent], list(sent)
        if variant == "latent":
            return [origin.states for origin in sent], list(sent)
        if variant.replace("-", "_") == CROSS_TASK:
            everything = list(self.games)
            tasks = [(game["task_type"], game["layout"]["target_type"]) for game in self.games.values()]
            partners = cross_task_partners(everything, run_seed=self.config.seed, tasks=tasks)
            partner_of = {item: everything[p] for item, p in zip(everything, partners, strict=True)}
            sent = [plans[partner_of[item]] for item in items]
            return [origin.states for origin in sent], list(sent)
        states = control_messages(variant, [origin.states for origin in sent], items, run_seed=self.config.seed)
        return list(states), list(sent)


def _size_in_bytes(message: Message) -> int:
    if isinstance(message, Tensor):
        return message.numel() * message.element_size()
    return len((message or "").encode())


def _record(
    config: EvaluateHousehold,
    variant: str,
    actor: str,
    game: dict[str, Any],
    message: Message,
    sent: Sent | None,
    episode: Episode,
) -> dict[str, Any]:
    hidden = isinstance(message, Tensor)
    return {
        "item": game["item"],
        "variant": variant,
        "split": game["split"],
        "task_type": game["task_type"],
        "success": episode.won,
        "steps": episode.steps,
        "max_steps": game["max_steps"],
        "seed": config.seed,
        "config_hash": config.hash,
        "actor": actor,
        "message_kind": "hidden" if hidden else ("none" if message is None else "text"),
        "message_bytes": _size_in_bytes(message),
        "message_rows": len(message) if isinstance(message, Tensor) else 0,
        "prompt_tokens": episode.prompt_tokens,
        "decoded_tokens": episode.decoded_tokens,
        "sender_tokens": sent.tokens if sent else 0,
        "latent_steps": 0,
        "forward_passes": episode.forward_passes + (sent.passes if sent else 0),
        "sender_seconds": sent.seconds if sent else 0.0,
        "receiver_seconds": episode.receiver_seconds,
        "world_seconds": episode.world_seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "plan": sent.plan if sent else "",
        "turns": [{"action": action, "observation": observation} for action, observation in episode.turns],
    }


def inspect_plans(config: EvaluateHousehold, records: Sequence[dict[str, Any]], top: int = 5) -> dict[str, Any]:
    """What each row of the scout's latents decodes to under its own LM head, for the report's reader."""
    games = [record for record in records if record["episodes"]]
    sender = _Sender(config, games)
    result: dict[str, Any] = {}

    def word(token: int) -> str:
        return str(sender.engine.tokenizer.decode([token])).strip()

    for game in games:
        sent = sender.sent("plan")[game["item"]]
        scores = sender.engine.logits(sent.states.to(sender.engine.device, sender.engine.dtype)).float().softmax(dim=-1)
        values, ids = scores.topk(top, dim=-1)
        entropy = -(scores * scores.clamp_min(1e-12).log()).sum(dim=-1)

        result[game["item"]] = {
            "task": game["opening"].rsplit("Your task is to: ", 1)[-1],
            "evidence": game["episodes"][0]["evidence"],
            "plan": sent.plan,
            "rows": [
                {
                    "position": row,
                    "token": word(int(ids[row, 0])),
                    "norm": round(float(sent.states[row].norm()), 3),
                    "entropy": round(float(entropy[row]), 3),
                    "top": [
                        [word(int(token)), round(float(value), 4)]
                        for token, value in zip(ids[row], values[row], strict=True)
                    ],
                }
                for row in range(len(sent.states))
            ],
        }
    return result


def write_inspections(config: EvaluateHousehold, records: Sequence[dict[str, Any]]) -> Path:
    """Write `inspect_plans` into the run directory."""
    path = Path(config.output) / INSPECTIONS_FILE
    write_atomically(path, json.dumps(inspect_plans(config, records), ensure_ascii=False))
    return path


def resolved(config: EvaluateHousehold) -> dict[str, Any]:
    """The configuration as it is written into the run directory."""
    return {**dataclasses.asdict(config), "hash": config.hash, "torch": torch.__version__}
