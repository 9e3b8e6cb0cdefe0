"""Training examples: token ids, labels and the place of a message, built by the same functions as prompts at play."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interlat.connectors.base import padded_rows
from interlat.engine.chat import ChatFormat
from interlat.engine.prompt import Text, Tokens, tokenize
from interlat.errors import InputError
from interlat.store.batches import length_sorted_batches

IGNORED = -100


@dataclass(frozen=True)
class Example:
    """One conversation. A message, if any, goes between ``before`` and ``after``."""

    before: tuple[int, ...]
    """Ids up to and including ``<bop>``; for a conversation without a message all that comes before the reply."""
    after: tuple[int, ...]
    """The remaining ids."""
    labels: tuple[int, ...]
    """For each id of ``after``: what is to be learned there, itself or a better one, else -100."""
    weights: tuple[float, ...]
    """For each id of ``after``: the weight of its loss."""
    item: str = ""
    """What it is about, such as a game and a draw of its evidence."""
    soft: tuple[tuple[int, tuple[tuple[int, float], ...]], ...] = ()
    """(index into ``after``, ((token id, probability), ...)) where the label is one draw from a known distribution."""

    @property
    def label_weight(self) -> float:
        """Sum of the weights of all that is to be learned."""
        return sum(weight for weight, label in zip(self.weights, self.labels, strict=True) if label != IGNORED)


def padded_ids(
    sequences: Sequence[Sequence[int]], side: Literal["left", "right"]
) -> tuple[Int[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """Token ids padded with 0, and the mask that is True where an id is real."""
    rows = [torch.tensor(ids, dtype=torch.long) for ids in sequences]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_side=side)
    lengths, places = torch.tensor([len(row) for row in rows])[:, None], torch.arange(ids.shape[1])
    return ids, places < lengths if side == "right" else places >= ids.shape[1] - lengths


def ids_of(text: str, chat: ChatFormat, literal: bool = True) -> tuple[int, ...]:
    """Token ids of a text without any special token added, or, if it is literal, written in it."""
    parts = tokenize([Text(text, literal)], chat.tokenizer)
    return parts[0].ids if parts and isinstance(parts[0], Tokens) else ()


@dataclass(frozen=True)
class Batch:
    """Right-padded examples. Padding comes last, so causal attention never reads it."""

    ids: Int[Tensor, "B T"]
    """0 at message rows and padding."""
    real: Bool[Tensor, "B T"]
    """False at padding."""
    labels: Int[Tensor, "B T"]
    weights: Float[Tensor, "B T"]
    message_positions: Bool[Tensor, "B T"]
    """True where a latent row goes, in the order of ``messages``."""
    messages: Float[Tensor, "B K D"] | None = None
    message_mask: Bool[Tensor, "B K"] | None = None
    """True where a row of a message is real."""
    message_taken: Bool[Tensor, "B K"] | None = None
    """True where such a row is in the conversation; the adapter reads the whole message all the same."""

    @property
    def supervised(self) -> Bool[Tensor, "B T-1"]:
        """Where the next token is to be learned."""
        return self.labels[:, 1:] != IGNORED

    @property
    def targets(self) -> Int[Tensor, "N"]:
        """The labels of the supervised positions, in reading order."""
        return self.labels[:, 1:][self.supervised]

    @property
    def label_weights(self) -> Float[Tensor, "N"]:
        """Their weights."""
        return self.weights[:, 1:][self.supervised]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        moved: dict[str, Any] = {n: value.to(device) for n, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


@dataclass(frozen=True, eq=False)
class Mixed:
    """A message of which the first rows are latent and the rest are words, see `interlat.training.branches`."""

    rows: Float[Tensor, "K D"]
    """The whole latent message."""
    taken: int
    """How many of its first rows stand in the conversation."""
    words: tuple[int, ...] = ()
    """Token ids that stand behind them."""

    def __len__(self) -> int:
        """Positions that the message takes."""
        return self.taken + len(self.words)


Message = Sequence[int] | Tensor | Mixed | None


def collate(examples: Sequence[Example], messages: Sequence[Message], reading_weight: float = 0.0) -> Batch:
    """Put examples and their messages (token ids, latent rows ``[K, D]`` that are all taken, or None) into one batch.

    ``reading_weight`` is the loss weight of the tokens that have no label of their own, text messages included; 0 does
    not learn them.
    """
    if len(examples) != len(messages):
        raise InputError(f"{len(examples)} examples but {len(messages)} messages; give one message an example")
    messages = [Mixed(message, len(message)) if isinstance(message, Tensor) else message for message in messages]
    taken = [message.taken if isinstance(message, Mixed) else 0 for message in messages]
    ids: list[list[int]] = []
    labels: list[list[int]] = []
    weights: list[list[float]] = []
    latent: list[list[bool]] = []
    for example, message, rows in zip(examples, messages, taken, strict=True):
        words = message.words if isinstance(message, Mixed) else message or ()
        unlearned = len(example.before) + rows + len(words)
        ids.append([*example.before, *[0] * rows, *words, *example.after])
        labels.append([*[IGNORED] * unlearned, *example.labels])
        weights.append([*[0.0] * unlearned, *example.weights])
        latent.append([0 <= place - len(example.before) < rows for place in range(len(ids[-1]))])
        if reading_weight:
            for place, label in enumerate(labels[-1]):
                if label == IGNORED and not latent[-1][place]:
                    labels[-1][place], weights[-1][place] = ids[-1][place], reading_weight

    def padded(rows: Sequence[Sequence[float]], value: float) -> Tensor:
        return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)

    own_ids, real = padded_ids(ids, "right")
    batch = Batch(own_ids, real, padded(labels, IGNORED), padded(weights, 0.0), padded(latent, False))
    latents = [message.rows for message in messages if isinstance(message, Mixed)]
    if not latents:
        return batch
    full = [message.rows if isinstance(message, Mixed) else latents[0][:0] for message in messages]
    states, mask = padded_rows(full)
    in_text = torch.arange(mask.shape[1], device=mask.device) < torch.tensor(taken, device=mask.device)[:, None]
    return replace(batch, messages=states, message_mask=mask, message_taken=in_text)


def embed_batch(batch: Batch, embedding: nn.Module, adapter: nn.Module | None) -> Float[Tensor, "B T D"]:
    """Input embeddings of a batch, message rows passed through the adapter."""
    embeddings: Tensor = embedding(batch.ids)
    if batch.messages is None or batch.message_mask is None or batch.message_taken is None:
        return embeddings
    if adapter is None:
        raise InputError("the batch holds latent messages but there is no adapter; give one")
    rows = adapter(batch.messages, batch.message_mask, dtype=embeddings.dtype)
    return embeddings.masked_scatter(batch.message_positions.unsqueeze(-1), rows[batch.message_taken])


class Order:
    """Batches of ``batch_size`` examples of similar length, in a new order every epoch."""

    def __init__(self, examples: Sequence[Example], batch_size: int, seed: int) -> None:
        self.examples = examples
        self.lengths = [len(example.before) + len(example.after) for example in examples]
        self.size = batch_size
        self.seed = seed
        self.epoch = -1
        self.batches: list[list[int]] = []

    def of(self, step: int) -> list[Example]:
        """The examples of a step, always ``batch_size`` of them: a short batch is filled up with others at random."""
        per_epoch = -(-len(self.examples) // self.size)
        epoch = step // per_epoch
        if epoch != self.epoch:
            name = f"actor/{self.seed}/{epoch}"
            self.epoch, self.batches = epoch, length_sorted_batches(self.lengths, self.size, name)
        numbers = self.batches[step % per_epoch]
        missing = self.size - len(numbers)
        fill = random.Random(f"fill/{self.seed}/{step}").choices(range(len(self.examples)), k=missing)
        return [self.examples[number] for number in [*numbers, *fill]]
