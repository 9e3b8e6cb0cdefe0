"""Weights of the losses beside the cross-entropy. They need no torch; the command line reads them at once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from interlat.errors import InputError
from interlat.typed import check_range

if TYPE_CHECKING:
    from torch import Tensor

    from interlat.training.losses import Term

LN2 = math.log(2.0)
WEIGHT_FLOOR = 0.01


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses beside the cross-entropy. A weight of 0 switches a loss off."""

    NAMED: ClassVar[tuple[str, ...]] = ()
    """The fields that are weights of the losses of their names."""
    REFERENCES: ClassVar[tuple[str, ...]] = ()
    """The branches that this training can compare with."""

    more: dict[str, float] = field(default_factory=dict, kw_only=True)
    """Weights of further losses by name, such as another package's."""

    def __post_init__(self) -> None:
        check_range(self, "[0, inf)", *self.NAMED)
        for name, weight in self.more.items():
            from interlat.training.losses import LOSSES

            if weight < 0:
                raise InputError(f"{name} is {weight}, expected a weight of 0 or more; correct it")
            missing = set(LOSSES[name].references) - set(self.REFERENCES)
            if missing or name in self.NAMED:
                why = f"compares with {', '.join(sorted(missing))}" if missing else "has a field of its own"
                raise InputError(f"losses.more names {name}, which {why}; leave it out there")

    @property
    def terms(self) -> "list[Term]":
        """The losses with a weight, in the order of the fields."""
        from interlat.training.losses import LOSSES, Term

        weights = {**{name: getattr(self, name) for name in self.NAMED}, **self.more}
        return [Term(name, weight, LOSSES[name](self)) for name, weight in weights.items() if weight]

    @property
    def references(self) -> list[str]:
        """The branches that the losses compare with, each once."""
        return list(dict.fromkeys(name for term in self.terms for name in term.loss.references))


@dataclass(frozen=True)
class BranchWeights(LossWeights):
    """``L = L_task + w_S L_sep + w_A L_align`` of an actor (Interlat, arXiv 2511.09149)."""

    RENAMED: ClassVar[Mapping[str, str]] = {"separation": "contrastive", "alignment": "plan_distillation"}
    NAMED = ("contrastive", "plan_distillation")
    REFERENCES = ("other", "plan")

    contrastive: float = 0.0
    """w_S: weight of the contrastive loss.
    The reply under the right message must differ from the reply under another task's message."""
    plan_distillation: float = 0.0
    """w_A: weight of the distillation from the plan.
    The reply under the message must match the reply under the plan in words, the teacher."""
    adaptive: bool = False
    """Let each weight follow its loss: ``0.01 + (w - 0.01) min(1, L / scale)`` for each sample.
    The scale is the margin for L_sep and 4 nats for L_align, as published.
    Here no gradient flows through the weights, and a sample's weight does not depend on the others."""
    margin: float = 0.69
    """Margin of the contrastive loss in nats, at most ln 2. A larger divergence costs nothing."""
    kl_share: float = 0.7
    """Weight of the KL divergence in L_align. The cosine gets the rest."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, f"(0, {LN2}]", "margin")
        check_range(self, "[0, 1]", "kl_share")

    @classmethod
    def published(cls) -> "BranchWeights":
        """The weights of the released code: 0.01 to 0.5 for L_sep, 0.01 to 0.05 for L_align, adaptive."""
        return cls(contrastive=0.5, plan_distillation=0.05, adaptive=True)

    def weighted(self, term: "Term", losses: "Tensor") -> "Tensor":
        """The losses ``[S]`` of some samples times the weight that each of them gets."""
        if not self.adaptive:
            return term.weight * losses
        followed = (losses.detach() / term.loss.scale).clamp_max(1.0)
        return (WEIGHT_FLOOR + (term.weight - WEIGHT_FLOOR) * followed) * losses


@dataclass(frozen=True)
class CompressionWeights(LossWeights):
    """``L = w_C L_CE + w_P L_pref + w_G L_geom + w_L L_lens`` of a compressed sender.

    The first three are those of Interlat (arXiv 2511.09149), with ``w_C = 1``; the last is ours.
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
    """w_P: weight of the distillation. The teacher is the receiver's reply under the full message."""
    mean_cosine: float = 0.1
    """w_G: weight of the cosine distance between the mean adapted latents of the compressed and of the full message."""
    lens_distillation: float = 0.0
    """w_L: weight of a distillation through the logit lens.
    The latents must predict under the sender's head what uncertain states of the full message predict.
    It helps few latents, which otherwise learn late what to say.
    It needs a single length, and the model that made the full messages."""
    temperature: float = 1.0
    """Temperature tau of the distillation: ``tau^2 KL(p_full^(1/tau) || p^(1/tau))``."""
    reference_rows: int | None = None
    """Number of first latents of the full message that distillation and mean_cosine compare with. None uses all."""
    clip_quantile: float = 0.95
    """Clip the position weights of the distillation at this quantile of a reply's positive weights."""
    min_position_weight: float = 0.0
    """Smallest weight of a position in the distillation, in nats (ours).
    A position has no weight of its own if the full message makes the receiver no surer there.
    With 0, damage by a compressed message at such a position goes unseen."""
    cross_entropy: float = 1.0
    """w_C: weight of the cross-entropy of the receiver's reply.
    If it is 0, with only lens_distillation and mean_cosine, a step runs without the receiver and takes less time.
    Use this as a start for a training with the receiver."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "(0, inf)", "temperature")
        check_range(self, "(0, 1]", "clip_quantile")
        check_range(self, "[0, inf)", "min_position_weight")
        check_range(self, "[1, inf)", "reference_rows")
        check_range(self, "[0, inf)", "cross_entropy")
        if not self.cross_entropy and not self.terms:
            raise InputError("every loss has the weight 0; give cross_entropy or another one a weight")

    @classmethod
    def published(cls, latent_steps: int) -> "CompressionWeights":
        """The weights of the released code: both .1, tau 4, compared with as many first rows as there are latents."""
        return cls(distillation=0.1, mean_cosine=0.1, temperature=4.0, reference_rows=latent_steps)
