"""What every connector looks like from outside, and the registry that builds any of them by name.

Another package adds a connector in one file: a builder ``(engine, **options) -> Connector``, and an entry point in the
group ``interlat.connectors``.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from interlat.engine.protocol import Engine
from interlat.errors import InputError
from interlat.registry import Registry


@runtime_checkable
class Connector(Protocol):
    """A map from hidden states of a sender to input embeddings of a receiver.

    One that maps each state on its own (`NormMatchedIdentity`) takes any leading shape, and serves the latent steps of
    a model. One that maps a message as a whole (`CommunicationAdapter`) takes ``[B, K, D_source]``, with ``mask`` if
    some rows are padding.
    """

    source_size: int
    """Size D_source of the hidden states that go in."""
    target_size: int
    """Size D_target of the embeddings that come out."""

    def __call__(
        self,
        hidden_states: Float[Tensor, "*rows D_source"],
        mask: Bool[Tensor, "*rows"] | None = None,
    ) -> Float[Tensor, "*rows D_target"]:
        """Embeddings for ``hidden_states``; padding rows (``mask`` False) come out as zeros."""
        ...


CONNECTORS: Registry[Callable[..., Any]] = Registry(
    "connectors",
    {
        "identity": "interlat.connectors.identity:NormMatchedIdentity.for_engine",
        "random": "interlat.connectors.identity:RandomRotation.for_engine",
        "ridge": "interlat.connectors.ridge:ridge_map",
        "vocabulary": "interlat.connectors.vocabulary:VocabularyMean.for_engine",
        "bridge": "interlat.connectors.bridge:Bridge.for_engine",
        "adapter": "interlat.connectors.adapter:CommunicationAdapter.for_engine",
        "resampler": "interlat.connectors.resampler:Resampler.for_engine",
    },
)
"""Builders by name. The first five map one state to the next input, the last two a whole message."""


def build_connector(name: str, engine: Engine, **options: Any) -> Connector:
    """The connector of that name for the model of an engine, on its device.

    Args:
        name: in `CONNECTORS`.
        engine: the model that reads what the connector gives; for identity, random, ridge, vocabulary and bridge also
            the one whose states it maps.
        options: of the builder: ``seed`` of random; ``folder`` of what is trained and stored beside a model (bridge,
            adapter, resampler); ``ridge`` and ``temperature`` of the maps that have them.

    Raises:
        InputError: there is no such connector, or it does not fit the model.
        CheckpointError: there is no such file in ``folder``, or it is damaged.
    """
    connector: Connector = CONNECTORS[name](engine, **options)
    return connector


class StateMap(nn.Module):
    """A connector that maps each state on its own; what it gives has the dtype of what it gets."""

    ADVICE = "give states of the model that this map was made for"
    """What to do about states of another size."""
    source_size: int
    target_size: int

    def map_states(self, hidden_states: Float[Tensor, "*rows D_source"]) -> Float[Tensor, "*rows D_target"]:
        """The embeddings, float32."""
        raise NotImplementedError

    def forward(
        self, hidden_states: Float[Tensor, "*rows D_source"], mask: Bool[Tensor, "*rows"] | None = None
    ) -> Float[Tensor, "*rows D_target"]:
        """Embeddings for ``hidden_states``; padding rows (``mask`` False) are zeros.

        Raises:
            InputError: the states do not have the size that this map was made for.
        """
        size = hidden_states.shape[-1]
        if size != self.source_size:
            raise InputError(f"the hidden states have size {size}, expected {self.source_size}; {self.ADVICE}")
        with torch.autocast(hidden_states.device.type, enabled=False):
            mapped = self.map_states(hidden_states)
        if mask is not None:
            mapped = mapped.masked_fill(~mask.bool().unsqueeze(-1), 0.0)
        return mapped.to(hidden_states.dtype)


def padded_rows(
    messages: Sequence[Float[Tensor, "_ D"]], device: torch.device | str | None = None
) -> tuple[Float[Tensor, "B K D"], Bool[Tensor, "B K"]]:
    """Messages as one float32 batch, padded on the right, and the mask that is True where a row is real.

    Args:
        messages: at least one, of any floating dtype.
        device: where the batch is made; by default where the messages are.
    """
    padded = nn.utils.rnn.pad_sequence([message.to(device, torch.float32) for message in messages], batch_first=True)
    lengths = torch.tensor([len(message) for message in messages], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device)[None, :] < lengths[:, None]
