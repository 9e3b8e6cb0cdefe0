"""The actor's loss over branches: the own message, another task's message, and the plan in words."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interlat.errors import InputError
from interlat.train.divergences import LN2, alignment_loss, samples_of_labels, separation_loss, states_at_labels
from interlat.train.examples import Batch, Example, Message, Mixed, collate
from interlat.train.negatives import as_long_as

WEIGHT_FLOOR = 0.01
ALIGNMENT_SCALE = 4.0
States = Callable[[Batch], Float[Tensor, "B T D"]]
"""Runs a batch: states after the final norm."""


@dataclass(frozen=True)
class BranchWeights:
    """``L = L_task + w_S L_sep + w_A L_align`` (Interlat, arXiv 2511.09149); weights of 0 leave a loss out."""

    separation: float = 0.0
    """w_S: the reply under the own message must differ from that under another task's."""
    alignment: float = 0.0
    """w_A: the reply under the own message must be like that under the plan in words."""
    adaptive: bool = False
    """Let each weight follow its loss: ``0.01 + (w - 0.01) min(1, L / scale)``, where the scale is the margin for L_sep
    and 4 nats for L_align, as published; here no gradient flows through the weights."""
    margin: float = 0.69
    """Divergence in nats that is enough; at most ln 2."""
    kl_share: float = 0.7
    """Share of the divergence in L_align, the rest is the cosine's."""

    def __post_init__(self) -> None:
        if self.separation < 0 or self.alignment < 0:
            raise InputError("separation and alignment are weights; give 0 or more")
        if not 0 < self.margin <= LN2 or not 0 <= self.kl_share <= 1:
            raise InputError(f"give a margin above 0 and at most ln 2 = {LN2:.4f}, and a kl_share from 0 to 1")

    @classmethod
    def published(cls) -> "BranchWeights":
        """The weights of the released code: 0.01 to 0.5 for separation, 0.01 to 0.05 for alignment, adaptive."""
        return cls(separation=0.5, alignment=0.05, adaptive=True)

    def weight_of(self, weight: float, loss: Tensor, scale: float) -> float:
        """The weight that a loss gets in this step."""
        if not self.adaptive or not weight:
            return weight
        value = float(loss.detach())
        return WEIGHT_FLOOR + (weight - WEIGHT_FLOOR) * (min(1.0, value / scale) if math.isfinite(value) else 1.0)


@dataclass(frozen=True, eq=False)
class Branch:
    """One sample with its messages."""

    example: Example
    """The conversation."""
    own: Message
    """What it reads; the other branches exist only where this is latent."""
    other: Float[Tensor, "K D"] | None = None
    """Another task's latent message."""
    plan: tuple[int, ...] = ()
    """The plan in words, as token ids."""


def other_message(branch: Branch) -> Mixed:
    """The other task's message in the shape of the own one: as long, and with the same words behind the same cut."""
    assert isinstance(branch.own, Mixed) and branch.other is not None, "asked for latent samples with a negative only"
    return Mixed(as_long_as(branch.other, len(branch.own.rows)), branch.own.taken, branch.own.words)


def branch_losses(
    states: Float[Tensor, "B T D"],
    batch: Batch,
    branches: Sequence[Branch],
    weights: BranchWeights,
    head: nn.Module,
    run: States,
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """``w_S L_sep + w_A L_align`` over the samples whose message is latent; the other branches get no gradient.

    Args:
        states: of the own branch.
        batch: the own branch.
        branches: the samples of the batch, in its order.
        weights: of the losses.
        head: maps ``[N, D]`` to ``[N, V]``.
        run: gives the states of another branch; called without gradients.

    Returns:
        The weighted sum (0 where nothing is latent) and the unweighted losses by name.
    """
    latent = [number for number, branch in enumerate(branches) if isinstance(branch.own, Mixed) and branch.own.taken]
    total, metrics = states.new_zeros(()), dict[str, float]()
    if not latent or not (weights.separation or weights.alignment):
        return total, metrics
    samples = samples_of_labels(batch.labels)
    chosen = torch.isin(samples, torch.tensor(latent, device=samples.device))
    own, samples = states_at_labels(states, batch.labels)[chosen], samples[chosen]
    examples = [branches[number].example for number in latent]

    def reference(messages: Sequence[Message]) -> Tensor:
        with torch.no_grad():
            other = collate(examples, messages).to(states.device)
            return states_at_labels(run(other), other.labels)

    if weights.separation:
        others = reference([other_message(branches[number]) for number in latent])
        loss = separation_loss(own, others, samples, head, weights.margin)
        total = total + weights.weight_of(weights.separation, loss, weights.margin) * loss
        metrics["separation"] = loss.item()
    if weights.alignment:
        plans = reference([branches[number].plan for number in latent])
        loss = alignment_loss(own, plans, samples, head, weights.kl_share)
        total = total + weights.weight_of(weights.alignment, loss, ALIGNMENT_SCALE) * loss
        metrics["alignment"] = loss.item()
    return total, metrics
