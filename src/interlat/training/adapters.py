"""The adapter that an actor begins with."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.connectors.base import padded_rows
from interlat.connectors.vocabulary import VocabularyMean, embeddings_of_tokens
from interlat.engine.embeddings import input_embeddings
from interlat.engine.hf import Engine
from interlat.errors import InputError
from interlat.store.manifest import Manifest
from interlat.training.messages import StoredMessages


def new_adapter(
    manifest: Manifest, target_size: int, heads: int, dropout: float, *, aligned: bool, seed: int
) -> CommunicationAdapter:
    """An adapter that reads the thoughts of a store, with its parameters drawn at random; if ``aligned``, it has an
    input projection even where both sizes are equal."""
    torch.manual_seed(seed)
    layer = manifest.layers[0]
    return CommunicationAdapter(
        AdapterConfig(
            source_size=manifest.hidden_size,
            target_size=target_size,
            heads=heads,
            dropout=dropout,
            project_input=aligned,
            layer=layer.layer,
            norm=layer.norm,
            state_at=manifest.state_at,
            sender=manifest.model,
            sender_fingerprints=(manifest.weights_fingerprint,),
            sender_tokenizer_fingerprint=manifest.tokenizer_fingerprint,
        )
    )


def begin_adapter(
    adapter: CommunicationAdapter,
    thoughts: StoredMessages,
    items: Sequence[str],
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    sender: str | None,
) -> None:
    """Make the output of a new adapter as large as the receiver's embeddings, and align it where the sender is known.

    Statistics are those of the thoughts about ``items``. With the folder of the model that thought as ``sender`` the
    adapter begins aligned: the least-squares map from a state to the receiver's embeddings of the words that the sender
    expected there, weighted by their probabilities. Both may differ in width, architecture and tokenizer.

    Raises:
        InputError: the model in ``sender`` did not make these thoughts, or its head cannot read them.
    """
    states = [thoughts.states(item).float() for item in items]
    table = input_embeddings(model).float().cpu()
    if sender is not None:
        rows = torch.cat(states)
        adapter.align(rows, _expected_embeddings(rows, sender, thoughts.manifest, tokenizer, table))
    adapter.calibrate(table.square().mean().sqrt().item(), *padded_rows(states))


@torch.no_grad()
def _expected_embeddings(
    rows: Float[Tensor, "N D_source"],
    sender: str,
    manifest: Manifest,
    tokenizer: PreTrainedTokenizerBase,
    table: Float[Tensor, "V D_target"],
) -> Float[Tensor, "N D_target"]:
    """For each state the mean embedding, in the receiver's table, of the words that the sender expected there."""
    engine = Engine.load(sender, dtype="float32", device="cpu")
    if engine.weights_fingerprint != manifest.weights_fingerprint:
        raise InputError(f"{sender} did not make these thoughts; give the model of {manifest.model}")
    layer = manifest.layers[0]
    if (layer.layer, layer.norm) != (-1, "post"):
        raise InputError(
            f"the thoughts are states of layer {layer.layer}, {layer.norm}-norm, but the head of the sender reads its "
            "last layer after the final norm; leave out sender, or collect such states"
        )
    words, known = embeddings_of_tokens(engine.tokenizer, tokenizer, table)
    expected: Tensor = VocabularyMean(engine.logits, engine.hidden_size, words, known)(rows)
    return expected
