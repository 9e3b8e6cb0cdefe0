"""Training examples: token ids, labels and the place of a message, built by the same functions as prompts at play."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interlat.agents.household import BEGIN_MESSAGE, END_MESSAGE, actor_prompt, scout_prompt
from interlat.engine.chat import ChatFormat
from interlat.engine.prompt import Text, Tokens, tokenize
from interlat.errors import InputError

IGNORED = -100


@dataclass(frozen=True)
class Example:
    """One conversation. A message, if any, goes between ``before`` and ``after``."""

    before: tuple[int, ...]
    """Ids up to and including ``<bop>``; for a conversation without a message all that comes before the reply."""
    after: tuple[int, ...]
    """The remaining ids."""
    labels: tuple[int, ...]
    """For each id of ``after``: itself where it is to be learned, else -100."""
    weights: tuple[float, ...]
    """For each id of ``after``: the weight of its loss."""
    item: str = ""
    """Which game and draw it comes from."""


def ids_of(text: str, chat: ChatFormat) -> tuple[int, ...]:
    """Token ids of a text without any special token added."""
    parts = tokenize([Text(text)], chat.tokenizer)
    return parts[0].ids if parts and isinstance(parts[0], Tokens) else ()


def actor_example(record: dict[str, Any], episode: dict[str, Any], chat: ChatFormat) -> Example:
    """The expert's episode as the actor's conversation; learned are the commands and the ends of the turns."""
    prompt = f"{actor_prompt(record['opening'])}{BEGIN_MESSAGE}{END_MESSAGE}"
    opening = _ids(chat.opening([("user", prompt)]), chat)
    begin = chat.tokenizer.convert_tokens_to_ids(BEGIN_MESSAGE)
    split = len(opening) - opening[::-1].index(begin)
    after, labels = list(opening[split:]), [IGNORED] * (len(opening) - split)
    turns = episode["turns"]
    for number, (command, observation) in enumerate(turns):
        reply = ids_of(command, chat)
        rest = _ids(chat.continuation(observation), chat)
        if number == len(turns) - 1:
            rest = rest[:1]
        after += [*reply, *rest]
        labels += [*reply, rest[0], *([IGNORED] * (len(rest) - 1))]
    return Example(
        before=tuple(opening[:split]),
        after=tuple(after),
        labels=tuple(labels),
        weights=(1.0,) * len(after),
        item=f"{record['item']}#{episode['draw']}",
    )


def scout_example(
    opening_text: str, evidence: str, plan: str, style: str, places: Sequence[str], place_weight: float, chat: ChatFormat
) -> Example:
    """A scout's conversation; learned is the plan, with more weight on the names of places in doubt."""
    prompt = _ids(chat.opening([("user", scout_prompt(opening_text, evidence, style))]), chat)
    reply = ids_of(plan, chat)
    stop = _ids(chat.continuation("x"), chat)[0]
    place_ids = {ids_of(f" {place}", chat)[0] for place in places}
    weights = [place_weight if token in place_ids else 1.0 for token in reply]
    return Example(
        before=tuple(prompt), after=(*reply, stop), labels=(*reply, stop), weights=(*weights, 1.0)
    )


def _ids(parts: Sequence[Any], chat: ChatFormat) -> tuple[int, ...]:
    tokens = tokenize(parts, chat.tokenizer)
    return tuple(token for part in tokens if isinstance(part, Tokens) for token in part.ids)


@dataclass(frozen=True)
class Batch:
    """Right-padded examples. Padding stands behind everything, so causal attention never reads it."""

    ids: Int[Tensor, "B T"]
    """0 at message rows and padding."""
    labels: Int[Tensor, "B T"]
    weights: Float[Tensor, "B T"]
    message_positions: Bool[Tensor, "B T"]
    """True where a latent row goes, in the order of ``messages``."""
    messages: Float[Tensor, "B K D"] | None
    message_mask: Bool[Tensor, "B K"] | None


Message = Sequence[int] | Tensor | None


def collate(examples: Sequence[Example], messages: Sequence[Message]) -> Batch:
    """Put examples and their messages (token ids, latent rows ``[K, D]``, or None) into one batch."""
    if len(examples) != len(messages):
        raise InputError(f"{len(examples)} examples but {len(messages)} messages; give one message an example")
    lengths = [0 if message is None else len(message) for message in messages]
    totals = [len(e.before) + k + len(e.after) for e, k in zip(examples, lengths, strict=True)]
    width = max(totals)
    ids = torch.zeros(len(examples), width, dtype=torch.long)
    labels = torch.full((len(examples), width), IGNORED)
    weights = torch.zeros(len(examples), width)
    positions = torch.zeros(len(examples), width, dtype=torch.bool)
    for row, (example, message, length) in enumerate(zip(examples, messages, lengths, strict=True)):
        start = len(example.before)
        end = start + length + len(example.after)
        ids[row, :start] = torch.tensor(example.before, dtype=torch.long)
        if isinstance(message, Tensor):
            positions[row, start : start + length] = True
        elif length:
            ids[row, start : start + length] = torch.tensor(message, dtype=torch.long)
        ids[row, start + length : end] = torch.tensor(example.after)
        labels[row, start + length : end] = torch.tensor(example.labels)
        weights[row, start + length : end] = torch.tensor(example.weights)
    latents = [message for message in messages if isinstance(message, Tensor)]
    if not latents:
        return Batch(ids, labels, weights, positions, None, None)
    rows = max(len(message) for message in latents)
    padded = torch.zeros(len(examples), rows, latents[0].shape[-1])
    mask = torch.zeros(len(examples), rows, dtype=torch.bool)
    for row, message in enumerate(messages):
        if isinstance(message, Tensor):
            padded[row, : len(message)] = message.float()
            mask[row, : len(message)] = True
    return Batch(ids, labels, weights, positions, padded, mask)


def embed_batch(batch: Batch, embedding: nn.Module, adapter: nn.Module | None) -> Float[Tensor, "B T D"]:
    """Input embeddings of a batch, message rows passed through the adapter."""
    embeddings: Tensor = embedding(batch.ids)
    if batch.messages is None or batch.message_mask is None:
        return embeddings
    if adapter is None:
        raise InputError("the batch holds latent messages but there is no adapter; give one")
    rows = adapter(batch.messages, batch.message_mask, dtype=embeddings.dtype)
    return embeddings.masked_scatter(batch.message_positions.unsqueeze(-1), rows[batch.message_mask])


def length_sorted_batches(lengths: Sequence[int], batch_size: int, seed: str) -> list[list[int]]:
    """One epoch of batches of similar length, in random order: sorted inside random chunks of 16 batches."""
    rng = random.Random(seed)
    order = list(range(len(lengths)))
    rng.shuffle(order)
    chunk = 16 * batch_size
    batches = []
    for start in range(0, len(order), chunk):
        ordered = sorted(order[start : start + chunk], key=lambda index: lengths[index])
        batches += [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]
    rng.shuffle(batches)
    return batches
