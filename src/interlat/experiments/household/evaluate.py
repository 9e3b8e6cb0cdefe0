"""Evaluate channels between a scout and an actor on held-out household games, with controls.

Variants: ``none``, ``text`` (greedy plan), ``text_sampled``, ``list`` (a plan that names every place), ``latent``,
``latent_unsent`` (the latent actor without a message), ``latent_told`` (the latent actor with the plan in words);
messages of K rows to the latent actor: ``compressed:K`` (a trained sender's latents), ``resampled:K``, ``rollout:K``
(the scout's own latent steps, untrained); and every control of `interlat.controls`, which replaces the message
of the latent actor. One JSON line an episode in ``results.jsonl``; what is there is not played again.
"""

import dataclasses
import functools
import hashlib
import json
import resource
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interlat.agents.agent import load_engine
from interlat.agents.settings import MessageKind
from interlat.connectors.adapter import CommunicationAdapter
from interlat.engine.protocol import Engine
from interlat.engine.template import TemplateOptions
from interlat.environments.alfworld.pool import GamePool
from interlat.errors import InputError
from interlat.evaluation.pairing import check_role, check_sender
from interlat.experiments.household.player import Episode, Message, play_games
from interlat.experiments.household.sending import (
    COMPRESSED,
    LATENT_WITHOUT_STATES,
    RESAMPLED,
    Sender,
    SenderOutput,
    check_variants,
    size_in_bytes,
)
from interlat.files import append_line, locked, write_atomically
from interlat.results import RESULT_FIELDS, Results, read_results

RESULTS_FILE = "results.jsonl"
INSPECTIONS_FILE = "inspections.json"
DEFAULT_VARIANTS = ("none", "text", "latent", "cross_task", "zeros", "gaussian")
DTYPE = "float32"
"""Number format of the models: here an episode does not depend on those beside it."""
EPISODE_FIELDS: Mapping[str, type] = {
    "split": str,
    "task_type": str,
    "success": bool,
    "steps": int,
    "max_steps": int,
    "seed": int,
    "actor": str,
    "message_kind": str,
    "message_bytes": int,
    "message_rows": int,
    "prompt_tokens": int,
    "decoded_tokens": int,
    "sender_tokens": int,
    "latent_steps": int,
    "forward_passes": int,
    "sender_seconds": float,
    "receiver_seconds": float,
    "world_seconds": float,
    "plan": str,
    "turns": list,
}
"""What every line of this configuration has beside item, variant and hash, so that a report can be made of it."""
_ACTOR_OF = {"none": "none", "text": "text", "text_sampled": "text", "list": "list"}
_READS: dict[str, MessageKind] = {"none": "none", "text": "text", "list": "text", "latent": "hidden"}
"""Actor -> the kind of message that it was trained with."""


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
    compressed: str | None = None
    """Sender trained to send the latent actor a few latents."""
    resampler: str | None = None
    """Resampler trained to sum the scout's states up for the latent actor."""


def content_digest(place: str) -> str:
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
    variants: tuple[str, ...] = DEFAULT_VARIANTS
    """What stands between scout and actor."""
    batch_size: int = 50
    """Games in one batch."""
    seed: int = 0
    """Seed of sampled plans and controls."""
    workers: int = 2
    """Processes that run the games."""
    max_plan_tokens: int = 80
    """Most tokens of a plan."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat templates, over those that the models were trained with."""

    def __post_init__(self) -> None:
        check_variants(self.variants)
        for name, folder, what in (
            ("list", self.checkpoints.list, "an actor trained on list plans"),
            (COMPRESSED, self.checkpoints.compressed, "a compressed sender"),
            (RESAMPLED, self.checkpoints.resampler, "a resampler"),
        ):
            wanted = [variant for variant in self.variants if variant.partition(":")[0] == name]
            if wanted and folder is None:
                raise InputError(f"variant {wanted[0]!r} needs the checkpoint of {what}; name its folder")

    @functools.cached_property
    def hash(self) -> str:
        """Twelve digits of all that decides a result: every setting but output, workers and variants, and every model.

        A folder is known by its content and not by its name, so that a model that was trained on is another one.
        It is read once, at the first use: a run has one hash from its first episode to its last.
        """
        fields = {k: v for k, v in dataclasses.asdict(self).items() if k not in ("output", "workers", "variants")}
        fields["template"] = self.template.record
        if not fields["template"]:
            del fields["template"]
        fields["checkpoints"] = {
            role: content_digest(place) for role, place in fields["checkpoints"].items() if place is not None
        }
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


def evaluate_household(config: EvaluateHousehold, records: Sequence[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    """Run or continue the evaluation; yields (episodes done, episodes in all) as it goes.

    Args:
        config: the settings.
        records: games with one drawn evidence each, as `interlat.experiments.household.collect_episodes` writes them.

    Raises:
        InputError: no games, an unknown variant, results of the same games with other evidence, or an actor that
            was trained to read another kind of message.
        MessageError: the latent actor was not trained to read these senders.
        StorageError: another process writes to the folder, or it has lines that are no results.
    """
    with locked(config.output):
        yield from _evaluate(config, records)


def _evaluate(config: EvaluateHousehold, records: Sequence[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    games = [record for record in records if record["episodes"]]
    if not games:
        raise InputError("no game to play: none of the games is a search problem; author more games")
    check_evidence(config, games)
    results = Path(config.output) / RESULTS_FILE
    done = {(line["item"], line["variant"]) for line in results_of(config).records}
    total = len(games) * len(config.variants)
    wanted = [(v, g) for v in config.variants for g in games if (g["item"], v) not in done]
    if not wanted:
        yield total, total
        return
    sender = _sender(config, games)
    actors: dict[str, tuple[Engine, CommunicationAdapter | None]] = {}
    for kind in dict.fromkeys(_ACTOR_OF.get(variant, "latent") for variant, _ in wanted):
        check_role(kind, getattr(config.checkpoints, kind), _READS[kind])
        actors[kind] = _load_actor(config, kind)
    _check_pairs(sender, actors, [variant for variant, _ in wanted])
    count = total - len(wanted)
    yield count, total
    with GamePool(config.workers, games_kept=config.batch_size) as pool:
        # Batches of games outermost: a loaded game is then reused by every variant.
        for start in range(0, len(games), config.batch_size):
            batch = games[start : start + config.batch_size]
            for variant in config.variants:
                todo = [game for game in batch if (game["item"], variant) not in done]
                if not todo:
                    continue
                kind = _ACTOR_OF.get(variant, "latent")
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


def results_of(config: EvaluateHousehold) -> Results:
    """The results of this configuration in its folder.

    Raises:
        StorageError: a line there is no result.
    """
    return read_results([Path(config.output) / RESULTS_FILE], config.hash, fields=EPISODE_FIELDS)


def read_played(directory: str | Path) -> Results:
    """The results in the folder of an evaluation, of all configurations.

    Raises:
        StorageError: a line there is no result.
    """
    return read_results([Path(directory) / RESULTS_FILE], base={**RESULT_FIELDS, "split": str, "success": bool})


def check_evidence(config: EvaluateHousehold, records: Sequence[dict[str, Any]]) -> None:
    """Refuse an output folder with results of the same games on other evidence, which would be taken for these.

    Raises:
        InputError: it has such a result. Those of earlier versions do not say on which evidence.
    """
    evidence = {record["item"]: record["episodes"][0]["evidence"] for record in records if record["episodes"]}
    for line in results_of(config).records:
        known, asked = line.get("evidence"), evidence.get(line["item"])
        if known and asked and known != asked:
            raise InputError(
                f"{config.output} has a result of {line['item']} with other evidence of the sender; "
                "give another output for these episodes"
            )


def _sender(config: EvaluateHousehold, games: Sequence[dict[str, Any]]) -> Sender:
    """With the parts that the variants need and no others."""
    names = {variant.partition(":")[0] for variant in config.variants}
    checkpoints = config.checkpoints
    return Sender(
        checkpoints.scout,
        games,
        compressed=checkpoints.compressed if COMPRESSED in names else None,
        resampler=checkpoints.resampler if RESAMPLED in names else None,
        batch_size=config.batch_size,
        seed=config.seed,
        max_plan_tokens=config.max_plan_tokens,
        template=config.template,
    )


def _check_pairs(
    sender: Sender, actors: dict[str, tuple[Engine, CommunicationAdapter | None]], variants: Sequence[str]
) -> None:
    """Refuse a sender whose states the latent actor was not trained to read, before a game is played."""
    _, adapter = actors.get("latent", (None, None))
    names = {variant.partition(":")[0] for variant in variants if variant not in _ACTOR_OF} - LATENT_WITHOUT_STATES
    if adapter is None or not names:
        return
    if COMPRESSED in names:
        assert sender.compressed is not None, "checked when the configuration was made"
        engine, bridge = sender.compressed
        check_sender(engine, adapter, bridge)
    if names - {COMPRESSED}:
        check_sender(sender.engine, adapter, resampler=sender.resampler if RESAMPLED in names else None)


def _load_actor(config: EvaluateHousehold, kind: str) -> tuple[Engine, CommunicationAdapter | None]:
    folder = getattr(config.checkpoints, kind)
    engine, _ = load_engine(folder, config.template, dtype=DTYPE)
    return engine, CommunicationAdapter.load(folder).eval() if kind == "latent" else None


def _record(
    config: EvaluateHousehold,
    variant: str,
    actor: str,
    game: dict[str, Any],
    message: Message,
    sent: SenderOutput | None,
    episode: Episode,
) -> dict[str, Any]:
    hidden = isinstance(message, Tensor)
    return {
        "item": game["item"],
        "variant": variant,
        "split": game["split"],
        "task_type": game["task_type"],
        "evidence": game["episodes"][0]["evidence"],
        "success": episode.won,
        "steps": episode.steps,
        "max_steps": game["max_steps"],
        "seed": config.seed,
        "config_hash": config.hash,
        "dtype": DTYPE,
        "actor": actor,
        "message_kind": "hidden" if hidden else ("none" if message is None else "text"),
        "message_bytes": size_in_bytes(message, variant),
        "message_rows": len(message) if isinstance(message, Tensor) else 0,
        "prompt_tokens": episode.prompt_tokens,
        "decoded_tokens": episode.decoded_tokens,
        "sender_tokens": sent.tokens if sent else 0,
        "latent_steps": sent.latent_steps if sent else 0,
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
    sender = _sender(config, games)
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
