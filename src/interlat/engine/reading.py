"""What is checked before a model reads: that there are prompts, that it knows their tokens, that they fit."""

from collections.abc import Sequence

from interlat.engine.prompt import Latents, Prompts, Tokens, prompt_length, tokenize, whole
from interlat.engine.protocol import Engine
from interlat.engine.rotary import crossing
from interlat.errors import InputError, PromptError


def checked_prompts(
    engine: Engine, prompts: Prompts, read: Sequence[int], *, begins: bool
) -> list[list[Tokens | Latents]]:
    """Prompts as tokens and latents that the engine can read.

    Args:
        prompts: one for each sequence.
        read: how many positions each sequence has read before.
        begins: the prompts continue nothing: strings get what the tokenizer puts before a text.

    Raises:
        PromptError: a prompt is empty, has a token that the model does not know, or does not fit into the context.
        InputError: there are not as many prompts as sequences.
    """
    if not prompts:
        raise PromptError("no prompts to read; pass at least one")
    if isinstance(prompts, str):
        raise PromptError(f"prompts is the text {prompts[:40]!r}, expected a list of prompts; pass [text]")
    if len(read) != len(prompts):
        raise InputError(f"{len(prompts)} prompts for a cache of {len(read)} sequences; pass one prompt for each")
    if begins:
        prompts = [whole(prompt, engine.tokenizer) for prompt in prompts]
    tokenized = [tokenize(prompt, engine.tokenizer) for prompt in prompts]
    size = engine.vocabulary_size
    for row, (parts, before) in enumerate(zip(tokenized, read, strict=True)):
        length = prompt_length(parts)
        if not length:
            raise PromptError(f"prompt {row} is empty; it needs at least one token or latent")
        check_fits(engine, f"prompt {row} is", length, before)
        for part in parts:
            if isinstance(part, Tokens) and (min(part.ids) < 0 or max(part.ids) >= size):
                raise PromptError(
                    f"prompt {row} has token id {max(part.ids)}, but {engine.name} knows ids 0 to "
                    f"{size - 1}; use the model's own tokenizer"
                )
    return tokenized


def check_fits(engine: Engine, what: str, length: int, read: int) -> None:
    """Raise a PromptError unless ``length`` positions fit behind ``read``; ``what`` begins the sentence."""
    if engine.context_after(read) < read + length <= engine.context_length:
        assert engine.original_length is not None, "nothing else shortens a context"
        raise PromptError(f"{what} {length} positions long after {read}, but {crossing(engine.original_length)}")
    if read + length > engine.context_length:
        after = f" after {read} positions already read" if read else ""
        raise PromptError(
            f"{what} {length} positions long{after}, but the context of {engine.name} holds "
            f"{engine.context_length}; shorten the prompt or use a model with a longer context"
        )
