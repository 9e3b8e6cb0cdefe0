"""Losses beside the cross-entropy, by name, for training an actor and a compressed sender.

Another package adds a loss in one file: a subclass of `Loss` in its entry points of the group ``interlat.losses``, or
``LOSSES.add("name", TheLoss)``. A configuration then names it with its weight: ``losses: {more: {name: 0.1}}``.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from interlat.connectors.base import padded_rows
from interlat.engine.embeddings import next_token_scores
from interlat.engine.lens import logit_lens
from interlat.registry import Registry
from interlat.training import fused_losses
from interlat.training.fused_losses import (
    Head,
    Scores,
    entropy,
    jensen_shannon,
    kl_divergence,
    mean_by_sample,
    position_losses,
)

SMALLEST = 1e-6
OPEN = 0.1
"""Smallest entropy of an open state, as a fraction of the largest entropy in the message."""


@dataclass(frozen=True, eq=False)
class Replies:
    """The inputs of a loss for some samples: its measurements at their positions, and their messages."""

    samples: Int[Tensor, "N"]
    """The sample of each supervised position, ascending."""
    sent: Sequence[Float[Tensor, "_ D"]]
    """The latents that each sample reads."""
    full: Sequence[Float[Tensor, "_ D"]]
    """The sender's full message of each sample."""
    adapter: nn.Module | None = None
    """The receiver's adapter."""
    sender_head: Float[Tensor, "V D"] | None = None
    """Weights of the LM head of the model that made the full messages, if known."""
    values: Float[Tensor, "N"] | None = None
    """Values from `Loss.positions`."""
    asides: Float[Tensor, "N"] | None = None
    """Values without gradient from `Loss.positions`."""


class Loss:
    """Base class of the losses: one loss for each sample, beside the cross-entropy of its reply.

    Args:
        weights: the configuration, with the options of the losses.
    """

    references: ClassVar[tuple[str, ...]] = ()
    """Branches that the reply is compared with. Training an actor has "other" (another task's message) and "plan" (the
    plan in words). Compression has "full" (the full message) and "none" (no message)."""
    in_validation: ClassVar[bool] = False
    """Whether validations measure it too."""

    def __init__(self, weights: Any) -> None:
        self.weights = weights

    @property
    def scale(self) -> float:
        """The value of the loss from which an adaptive weight is not reduced."""
        return 1.0

    def positions(
        self, own: Scores, references: Mapping[str, Scores]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]:
        """A value for each position, and one without gradient, computed while the scores of these positions exist.

        A loss that depends only on the messages does not define it.
        """
        raise NotImplementedError

    @property
    def measures_positions(self) -> bool:
        """Whether the loss defines `positions`."""
        return type(self).positions is not Loss.positions

    def samples(self, replies: Replies) -> Float[Tensor, "S"]:
        """The loss of each sample, at least 0."""
        raise NotImplementedError


class Contrastive(Loss):
    """Contrastive loss, ``max(0, margin - mean_t JS_t)`` (L_sep of Interlat, arXiv 2511.09149).

    The reply under the right message must differ from the reply under another task's message. The loss is ``margin``
    for equal replies, and 0 once the divergence has reached the margin.
    """

    references = ("other",)

    @property
    def scale(self) -> float:
        """The margin."""
        return float(self.weights.margin)

    def positions(self, own: Scores, references: Mapping[str, Scores]) -> tuple[Tensor, None]:
        """``JS(p, p_other)``."""
        return jensen_shannon(own.log_p, references["other"].log_p), None

    def samples(self, replies: Replies) -> Float[Tensor, "S"]:
        """How far the mean divergence of each sample is below the margin."""
        assert replies.values is not None
        return (self.weights.margin - mean_by_sample(replies.values, replies.samples)).clamp_min(0.0)


class PlanDistillation(Loss):
    """``mean_t share KL(p_plan || p) + (1 - share) (1 - cos(p_plan, p))`` (L_align of arXiv 2511.09149).

    The teacher is the reply under the plan in words. The cosine is between the two distributions at each position. The
    published code takes a single cosine over all positions at once, in which long replies get lost.
    """

    references = ("plan",)

    @property
    def scale(self) -> float:
        """4 nats."""
        return 4.0

    def positions(self, own: Scores, references: Mapping[str, Scores]) -> tuple[Tensor, None]:
        """The distance from the reply under the plan in words."""
        plan, share = references["plan"].log_p, self.weights.kl_share
        cosine = functional.cosine_similarity(plan.exp(), own.log_p.exp(), dim=-1)
        return share * kl_divergence(plan, own.log_p) + (1 - share) * (1 - cosine), None

    def samples(self, replies: Replies) -> Float[Tensor, "S"]:
        """The mean over the positions of each sample."""
        assert replies.values is not None
        return mean_by_sample(replies.values, replies.samples)


class Distillation(Loss):
    """``sum_t w_t KL_t / sum_t w_t`` with ``KL_t = tau^2 KL(p_full^(1/tau) || p^(1/tau))``.

    This is L_pref of arXiv 2511.09149. The teacher is the reply under the full message. A position counts more where
    that message makes the receiver more certain: ``w_t = max(min(max(0, H_none - H_full), q), min_position_weight)``,
    with q the quantile of the sample's positive weights. The loss of a sample without any weight is 0. The released
    code takes the quantile and both sums over the batch, so its samples change each other's weights. Here each sample
    has its own.
    """

    references = ("full", "none")
    in_validation = True

    def positions(self, own: Scores, references: Mapping[str, Scores]) -> tuple[Tensor, Tensor]:
        """The divergence, and the amount by which the full message lowers the receiver's entropy."""
        full, none, tau = references["full"], references["none"], self.weights.temperature
        log_p, log_q = own.log_p, full.log_p
        certainty = (entropy(none.log_p) - entropy(log_q)).clamp_min(0.0)
        if tau != 1:
            log_p, log_q = ((scores.logits / tau).log_softmax(dim=-1) for scores in (own, full))
        return tau**2 * kl_divergence(log_q, log_p), certainty

    def samples(self, replies: Replies) -> Float[Tensor, "S"]:
        """The weighted mean of each sample."""
        assert replies.values is not None and replies.asides is not None
        least, means = self.weights.min_position_weight, []
        for sample in replies.samples.unique():
            chosen = replies.samples == sample
            weights, divergence = replies.asides[chosen], replies.values[chosen]
            positive = weights[weights > SMALLEST]
            if not len(positive) and not least:
                means.append(divergence.sum() * 0.0)
                continue
            if len(positive):
                weights = weights.clamp_max(torch.quantile(positive, self.weights.clip_quantile))
            weights = weights.clamp_min(least)
            means.append((weights * divergence).sum() / weights.sum())
        return torch.stack(means)


class MeanCosine(Loss):
    """``1 - cos(mean_k a_k, mean_l b_l)`` (L_geom of arXiv 2511.09149), with a the adapted latents of the message and b
    those of the full message."""

    def samples(self, replies: Replies) -> Float[Tensor, "S"]:
        """The cosine distance of each message."""
        assert replies.adapter is not None
        full = [message[: self.weights.reference_rows] for message in replies.full]
        pairs = padded_rows(replies.sent), padded_rows(full, replies.sent[0].device)
        own, other = (_mean_row(replies.adapter(rows, mask), mask) for rows, mask in pairs)
        return 1 - functional.cosine_similarity(own, other.detach(), dim=-1)


class LensDistillation(Loss):
    """``mean_k KL(softmax(W h_(t_k)) || softmax(W z_k))`` of each message, in nats; W is the sender's head.

    z_1, z_2 ... are the latents of the message, and t_1 < t_2 < ... the positions of the states h of the full message
    with the highest entropy under the head (`open_states`). A written word shows only one of the likely tokens. The
    state before it holds the other likely ones too. A receiver learns nothing from a latent without content, and such a
    latent gets no useful gradient from the receiver. This loss gives it one, through the sender's own logit lens. If
    there are fewer open states than latents, only the first latents are trained.
    """

    def samples(self, replies: Replies) -> Float[Tensor, "S"]:
        """The divergence of each message."""
        head, losses = replies.sender_head, []
        assert head is not None
        for short, message in zip(replies.sent, replies.full, strict=True):
            said = open_states(message.to(head), head, len(short))
            pair = ((states.to(head.dtype) @ head.t()).log_softmax(dim=-1) for states in (said, short[: len(said)]))
            losses.append(kl_divergence(*pair).mean())
        return torch.stack(losses)


@torch.no_grad()
def open_states(states: Float[Tensor, "T D"], head: Float[Tensor, "V D"], count: int) -> Float[Tensor, "rows D"]:
    """The states with the highest entropy under a language-model head (logit lens), in their order.

    There are at most ``count``, and none has less than `OPEN` of the largest entropy. Among states of low entropy the
    ranking is random from plan to plan, and with them the first open word would belong to a random latent.
    """
    rows_at_once = max(1, fused_losses.CHUNK_LOGITS // len(head))
    entropies = logit_lens(lambda h: h @ head.t(), states.to(head.dtype), 0, rows_at_once=rows_at_once).entropy
    best = entropies.topk(min(count, len(states)))
    chosen = best.indices[best.values >= OPEN * best.values[0]]
    return states[chosen.sort().values]


def _mean_row(rows: Float[Tensor, "B K D"], mask: Bool[Tensor, "B K"]) -> Float[Tensor, "B D"]:
    real = mask.unsqueeze(-1).to(rows.dtype)
    return (rows * real).sum(dim=1) / real.sum(dim=1)


LOSSES: Registry[type[Loss]] = Registry(
    "losses",
    {
        "contrastive": f"{__name__}:Contrastive",
        "plan_distillation": f"{__name__}:PlanDistillation",
        "distillation": f"{__name__}:Distillation",
        "mean_cosine": f"{__name__}:MeanCosine",
        "lens_distillation": f"{__name__}:LensDistillation",
    },
)


class Term(NamedTuple):
    """A loss with its name and its weight."""

    name: str
    weight: float
    loss: Loss


def references_of(terms: Iterable[Term]) -> list[str]:
    """The branches that the losses compare with, each once."""
    return list(dict.fromkeys(name for term in terms for name in term.loss.references))


def head_of(model: Any) -> tuple[Head, int]:
    """The LM head of a model, and the size of its vocabulary."""
    return functools.partial(next_token_scores, model), model.config.vocab_size


def measure(
    terms: Sequence[Term],
    states: Float[Tensor, "N D"],
    targets: Int[Tensor, "N"],
    head: Head,
    vocabulary_size: int,
    references: Mapping[str, Float[Tensor, "N D"]],
    replies: Replies,
    *,
    frozen_head: bool = False,
) -> tuple[Float[Tensor, "N"], list[tuple[Term, Float[Tensor, "S"]]]]:
    """The cross-entropy of each position, and every loss for each sample, from one pass of the LM head.

    See `position_losses` for the arguments. ``references`` are the states of the branches in `references_of`.
    """
    scored = [term for term in terms if term.loss.measures_positions]
    measures = [term.loss.positions for term in scored]
    found = position_losses(states, targets, head, vocabulary_size, measures, references, frozen_head=frozen_head)
    pairs = {term.name: pair for term, *pair in zip(scored, found.terms, found.asides, strict=True)}
    by_sample = []
    for term in terms:
        values, asides = pairs.get(term.name, (None, None))
        by_sample.append((term, term.loss.samples(replace(replies, values=values, asides=asides))))
    return found.cross_entropy, by_sample
