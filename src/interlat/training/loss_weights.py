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
    """Weights of the losses beside the cross-entropy; a weight of 0 leaves a loss out."""

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
    cross_entropy: float = 1.0
    """Weight of the receiver's reply. With 0, and of the others none but lens_distillation and mean_cosine, a step does
    without the receiver and takes a part of the time: a beginning, for a training with the receiver to go on from."""

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
