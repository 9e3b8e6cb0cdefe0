"""The latency of messages about household games."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from interlat.environments.protocol import EnvironmentOptions
from interlat.evaluation.latency import measure
from interlat.experiments.household.environment import HouseholdEnvironment
from interlat.experiments.household.evaluate import (
    agents_of,
    arms_of,
    play_settings,
)
from interlat.experiments.household.settings import LATENCY_VARIANTS as LATENCY_VARIANTS
from interlat.experiments.household.settings import MeasureLatency as MeasureLatency
from interlat.files import locked


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
