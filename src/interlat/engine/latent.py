"""Latent steps: a model reads what a connector makes of its own last state, instead of a token."""

from collections.abc import Callable, Iterator

from jaxtyping import Float
from torch import Tensor

StateMap = Callable[[Float[Tensor, "B 1 D"]], Float[Tensor, "B 1 D"]]
"""From the states of the last position to the input embeddings of the next one, such as a connector."""


def take_latent_steps(
    forward: StateMap, connector: StateMap, state: Float[Tensor, "B 1 D"], count: int
) -> Iterator[Float[Tensor, "B 1 D"]]:
    """The states h_1 ... h_K of K latent steps: ``h_k = forward(connector(h_(k-1)))`` (Coconut, arXiv 2412.06769).

    The one latent-step loop, at play and in training: gradients flow through all steps where they are enabled.

    Args:
        forward: reads one more input and gives its state, after the final norm.
        connector: from a state to the next input.
        state: h_0.
        count: K.
    """
    for _ in range(count):
        # A copy: some models (CTRL) scale their inputs in place.
        state = forward(connector(state).to(state.dtype, copy=True))
        yield state
