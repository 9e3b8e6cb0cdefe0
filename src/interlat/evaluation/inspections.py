"""What the items of an evaluation ask, and for some of them what each latent of their messages says at both ends."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from interlat.agents.agent import Agent
from interlat.agents.inspection import Inspection, inspect
from interlat.agents.reception import Reception, receive
from interlat.environments.protocol import Environment, Item
from interlat.errors import MessageError, PromptError
from interlat.evaluation.run import ANSWER, Arm, Play, text_for
from interlat.files import write_atomically
from interlat.messages import EMBEDDINGS_LAYER, HiddenMessage, Message

INSPECTIONS_FILE = "inspections.json"
TOKENS = 5
"""Tokens that are kept of each latent at each end."""


def write_inspections(
    environment: Environment, agents: Mapping[str, Agent], arms: Sequence[Arm], settings: Play, count: int
) -> None:
    """Write ``inspections.json`` into the run directory, unless it is there for the same settings.

    Args:
        environment: what was played.
        agents, arms, settings: those of the run.
        count: items of whose messages the latents are shown, evenly taken from all.

    Raises:
        StorageError: the file system refused.
    """
    channels = list(dict.fromkeys(arm.channel.name for arm in arms if _has_latents(arm)))
    items = list(environment.items())
    known = {"config_hash": settings.config_hash, "count": count, "channels": channels, "of": len(items)}
    path = Path(settings.output) / INSPECTIONS_FILE
    if read_inspections(settings.output).get("made_with") == known:
        return
    found: dict[str, dict[str, Any]] = {
        item.id: {"task": item.question, "evidence": item.notes, "answer": str(item.facts.get(ANSWER, ""))}
        for item in items
    }
    several = min(count, len(items))
    chosen = [items[place * len(items) // several] for place in range(several)]
    for arm in arms:
        if _has_latents(arm):
            for item, one in _inspected(environment, chosen, agents, arm, settings):
                found[item].setdefault("messages", {})[arm.channel.name] = one
    write_atomically(path, json.dumps({"made_with": known, "items": found}, ensure_ascii=False))


def read_inspections(output: str | Path) -> dict[str, Any]:
    """What `write_inspections` wrote: ``items`` (item -> what is known of it) and ``made_with``; or nothing."""
    path = Path(output) / INSPECTIONS_FILE
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _has_latents(arm: Arm) -> bool:
    return arm.channel.kind == "hidden" and not arm.control


def _inspected(
    environment: Environment, items: Sequence[Item], agents: Mapping[str, Agent], arm: Arm, settings: Play
) -> list[tuple[str, dict[str, Any]]]:
    sender, receiver = agents[arm.sender], agents[arm.receiver]
    texts, ids = [text_for(item, settings.sees) for item in items], [item.id for item in items]
    made = [
        one
        for start in range(0, len(items), settings.batch_size)
        for one in arm.channel.make(
            sender, texts[start : start + settings.batch_size], ids[start : start + settings.batch_size], settings.send
        )
    ]
    found = []
    for item, one, begun in zip(items, made, environment.start(items), strict=True):
        message = arm.channel.message(one, settings.send)
        if isinstance(message, HiddenMessage) and message.header.layer != EMBEDDINGS_LAYER:
            said = inspect(message, sender, top_k=TOKENS)
            found.append((item.id, {"plan": one.text, "rows": rows_of(said, _received(message, receiver, begun.text))}))
    return found


def _received(message: Message, receiver: Agent, text: str) -> Reception | None:
    """What the receiver reads; None where the message does not fit beside the text, as it did not in the run."""
    try:
        return receive(message, receiver, text, top_k=TOKENS)
    except (PromptError, MessageError):
        return None


def rows_of(said: Inspection, reception: Reception | None = None) -> list[dict[str, Any]]:
    """The rows of an inspection, each with what the receiver reads for it, where it reads one for each."""
    rows: list[dict[str, Any]] = [
        {
            "position": row.index,
            "token": row.token or row.candidates[0].text,
            "norm": round(row.norm, 3),
            "entropy": round(row.entropy, 3),
            "top": [[one.text, round(one.probability, 4)] for one in row.candidates],
        }
        for row in said.rows
    ]
    if reception is not None and len(reception.rows) == len(rows):
        for row, read in zip(rows, reception.rows, strict=True):
            row["read"] = {
                "norm": round(read.norm, 3),
                "attention": None if read.attention is None else round(read.attention, 5),
                "near": [[one.text, round(one.similarity, 3)] for one in read.nearest],
            }
    return rows
