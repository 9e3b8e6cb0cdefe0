"""The latency of messages about household games."""

import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from interlat.engine.fingerprint import content_digest
from interlat.environments.protocol import EnvironmentOptions
from interlat.errors import InputError
from interlat.evaluation.latency import measure
from interlat.experiments.household.environment import HouseholdEnvironment
from interlat.experiments.household.evaluate import (
    Checkpoints,
    EvaluateHousehold,
    agents_of,
    arms_of,
    play_settings,
)
from interlat.experiments.household.variants import COMPRESSED, ROLLOUT, rows_of
from interlat.files import locked

LATENCY_VARIANTS = ("text", "latent", *(f"{COMPRESSED}:{2**power}" for power in range(8)))


@dataclass(frozen=True)
class MeasureLatency:
    """Measure the latency of messages, one at a time."""

    checkpoints: Checkpoints
    """The models."""
    output: str
    """Folder of the measurements."""
    variants: tuple[str, ...] = LATENCY_VARIANTS
    """none, text, latent, ``compressed:K`` and ``rollout:K``."""
    repeats: int = 3
    """Measurements of each game and variant."""
    max_plan_tokens: int = 80
    """Most tokens of a plan."""

    def __post_init__(self) -> None:
        for variant in self.variants:
            short = rows_of(variant) and variant.partition(":")[0] in (COMPRESSED, ROLLOUT)
            if variant not in ("none", "text", "latent") and not short:
                raise InputError(
                    f"variant {variant!r} has no latency of its own; choose from none, text, latent, {COMPRESSED}:8 "
                    f"and {ROLLOUT}:8"
                )
        if not self.variants or self.repeats < 1:
            raise InputError("give at least one variant and one repeat")
        if any(v.startswith(COMPRESSED) for v in self.variants) and not self.checkpoints.compressed:
            raise InputError("a compressed variant needs the checkpoint of a compressed sender; name its folder")

    @property
    def evaluation(self) -> EvaluateHousehold:
        """The same messages as an evaluation."""
        return EvaluateHousehold(
            self.checkpoints, self.output, self.variants, max_plan_tokens=self.max_plan_tokens, batch_size=1
        )

    @functools.cached_property
    def hash(self) -> str:
        """Twelve digits of the models and settings that decide what is measured."""
        fields = {"max_plan_tokens": self.max_plan_tokens, "repeats": self.repeats}
        digests = {role: content_digest(place) for role, place in asdict(self.checkpoints).items() if place}
        return hashlib.sha256(json.dumps([fields, digests], sort_keys=True).encode()).hexdigest()[:12]


def measure_latency(config: MeasureLatency, records: Sequence[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    """Measure, or go on measuring; yields (measurements done, measurements in all).

    Args:
        config: the settings.
        records: games with one drawn evidence each.

    Raises:
        InputError: no games, measurements of another machine in the same folder, or an actor that was trained to read
            another kind of message.
        MessageError: the latent actor was not trained to read these senders.
        StorageError: another process writes to the folder, or it has lines that are no measurements.
    """
    with locked(config.output):
        items = HouseholdEnvironment(EnvironmentOptions(), records).items()
        evaluation = config.evaluation
        settings = replace(play_settings(evaluation), config_hash=config.hash)
        yield from measure(items, agents_of(evaluation), arms_of(evaluation), settings, config.repeats)
