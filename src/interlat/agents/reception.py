"""What a receiver makes of a hidden message: the rows that it reads, which tokens they resemble, and its attention."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from interlat.agents.agent import Agent
from interlat.engine.hf import HFEngine
from interlat.engine.prompt import Latents, embed_prompts, prompt_length, tokenize
from interlat.errors import InputError, MessageError
from interlat.messages import HiddenMessage, Message

ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Neighbour:
    """A token whose input embedding points the same way as a row."""

    token_id: int
    """Id in the receiver's vocabulary."""
    text: str
    """The token as text."""
    similarity: float
    """Cosine of the angle between the row and the embedding, from -1 to 1."""


@dataclass(frozen=True)
class ReceivedRow:
    """One row as the receiver reads it: behind its adapter or connector."""

    index: int
    """Row k."""
    nearest: tuple[Neighbour, ...]
    """The tokens with the most similar input embeddings, best first."""
    norm: float
    """Euclidean norm of the row; input embeddings have a mean norm of `Reception.embedding_norm`."""
    attention: float | None
    """Share of the receiver's attention that the row has where the reply begins, a mean over layers and heads; None
    where the engine does not show its attention."""


@dataclass(frozen=True)
class Reception:
    """What a receiver reads for one message."""

    model: str
    """The receiver."""
    embedding_norm: float
    """Mean norm of its input embeddings."""
    rows: tuple[ReceivedRow, ...]
    """One entry a row that it reads; a connector may make more or fewer of them than the message has."""


def receive(message: Message, receiver: Agent, text: str, *, top_k: int = 5) -> Reception:
    """What a receiver reads for a hidden message when it is told ``text``.

    Attention is measured at the last position of the prompt, which predicts the first token of the reply.

    Args:
        message: a hidden message that the receiver can read.
        receiver: the agent that reads it.
        text: the first user turn.
        top_k: neighbours a row.

    Raises:
        InputError: ``top_k`` is below 1.
        CheckpointError, MessageError, PromptError: as `Agent.reply`; or the message is not a hidden one.
    """
    if top_k < 1:
        raise InputError(f"top_k is {top_k}, expected at least 1; raise it")
    if not isinstance(message, HiddenMessage):
        raise MessageError(f"a {message.kind} message has no rows of hidden states; give a hidden message")
    engine = receiver.engine
    (rows,) = receiver.read_many([message])
    assert rows is not None, "a hidden message is read as rows"
    table = engine.input_embeddings
    similar, ids = nearest_embeddings(rows, table, top_k)
    attention = attention_to_latents(receiver, text, message) if isinstance(engine, HFEngine) else None
    received = [
        ReceivedRow(
            index,
            tuple(
                Neighbour(token, str(engine.tokenizer.decode([token])), value)
                for token, value in zip(ids[index].tolist(), similar[index].tolist(), strict=True)
            ),
            row.float().norm().item(),
            None if attention is None else float(attention[index]),
        )
        for index, row in enumerate(rows)
    ]
    return Reception(engine.name, float(table.float().norm(dim=-1).mean()), tuple(received))


@torch.no_grad()
def nearest_embeddings(
    rows: Float[Tensor, "K D"], table: Float[Tensor, "V D"], top_k: int
) -> tuple[Float[Tensor, "K k"], Int[Tensor, "K k"]]:
    """The rows of a table with the largest cosine similarity to each row, best first: (similarities, places)."""
    directions = functional.normalize(table.float(), dim=-1)
    parts = [
        (functional.normalize(some.float(), dim=-1) @ directions.T).topk(min(top_k, len(table)), dim=-1)
        for some in rows.split(ROWS_AT_ONCE)
    ]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


@torch.no_grad()
def attention_to_latents(receiver: Agent, text: str, message: HiddenMessage) -> Float[Tensor, "K"]:
    """The share of attention of each latent at the last position of the receiver's prompt, a mean over layers and
    heads. All positions of the prompt together have 1.

    Raises:
        InputError: the engine is not one of Hugging Face.
        CheckpointError, MessageError, PromptError: as `Agent.reply`.
    """
    engine = receiver.engine
    if not isinstance(engine, HFEngine):
        raise InputError(f"{engine.name} runs in a {type(engine).__name__}, which shows no attention; load it with hf")
    parts = tokenize(receiver.prompt(text, message), engine.tokenizer)
    embeddings, _ = embed_prompts([parts], engine.model.get_input_embeddings(), engine.hidden_size)
    with _showing_attention(engine.model) as model:
        before = model(inputs_embeds=embeddings[:, :-1], use_cache=True, logits_to_keep=1)
        last = model(inputs_embeds=embeddings[:, -1:], past_key_values=before.past_key_values, output_attentions=True)
    width = embeddings.shape[1]
    shares = [
        # A layer with a window keeps the last positions alone.
        functional.pad(layer[0, :, -1].float().mean(dim=0), (width - layer.shape[-1], 0))
        for layer in last.attentions
    ]
    of_position = torch.stack(shares).mean(dim=0)
    begins = [sum(prompt_length([part]) for part in parts[:place]) for place in range(len(parts))]
    found = [
        of_position[begin : begin + len(part.rows)]
        for begin, part in zip(begins, parts, strict=True)
        if isinstance(part, Latents)
    ]
    return torch.cat(found)


@contextmanager
def _showing_attention(model: PreTrainedModel) -> Iterator[Any]:
    """The model with the implementation of attention that returns its weights."""
    used = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield model
    finally:
        model.set_attn_implementation(used)
