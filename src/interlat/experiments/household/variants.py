"""The names of what is compared in the household experiment."""

from collections.abc import Sequence

from interlat.controls.latents import is_control
from interlat.errors import InputError
from interlat.experiments.household.settings import COMPRESSED, RESAMPLED, ROLLOUT

PLAIN_VARIANTS = ("none", "text", "text_sampled", "list", "latent", "latent_unsent", "latent_told")
SHORT_VARIANTS = (COMPRESSED, RESAMPLED, ROLLOUT)
"""With a number of rows behind a colon: a trained sender's latents, a resampler's rows, and the latent steps of the
scout itself, which nobody trained."""


def check_variants(variants: Sequence[str]) -> None:
    """Raise an InputError unless all of ``variants`` are known, and at least one is given."""
    known = (
        f"{', '.join(PLAIN_VARIANTS)}, {', '.join(f'{name}:8' for name in SHORT_VARIANTS)} or a control such as zeros"
    )
    if not variants:
        raise InputError(f"no variants; choose from {known}")
    for variant in variants:
        if variant not in PLAIN_VARIANTS and not rows_of(variant) and not is_control(variant):
            raise InputError(f"unknown variant {variant!r}; choose from {known}")


def rows_of(variant: str) -> int:
    """K of a short variant such as ``compressed:8``; 0 for any other."""
    name, _, count = variant.partition(":")
    return int(count) if name in SHORT_VARIANTS and count.isdecimal() else 0
