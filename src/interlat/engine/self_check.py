"""What is compared when a model is loaded: padded batches, read in parts, with plain forward passes of single rows."""

import copy
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.utils import logging

from interlat.engine.cache import KVCache
from interlat.engine.embeddings import input_embeddings
from interlat.engine.prompt import Latents, Tokens
from interlat.engine.rotary import read_rows_apart
from interlat.errors import CheckpointError

if TYPE_CHECKING:
    from interlat.engine.transformers_model import TransformersModel

LENGTH_FIELDS = re.compile(
    r"(\w+_)?window(_size)?|local_attention|attention_chunk_size|index_topk|indexer_budget|floor_scale"
    r"|log_scaling_n_floor|original_max_position_embeddings"
)
"""Fields of configurations that name a length from which a model reads otherwise than before."""
SHORT = 6
"""What such lengths are shrunk to; the short row of the check is as long."""
AS_IT_IS = 64
"""Up to here they are not shrunk: the model itself reads a row that is longer than all of them."""
FIRST_PART = 2
LAST_PARTS = ((1, 3), (3, 1))
"""Of the long row and the short one: each gets more than the other once, so that both have holes."""
MARGIN = sum(LAST_PARTS[0]) + FIRST_PART
"""How many tokens the long row goes on past the longest of these lengths."""
TOLERANCE = 1e-3
TOLERANCE_OF_HALF = 1e-1
EXACT = (torch.float32, torch.float64)


@torch.no_grad()
def check_against_plain_forward(engine: "TransformersModel") -> KVCache:
    """Compare a long row and a short one, side by side and in three parts, with plain passes of each: no model may be
    silently wrong.

    The long row goes past every window and scaling length that the configuration names. Where one is large, a twin of
    the model reads in its place: the same class and the same weights, built with lengths of `SHORT`, for a few tokens
    are then enough. So what is checked is what the class does at such lengths, not at the length of this very model.

    Returns:
        What the engine read last.

    Raises:
        CheckpointError: the states differ.
    """
    lengths = {place: n for place, n in _lengths(engine.config) if SHORT < n < engine.context_length}
    if max(lengths.values(), default=0) <= AS_IT_IS or not isinstance(engine.model, PreTrainedModel):
        fitting = [n for n in lengths.values() if n <= AS_IT_IS]
        return _compare(engine, max([*fitting, SHORT]))
    return _compare(_twin_of(engine), SHORT)


@torch.no_grad()
def check_latents_against_tokens(engine: "TransformersModel") -> None:
    """Compare tokens with latents made of their rows of the input table: a latent must be read like a token.

    Raises:
        CheckpointError: the states differ.
    """
    size = engine.model.get_input_embeddings().weight.shape[0]
    ids = tuple(i % size for i in (1, 2, 3))
    rows = input_embeddings(engine.model, torch.tensor(ids))
    token, latent = engine.prefill([[Tokens(ids)], [Tokens(ids[:1]), Latents(rows[1:])]]).hidden_states.float()
    scale, difference = float(token.abs().max()), float((token - latent).abs().max())
    if not difference <= (TOLERANCE if engine.dtype in EXACT else TOLERANCE_OF_HALF) * scale:
        raise CheckpointError(
            f"{type(engine.model).__name__} reads a latent made of a token's embedding otherwise than the token "
            f"(difference {difference:.3g} at scale {scale:.3g}): its architecture is not supported"
        )


def _compare(engine: "TransformersModel", longest: int) -> KVCache:
    total = min(longest + MARGIN, engine.context_length)
    parts = [(max(1, total - sum(LAST_PARTS[0])), *LAST_PARTS[0]), (FIRST_PART, *LAST_PARTS[1])]
    # Ordinary tokens, far from the control tokens at either end, at which half precision says little.
    third = max(1, engine.model.get_input_embeddings().weight.shape[0] // 3)
    rows = [[third + 7 * i % third for i in range(sum(lengths))] for lengths in parts]
    cache, ours = None, []
    for lengths, ends in zip(zip(*parts, strict=True), zip(*map(accumulate, parts), strict=True), strict=True):
        new = [[Tokens(tuple(ids[end - n : end]))] for ids, end, n in zip(rows, ends, lengths, strict=True)]
        cache, states = engine.prefill_hidden(new, cache)
        ours.append(states)
    for ids, (first, _, _), pieces in zip(rows, parts, zip(*ours, strict=True), strict=True):
        plain = engine.model(input_ids=torch.tensor([ids], device=engine.device)).logits[0].float()
        found = engine.logits(torch.cat(pieces)).float()
        check_close(engine, found[:first], plain[:first])
        check_close(engine, found[first:], plain[first:])
    assert cache is not None, "there are parts"
    return cache


def check_close(engine: "TransformersModel", ours: Float[Tensor, "T V"], plain: Float[Tensor, "T V"]) -> None:
    """Check that logits agree with a plain pass.

    In half precision single positions are far off by rounding alone; most of them are not.

    Raises:
        CheckpointError: they are not.
    """
    scale = max(float(plain.abs().max()), 1e-6)
    difference = float((plain - ours).abs().max())
    if engine.dtype in EXACT:
        close = difference <= TOLERANCE * scale
    else:
        share = (plain - ours).norm(dim=-1) / plain.norm(dim=-1).clamp_min(1e-6)
        close = float(share.median()) <= TOLERANCE_OF_HALF
    if not close:
        raise CheckpointError(
            f"{type(engine.model).__name__} computes other logits when it reads in parts than at once (difference "
            f"{difference:.3g} at scale {scale:.3g}): its architecture is not supported, or its weights are not finite"
        )


def _lengths(config: Any) -> Iterator[tuple[Sequence[str], int]]:
    """The places in a configuration that name such lengths, and the lengths."""
    fields = config if isinstance(config, dict) else vars(config)
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from (((name, *place), n) for place, n in _lengths(value))
        elif type(value) is int and LENGTH_FIELDS.fullmatch(name):
            yield (name,), value


def _shrink(config: Any, place: Sequence[str]) -> None:
    for name in place[:-1]:
        config = config[name] if isinstance(config, dict) else getattr(config, name)
    if isinstance(config, dict):
        config[place[-1]] = SHORT
    else:
        setattr(config, place[-1], SHORT)


def _twin_of(engine: "TransformersModel") -> "TransformersModel":
    """The engine with a model of the same class and the very same weights, in which every such length is short."""
    config = copy.deepcopy(engine.model.config)
    text = config.get_text_config(decoder=True)
    for place, length in list(_lengths(text)):
        if length > SHORT:
            _shrink(text, place)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it is not the user's configuration that it would complain about
    try:
        with no_init_weights():
            model = type(engine.model)._from_config(
                config, dtype=engine.model.dtype, attn_implementation=engine.config._attn_implementation
            )
    finally:
        logging.set_verbosity(verbosity)
    read_rows_apart(model)
    _share(model, engine.model)
    twin = copy.copy(engine)
    twin.use(model)
    return twin


def _share(twin: nn.Module, model: nn.Module) -> None:
    """Give a module the parameters and saved buffers of another one; parts of another class are taken whole."""
    twin._parameters.update(model._parameters)
    for name, buffer in model._buffers.items():
        own = twin._buffers.get(name)
        if own is None or buffer is None or name not in model._non_persistent_buffers_set:
            twin._buffers[name] = buffer
        else:
            twin._buffers[name] = own.to(buffer.device)
    for name, child in model._modules.items():
        other = twin._modules.get(name)
        if child is not None and other is not None and type(other) is type(child):
            _share(other, child)
        else:
            twin._modules[name] = child
