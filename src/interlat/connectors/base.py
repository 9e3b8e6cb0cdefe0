"""What every alignment method looks like from outside."""

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor


@runtime_checkable
class Align(Protocol):
    """A map from hidden states of a sender to input embeddings of a receiver.

    A method that treats each row on its own (`NormMatchedIdentity`) takes any leading shape; one that looks
    at the whole message (`CommunicationAdapter`) takes ``[B, K, D_source]``, with ``mask`` if some rows are
    padding.
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
