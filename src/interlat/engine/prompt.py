"""A prompt is a list of parts: text, token ids, or latents; and how parts become model inputs."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from interlat.engine.control_tokens import control_tokens
from interlat.engine.prompt_text import Text as Text
from interlat.engine.prompt_text import filled as filled
from interlat.errors import PromptError


@dataclass(frozen=True)
class Tokens:
    """Token ids that enter the prompt as they are."""

    ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Latents:
    """Rows that enter the prompt as input embeddings, ``[K, D]`` with D the receiver's hidden size."""

    rows: Float[Tensor, "K D"]


Part = Text | Tokens | Latents
Prompt = Sequence[Part]
Prompts = Sequence[Prompt | str]


def as_parts(content: Prompt | str, *, literal: bool = False) -> list[Part]:
    """``content`` as a list of parts: a bare string is one text part, ``literal`` or not.

    Raises:
        PromptError: it is neither a string nor a list.
    """
    if isinstance(content, str):
        return [Text(content, literal)]
    if not isinstance(content, list | tuple):
        raise PromptError(
            f"a prompt is of the type {type(content).__name__}, expected a string or a list of parts; convert it"
        )
    return list(content)


def join_text(parts: Prompt) -> list[Part]:
    """The same prompt with neighbouring text parts of one kind joined and empty parts left out.

    Joining comes before tokenising, so that how a text was cut into parts never changes its tokens.
    """
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, Text):
            before = joined[-1] if joined else None
            if isinstance(before, Text) and before.literal == part.literal:
                joined[-1] = Text(before.text + part.text, part.literal)
            elif part.text:
                joined.append(part)
        elif isinstance(part, Tokens):
            if part.ids:
                joined.append(part)
        elif isinstance(part, Latents):
            if part.rows.shape[0]:
                joined.append(part)
        else:
            raise PromptError(f"a prompt part is a {type(part).__name__}; expected Text, Tokens or Latents")
    return joined


def tokenize(parts: Prompt | str, tokenizer: PreTrainedTokenizerBase) -> list[Tokens | Latents]:
    """Turn every text part into token ids; the one function for training and for inference.

    Special tokens are never added: a chat template writes those that it wants (a beginning-of-sequence token
    too) into its text, and `begun` begins a prompt without one. Neighbouring texts are joined first, and the ids are
    the tokenizer's ids of the joined text unless a literal text holds a control token.

    Returns:
        Token and latent parts in order; neighbouring token parts are merged.

    Raises:
        PromptError: something in the list is not a part, or the vocabulary cannot spell what a literal text holds.
    """
    result: list[Tokens | Latents] = []
    for kind, group in itertools.groupby(join_text(as_parts(parts)), type):
        found: list[Any] = list(group)
        if kind is Text:
            _add(result, control_tokens(tokenizer).split(found, tokenizer))
        elif kind is Tokens:
            _add(result, tuple(number for part in found for number in part.ids))
        else:
            result += found
    return result


def _add(parts: list[Tokens | Latents], ids: tuple[int, ...]) -> None:
    if parts and isinstance(parts[-1], Tokens):
        parts[-1] = Tokens(parts[-1].ids + ids)
    elif ids:
        parts.append(Tokens(ids))


def begun(parts: Prompt | str, tokenizer: PreTrainedTokenizerBase) -> list[Part]:
    """A prompt without a chat template, with the tokens that the tokenizer puts before a text, if it does.

    For Gemma, Llama and other base models that is the beginning-of-sequence token, without which they write nonsense.
    A prompt that has it already keeps the one; a tokenizer's token at the end of a text is never added.

    Args:
        parts: the whole prompt; not what continues a cache.

    Raises:
        PromptError: as `tokenize`.
    """
    text = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    whole = list(tokenizer("a")["input_ids"])
    start = next((n for n in range(len(whole)) if whole[n : n + len(text)] == text), 0)
    tokenized = tokenize(parts, tokenizer)
    first = tokenized[0] if tokenized else None
    if not start or not first or (isinstance(first, Tokens) and list(first.ids[:start]) == whole[:start]):
        return as_parts(parts)
    return [Tokens(tuple(whole[:start])), *as_parts(parts)]


def whole(prompt: Prompt | str, tokenizer: PreTrainedTokenizerBase) -> list[Part]:
    """The parts of a prompt that continues nothing: a string is `begun`, a list of parts is complete."""
    return begun(prompt, tokenizer) if isinstance(prompt, str) else as_parts(prompt)


def prompt_length(parts: Sequence[Tokens | Latents]) -> int:
    """Number of positions that tokenised ``parts`` take."""
    return sum(len(part.ids) if isinstance(part, Tokens) else part.rows.shape[0] for part in parts)


def token_ids_of(parts: Sequence[Tokens | Latents], filler: int = 0) -> list[int]:
    """The token ids of a tokenised prompt, with ``filler`` at the positions of latent rows."""
    ids: list[int] = []
    for part in parts:
        ids.extend(part.ids if isinstance(part, Tokens) else [filler] * part.rows.shape[0])
    return ids


def check_latents(rows: Tensor, hidden_size: int, number: int) -> None:
    """Raise a PromptError unless the latents of the prompt of that number are finite and ``hidden_size`` wide."""
    if rows.ndim != 2 or rows.shape[1] != hidden_size:
        raise PromptError(
            f"the latents of prompt {number} have shape {list(rows.shape)}, but this model reads latents of width "
            f"{hidden_size}; pass them through an adapter or another align method first"
        )
    if not torch.isfinite(rows).all():
        raise PromptError(f"the latents of prompt {number} contain NaN or infinity; check the sender or their file")


def embed_prompts(
    prompts: Sequence[Sequence[Tokens | Latents]], embedding: nn.Module, hidden_size: int
) -> tuple[Float[Tensor, "B T D"], Bool[Tensor, "B T"]]:
    """Input embeddings of tokenised prompts, padded with zeros on the left, and the mask of what is no padding.

    Args:
        prompts: B tokenised prompts; T is the length of the longest.
        embedding: the input embedding of the model, ids -> rows.

    Raises:
        PromptError: latents are not finite or not ``hidden_size`` wide.
    """
    device = next(embedding.parameters()).device
    ids = [torch.tensor(token_ids_of(parts)) for parts in prompts]
    padded, mask = (
        nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_side="left").to(device)
        for rows in (ids, [torch.ones_like(one, dtype=torch.bool) for one in ids])
    )
    embeddings: Tensor = embedding(padded).masked_fill(~mask[..., None], 0.0)
    for number, parts in enumerate(prompts):
        position = mask.shape[1] - len(ids[number])
        for part in parts:
            length = prompt_length([part])
            if isinstance(part, Latents):
                check_latents(part.rows, hidden_size, number)
                embeddings[number, position : position + length] = part.rows.to(embeddings)
            position += length
    return embeddings, mask
