"""What the commands about short messages do around their work: progress, the resolved configuration, pictures."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from tyro.conf import Positional

from interlat.config import write_config
from interlat.errors import InputError
from interlat.evaluation.latency import LATENCY_FILE, read_measurements
from interlat.evaluation.parallelism import ReadLatents, read_latents
from interlat.experiments.household.episodes import playable_episodes
from interlat.experiments.household.evaluate import read_played
from interlat.experiments.household.latency import MeasureLatency, measure_latency
from interlat.files import write_atomically
from interlat.progress import accepted, drain, say, track
from interlat.report.parallelism import parallelism_table, plot_parallelism, steps_of
from interlat.report.tradeoff import latencies, latency_table, plot_tradeoff

_console = Console(stderr=True)


@dataclass(frozen=True)
class EvaluateLatency:
    """Measure what a message takes from the sender's prompt to the receiver's first action, one at a time."""

    episodes: tuple[str, ...]
    """``episodes.jsonl`` of each split to measure on."""
    settings: MeasureLatency
    """Models, variants, output folder."""
    games: int = 10
    """Games of each split, chosen by chance and always the same."""
    threads: int = 1
    """Threads of torch on a CPU."""
    json: bool = False
    """Print one JSON line a measurement on stdout at the end."""


def run_evaluate_latency(config: EvaluateLatency) -> None:
    """Measure, and show the medians."""
    torch.set_num_threads(config.threads)
    settings = config.settings
    records = playable_episodes(config.episodes, config.games)
    steps = accepted(measure_latency(settings, records), lambda: write_config(config, settings.output))
    drain(track(steps, "messages"))
    path = Path(settings.output) / LATENCY_FILE
    found = read_measurements(settings.output, settings.hash)
    lines = found.records
    if config.json:
        for line in lines:
            print(json.dumps(line, ensure_ascii=False))
    _console.print(latency_table(latencies(lines)))
    if found.note:
        say(found.note)
    say(f"measurements in {path}")


@dataclass(frozen=True)
class PlotTradeoff:
    """Draw success against latency, with intervals."""

    evaluation: Positional[tuple[str, ...]]
    """Output folders of evaluations; their episodes are taken together, such as those of several trainings."""
    latency: str
    """Output folder of `interlat evaluate latency`."""
    output: str
    """Folder for the pictures."""


def run_plot_tradeoff(config: PlotTradeoff) -> None:
    """Draw; the paths on stdout."""
    played = [read_played(folder) for folder in config.evaluation]
    measured = read_measurements(config.latency)
    for found in (*played, measured):
        if found.note:
            say(found.note)
    episodes = [record for found in played for record in found.records]
    for path in plot_tradeoff(episodes, measured.records, config.output):
        print(path)


@dataclass(frozen=True)
class PlotParallelism:
    """Draw how many continuations latents hold at once: a trained sender's against untrained steps."""

    model: str
    """Folder or hub id of a compressed sender."""
    thoughts: str
    """Latent store; its tasks and prompts are used."""
    output: str
    """Folder for the pictures and ``latents.jsonl``."""
    untrained: str | None = None
    """Model that takes untrained steps; None is the one in ``model``, without its bridge."""
    latent_steps: int = 6
    """K."""
    limit: int = 200
    """Tasks."""


def run_plot_parallelism(config: PlotParallelism) -> None:
    """Think, read, draw; the paths on stdout."""
    trained = ReadLatents(config.model, config.thoughts, config.latent_steps, config.limit)
    untrained = replace(trained, model=config.untrained or config.model, untrained=True)
    senders = {"untrained": _read(untrained, "untrained"), "trained": _read(trained, "trained")}
    if not senders["trained"]:
        raise InputError(f"{config.thoughts} holds no thoughts; collect some")
    lines = [json.dumps({"sender": name, **record}) for name, records in senders.items() for record in records]
    write_config(config, config.output)
    write_atomically(Path(config.output) / "latents.jsonl", "".join(f"{line}\n" for line in lines))
    for path in plot_parallelism(senders, config.output):
        print(path)
    _console.print(parallelism_table({name: steps_of(records) for name, records in senders.items()}))


def _read(config: ReadLatents, title: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def shown() -> Iterator[tuple[int, int]]:
        for done, total, records in read_latents(config):
            found.extend(records)
            yield done, total

    drain(track(shown(), title))
    return found
