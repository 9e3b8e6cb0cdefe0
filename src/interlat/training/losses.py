"""Losses beside the cross-entropy, by name: what an actor's and a compressed sender's messages are trained for.

Another package adds a loss in one file: a subclass of `Loss` in its entry points of the group ``interlat.losses``, or
``LOSSES.add("name", TheLoss)``, which a configuration then names with its weight: ``losses: {more: {name: 0.1}}``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from interlat.connectors.rows import padded_rows
from interlat.errors import InputError
from interlat.registry import Registry
from interlat.training import fused_losses
from interlat.training.fused_losses import (
    LN2,
    Head,
    Scores,
    entropy,
    jensen_shannon,
    kl_divergence,
    mean_by_sample,
    position_losses,
)

WEIGHT_FLOOR = 0.01
SMALLEST = 1e-6
OPEN = 0.1
"""Share of the largest entropy in a message from which a state leaves something open."""


@dataclass(frozen=True, eq=False)
class Replies:
    """What a loss sees of some samples: what it measured at their positions, and their messages."""

    samples: Int[Tensor, "N"]
    """The sample of each supervised position, ascending."""
    sent: Sequence[Float[Tensor, "_ D"]]
    """The latents that each sample reads."""
    full: Sequence[Float[Tensor, "_ D"]]
    """The sender's full message of each sample."""
    adapter: nn.Module | None = None
    """The receiver's adapter."""
    sender_head: Float[Tensor, "V D"] | None = None
    """Weights of the language-model head of the model that made the full messages, where they are known."""
    values: Float[Tensor, "N"] | None = None
    """What `Loss.positions` gave."""
    asides: Float[Tensor, "N"] | None = None
    """What went with it without gradient."""


class Loss:
    """A loss of each sample beside the cross-entropy of its reply.

    Args:
        weights: the configuration, with the options of the losses.
    """

    references: ClassVar[tuple[str, ...]] = ()
    """The branches that it compares the reply with. An actor's training has "other" (another task's message) and "plan"
    (the plan in words); a compression has "full" (the full message) and "none" (no message)."""
    in_validation: ClassVar[bool] = False
    """Whether a validation measures it too."""

    def __init__(self, weights: Any) -> None:
        self.weights = weights

    @property
    def scale(self) -> float:
        """The value from which an adaptive weight is whole."""
        return 1.0

    def positions(
        self, own: Scores, references: Mapping[str, Scores]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]:
        """A value of each position, and one without gradient, while the scores of some positions are in memory.

        A loss of messages alone leaves it out.
        """
        raise NotImplementedError

    @property
    def measures_positions(self) -> bool:
        """Whether it has `positions`."""
        return type(self).positions is not Loss.positions

    def samples(self, replies: Replies) -> Float[Tensor, "S"]:
        """The loss of each sample, at least 0."""
        raise NotImplementedError


class Contrastive(Loss):
    """``max(0, margin - mean_t JS_t)`` (Interlat, arXiv 2511.09149, its L_sep): the reply under the own message must
    differ from the reply under another task's. ``margin`` for equal replies, 0 once the divergence has reached it."""

    references = ("other",)

    @property
    def scale(self) -> float:
        """The margin."""
        return float(self.weights.margin)

    def positions(self, own: Scores, references: Mapping[str, Scores]) -> tuple[Tensor, None]:
        """``JS(p, p_other)``."""
        return jensen_shannon(own.log_p, references["other"].log_p), None

    def samples(self, replies: Replies) -> Float[Tensor, "S"]:
        """How much separation is lacking."""
        assert replies.values is not None
        return (self.weights.margin - mean_by_sample(replies.values, replies.samples)).clamp_min(0.0)


class PlanDistillation(Loss):
    """``mean_t share KL(p_plan || p) + (1 - share) (1 - cos(p_plan, p))`` (arXiv 2511.09149, its L_align).

    The cosine is between the two distributions at each position; the published code takes one over all positions at
    once, in which long replies drown.
    """

    references = ("plan",)

    @property
    def scale(self) -> float:
        """4 nats."""
        return 4.0

    def positions(self, own: Scores, references: Mapping[str, Scores]) -> tuple[Tensor, None]:
        """How far the reply is from the reply under the plan in words."""
        log_plan, share = references["plan"].log_p, self.weights.kl_share
        wanted = log_plan.exp()
        divergence = (wanted * (log_plan - own.log_p)).sum(dim=-1)
        cosine = functional.cosine_similarity(wanted, own.log_p.exp(), dim=-1)
        return share * divergence + (1 - share) * (1 - cosine), None

    def samples(self, replies: Replies) -> Float[Tensor, "S"]:
        """The mean over the positions of each sample."""
        assert replies.values is not None
        return mean_by_sample(replies.values, replies.samples)


class Distillation(Loss):
    """``sum_t w_t KL_t / sum_t w_t`` with ``KL_t = tau^2 KL(p_full^(1/tau) || p^(1/tau))`` (arXiv 2511.09149, its
    L_pref): agree with the reply under the full message where that message makes the receiver sure.

    ``w_t = max(min(max(0, H_none - H_full), q), min_position_weight)`` with q the quantile of the sample's positive
    weights; a sample without any weight gets 0. The released code takes the quantile and both sums over the batch, so
    that its samples change each other's weights; here each sample has its own.
    """

    references = ("full", "none")
    in_validation = True

    def positions(self, own: Scores, references: Mapping[str, Scores]) -> tuple[Tensor, Tensor]:
        """The divergence, and by how much the full message lowers the receiver's entropy."""
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
    """``1 - cos(mean_k a_k, mean_l b_l)`` (arXiv 2511.09149, its L_geom), a the adapted latents and b those of the full
    message."""

    def samples(self, replies: Replies) -> Float[Tensor, "S"]:
        """The distance of each message."""
        assert replies.adapter is not None
        full = [message[: self.weights.reference_rows] for message in replies.full]
        pairs = padded_rows(replies.sent), padded_rows(full, replies.sent[0].device)
        own, other = (_mean_row(replies.adapter(rows, mask), mask) for rows, mask in pairs)
        return 1 - functional.cosine_similarity(own, other.detach(), dim=-1)


class LensDistillation(Loss):
    """``mean_k KL(softmax(W h_(t_k)) || softmax(W z_k))`` of each message, in nats; W is the sender's head.

    z_1, z_2 ... are its latents and t_1 < t_2 < ... the positions of the states h of the full message that leave most
    open (`open_states`). A written word tells one of those that were likely, and what else was likely is in the state
    before it. A receiver learns nothing from a latent that says nothing, and such a latent gets no gradient that tells
    it what to say; this loss does, in the sender's own language. Where fewer states leave something open, only the
    first latents are taught.
    """

    def samples(self, replies: Replies) -> Float[Tensor, "S"]:
        """The divergence of each message."""
        head, losses = replies.sender_head, []
        assert head is not None
        for short, message in zip(replies.sent, replies.full, strict=True):
            said = open_states(message.to(head), head, len(short))
            target, found = _log_p(said, head), _log_p(short[: len(said)], head)
            losses.append(kl_divergence(target, found).mean())
        return torch.stack(losses)


@torch.no_grad()
def open_states(states: Float[Tensor, "T D"], head: Float[Tensor, "V D"], count: int) -> Float[Tensor, "rows D"]:
    """The states after which a language-model head leaves most open, in their order.

    At most ``count``, and none with less than `OPEN` of the largest entropy: which of the sure words is the least sure
    one differs from plan to plan at random, and so would the latent that the first open word belongs to.

    Args:
        states: of the last layer, after the final norm.
        head: weights of the head.
        count: how many at most.
    """
    chunks = states.split(max(1, fused_losses.CHUNK_LOGITS // len(head)))
    entropies = torch.cat([entropy(_log_p(chunk, head)) for chunk in chunks])
    best = entropies.topk(min(count, len(states)))
    chosen = best.indices[best.values >= OPEN * best.values[0]]
    return states[chosen.sort().values]


def _log_p(states: Float[Tensor, "N D"], head: Float[Tensor, "V D"]) -> Float[Tensor, "N V"]:
    return (states.to(head.dtype) @ head.t()).log_softmax(dim=-1)


def _mean_row(rows: Float[Tensor, "B K D"], mask: Bool[Tensor, "B K"]) -> Float[Tensor, "B D"]:
    real = mask.unsqueeze(-1).to(rows.dtype)
    return (rows * real).sum(dim=1) / real.sum(dim=1)


_OURS = {
    "contrastive": "Contrastive",
    "plan_distillation": "PlanDistillation",
    "distillation": "Distillation",
    "mean_cosine": "MeanCosine",
    "lens_distillation": "LensDistillation",
}
LOSSES: Registry[type[Loss]] = Registry("losses", {name: f"{__name__}:{place}" for name, place in _OURS.items()})


class Term(NamedTuple):
    """A loss with its name and weight."""

    name: str
    weight: float
    loss: Loss


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses beside the cross-entropy; a weight of 0 leaves a loss out."""

    NAMED: ClassVar[tuple[str, ...]] = ()
    """The fields that are weights of the losses of their names."""
    REFERENCES: ClassVar[tuple[str, ...]] = ()
    """The branches that this training can compare with."""

    more: dict[str, float] = field(default_factory=dict, kw_only=True)
    """Weights of further losses by name, such as another package's."""

    def __post_init__(self) -> None:
        for name, weight in [*((name, getattr(self, name)) for name in self.NAMED), *self.more.items()]:
            if weight < 0:
                raise InputError(f"{name} is {weight}, expected a weight of 0 or more; correct it")
        for name in self.more:
            missing = set(LOSSES[name].references) - set(self.REFERENCES)
            if missing or name in self.NAMED:
                why = f"compares with {', '.join(sorted(missing))}" if missing else "has a field of its own"
                raise InputError(f"losses.more names {name}, which {why}; leave it out there")

    @property
    def terms(self) -> list[Term]:
        """The losses with a weight, in the order of the fields."""
        weights = {**{name: getattr(self, name) for name in self.NAMED}, **self.more}
        return [Term(name, weight, LOSSES[name](self)) for name, weight in weights.items() if weight]

    @property
    def references(self) -> list[str]:
        """The branches that the losses compare with."""
        return references_of(self.terms)


def references_of(terms: Iterable[Term]) -> list[str]:
    """The branches that some losses compare with, each once."""
    return list(dict.fromkeys(name for term in terms for name in term.loss.references))


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
    """The cross-entropy of each position, and each loss of each sample, from one pass of the head.

    Args:
        terms: the losses.
        states: at the supervised positions, see `position_losses` for these and the next arguments.
        targets: the tokens to be predicted.
        head: of the model that replies.
        vocabulary_size: V.
        references: states of the branches in `references_of`.
        replies: the samples and their messages.
        frozen_head: whether the head is not trained.
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


@dataclass(frozen=True)
class BranchWeights(LossWeights):
    """``L = L_task + w_S L_sep + w_A L_align`` of an actor (Interlat, arXiv 2511.09149)."""

    RENAMED: ClassVar[Mapping[str, str]] = {"separation": "contrastive", "alignment": "plan_distillation"}
    NAMED = ("contrastive", "plan_distillation")
    REFERENCES = ("other", "plan")

    contrastive: float = 0.0
    """w_S: the reply under the own message must differ from the reply under another task's."""
    plan_distillation: float = 0.0
    """w_A: the reply under the own message must be like the reply under the plan in words."""
    adaptive: bool = False
    """Let each weight follow its loss: ``0.01 + (w - 0.01) min(1, L / scale)`` for each sample, where the scale is the
    margin for L_sep and 4 nats for L_align, as published; here no gradient flows through the weights, and a sample's
    weight does not depend on the others."""
    margin: float = 0.69
    """Divergence in nats that is enough; at most ln 2."""
    kl_share: float = 0.7
    """Share of the divergence in L_align, the rest is the cosine's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.margin <= LN2 or not 0 <= self.kl_share <= 1:
            raise InputError(f"give a margin above 0 and at most ln 2 = {LN2:.4f}, and a kl_share from 0 to 1")

    @classmethod
    def published(cls) -> "BranchWeights":
        """The weights of the released code: 0.01 to 0.5 for L_sep, 0.01 to 0.05 for L_align, adaptive."""
        return cls(contrastive=0.5, plan_distillation=0.05, adaptive=True)

    def weighted(self, term: Term, losses: Float[Tensor, "S"]) -> Float[Tensor, "S"]:
        """The losses of some samples times the weight that each of them gets."""
        if not self.adaptive:
            return term.weight * losses
        followed = (losses.detach() / term.loss.scale).clamp_max(1.0)
        return (WEIGHT_FLOOR + (term.weight - WEIGHT_FLOOR) * followed) * losses


@dataclass(frozen=True)
class CompressionWeights(LossWeights):
    """``L = L_CE + w_P L_pref + w_G L_geom + w_L L_lens`` of a compressed sender.

    The first three are those of Interlat (arXiv 2511.09149); the last is ours.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {
        "agreement": "distillation",
        "direction": "mean_cosine",
        "hint": "lens_distillation",
        "floor": "min_position_weight",
    }
    NAMED = ("distillation", "mean_cosine", "lens_distillation")
    REFERENCES = ("full", "none")

    distillation: float = 1.0
    """Weight of the agreement with the reply under the full message."""
    mean_cosine: float = 0.1
    """Weight of the distance between the mean adapted latents."""
    lens_distillation: float = 0.0
    """Weight of what the latents say under the sender's own head: for few latents, which find out late what to say by
    themselves. For one length, and for the model that made the full messages."""
    temperature: float = 1.0
    """tau of the distillation: ``tau^2 KL(p_full^(1/tau) || p^(1/tau))``."""
    reference_rows: int | None = None
    """How many first latents of the full message the first two losses compare with; None is all of them."""
    clip_quantile: float = 0.95
    """Weights of the distillation above this quantile of a reply's positive ones are cut to it."""
    min_position_weight: float = 0.0
    """Least weight of a position in the distillation, in nats (ours). Where the full message makes the receiver no
    surer a position has no weight of its own, and what a compressed message spoils there is not seen."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature <= 0 or not 0 < self.clip_quantile <= 1 or self.min_position_weight < 0:
            raise InputError(
                "give a temperature above 0, a clip_quantile above 0 and at most 1, and a min_position_weight of 0 or "
                f"more; got {self.temperature}, {self.clip_quantile} and {self.min_position_weight}"
            )
        if self.reference_rows is not None and self.reference_rows < 1:
            raise InputError(f"reference_rows is {self.reference_rows}; give at least 1, or leave it out")

    @classmethod
    def published(cls, latent_steps: int) -> "CompressionWeights":
        """The weights of the released code: both .1, tau 4, compared with as many first rows as there are latents."""
        return cls(distillation=0.1, mean_cosine=0.1, temperature=4.0, reference_rows=latent_steps)
