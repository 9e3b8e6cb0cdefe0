"""A prompt is a list of parts: text, token ids, or latent rows; and how parts become model inputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from interlat.errors import PromptError


@dataclass(frozen=True)
class Text:
    """Text that the tokenizer of the model splits; special tokens written in it are special tokens."""

    text: str


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


def as_parts(content: Prompt | str) -> list[Part]:
    """``content`` as a list of parts: a bare string is one text part."""
    return [Text(content)] if isinstance(content, str) else list(content)


def join_text(parts: Prompt) -> list[Part]:
    """The same prompt with neighbouring text parts joined and empty parts left out.

    Joining comes before tokenising, so that how a text was cut into parts never changes its tokens.
    """
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, Text):
            if joined and isinstance(joined[-1], Text):
                joined[-1] = Text(joined[-1].text + part.text)
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
    too) into its text, and a raw prompt gets exactly what it says. Neighbouring texts are joined first.

    Args:
        parts: the prompt; a bare string stands for one text part.
        tokenizer: the tokenizer of the model that will read the prompt.

    Returns:
        Token and latent parts in order; neighbouring token parts are merged.

    Raises:
        PromptError: something in the list is not a part.
    """
    result: list[Tokens | Latents] = []
    for part in join_text(as_parts(parts)):
        if isinstance(part, Latents):
            result.append(part)
            continue
        ids = _split(part.text, tokenizer) if isinstance(part, Text) else part.ids
        if result and isinstance(result[-1], Tokens):
            result[-1] = Tokens(result[-1].ids + ids)
        elif ids:
            result.append(Tokens(ids))
    return result


def _split(text: str, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def prompt_length(parts: Sequence[Tokens | Latents]) -> int:
    """Number of positions that tokenised ``parts`` take."""
    return sum(len(part.ids) if isinstance(part, Tokens) else part.rows.shape[0] for part in parts)


def token_ids_of(parts: Sequence[Tokens | Latents], filler: int = 0) -> list[int]:
    """The token ids of a tokenised prompt, with ``filler`` at the positions of latent rows."""
    ids: list[int] = []
    for part in parts:
        ids.extend(part.ids if isinstance(part, Tokens) else [filler] * part.rows.shape[0])
    return ids


def _check_latents(rows: Tensor, hidden_size: int, row: int) -> None:
    if rows.ndim != 2 or rows.shape[1] != hidden_size:
        raise PromptError(
            f"the latents of prompt {row} have shape {list(rows.shape)}, but this model reads rows of width "
            f"{hidden_size}; pass them through an adapter or another align method first"
        )
    if not torch.isfinite(rows).all():
        raise PromptError(f"the latents of prompt {row} contain NaN or infinity; check the sender or their file")


def embed_prompts(
    prompts: Sequence[Sequence[Tokens | Latents]], embedding: nn.Module, hidden_size: int, width: int
) -> Float[Tensor, "B {width} D"]:
    """Input embeddings of tokenised prompts, padded with zeros on the left to ``width`` columns.

    Args:
        prompts: tokenised prompts, none longer than ``width``.
        embedding: the input embedding of the model, ids -> rows.
        hidden_size: D.
        width: number of columns of the result.

    Raises:
        PromptError: latent rows are not finite or not ``hidden_size`` wide.
    """
    device = next(embedding.parameters()).device
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    padding = torch.ones(len(prompts), width, dtype=torch.bool)
    for row, parts in enumerate(prompts):
        start = width - prompt_length(parts)
        ids[row, start:] = torch.tensor(token_ids_of(parts), dtype=torch.long)
        padding[row, :start] = False
    embeddings: Tensor = embedding(ids.to(device))
    embeddings = embeddings.masked_fill(~padding.to(device)[..., None], 0.0)
    for row, parts in enumerate(prompts):
        column = width - prompt_length(parts)
        for part in parts:
            length = len(part.ids) if isinstance(part, Tokens) else part.rows.shape[0]
            if isinstance(part, Latents):
                _check_latents(part.rows, hidden_size, row)
                embeddings[row, column : column + length] = part.rows.to(embeddings)
            column += length
    return embeddings


def padded_mask(lengths: Int[Tensor, "B"], width: int) -> Tensor:
    """Mask ``[B, width]`` of a left-padded batch: True at the last ``lengths[b]`` columns of row b."""
    columns = torch.arange(width, device=lengths.device)
    return columns[None, :] >= width - lengths[:, None]
