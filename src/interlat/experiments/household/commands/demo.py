"""`interlat demo`: a scout and an actor play held-out games under several kinds of message."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.console import Console

from interlat.config import write_config
from interlat.errors import InputError
from interlat.experiments.household.commands.evaluate import show_report
from interlat.files import write_atomically
from interlat.places import model_place
from interlat.progress import completed, gathered, say

if TYPE_CHECKING:
    from interlat.experiments.household.evidence import Language
    from interlat.experiments.household.settings import Checkpoints
    from interlat.results import Results

DEMO_VARIANTS = ("none", "text", "latent", "compressed:8", "cross_task", "zeros", "gaussian")
REAL_VARIANTS = ("none", "text", "latent", "cross_task", "zeros", "gaussian")
REAL_MODEL = "smollm2-135m"
"""The base model of the adapters that the demo plays with ``--real``."""
_HELD_OUT_SEED = 7
"""Seed of the demo's games; the recipe trains and evaluates on games of other seeds."""
_SPLITS = ("seen", "unseen")


@dataclass(frozen=True)
class Demo:
    """Play held-out household games with the bundled models under several kinds of message."""

    RENAMED: ClassVar[Mapping[str, str]] = {"games": "limit"}
    real: bool = False
    """Play with SmolLM2-135M and the bundled adapters instead of the small models.
    Run interlat models fetch smollm2-135m first."""
    limit: int | None = None
    """Number of games, half in scenes of the training split and half in unseen scenes.
    The default is 120, with --real 30."""
    variants: tuple[str, ...] = ()
    """Any of none, text, text_sampled, list, latent, latent_unsent, latent_told, compressed:K, rollout:K, or a control.
    The default is every variant whose models are bundled, and three controls."""
    output: str | None = None
    """The run directory. The default is runs/demo, with --real runs/demo-real."""
    seed: int = 0
    """Seed of the controls and of sampled plans."""
    workers: int = 2
    """Number of processes that run the games."""
    threads: int = 2
    """Number of torch threads on a CPU."""
    json: bool = False
    """Print one JSON line per episode on stdout."""

    def __post_init__(self) -> None:
        chosen = {
            "limit": (30 if self.real else 120) if self.limit is None else self.limit,
            "variants": self.variants or (REAL_VARIANTS if self.real else DEMO_VARIANTS),
            "output": ("runs/demo-real" if self.real else "runs/demo") if self.output is None else self.output,
        }
        for name, value in chosen.items():
            # So that config.yaml says what was run.
            object.__setattr__(self, name, value)
        if self.games < 2:
            raise InputError(f"limit is {self.limit}; the demo needs at least 2 games")
        if self.variants not in (DEMO_VARIANTS, REAL_VARIANTS):
            from interlat.experiments.household.variants import check_variants

            check_variants(self.variants)

    @property
    def games(self) -> int:
        """The number of games."""
        assert self.limit is not None, "chosen when this was made"
        return self.limit

    @property
    def folder(self) -> str:
        """The run directory."""
        assert self.output is not None, "chosen when this was made"
        return self.output

    def run(self) -> "Results":
        """Play; the episodes of these games and variants.

        Raises:
            CheckpointError: the real model has not been fetched.
        """
        if self.real:
            model_place(REAL_MODEL)
        import torch

        from interlat.experiments.household.evaluate import EvaluateHousehold, played_with_inspections

        torch.set_num_threads(self.threads)
        settings = EvaluateHousehold(
            checkpoints=real_checkpoints() if self.real else bundled_checkpoints(),
            output=self.folder,
            variants=self.variants,
            seed=self.seed,
            workers=self.workers,
            dtype="auto" if self.real else "float32",
        )
        records = demo_games(self.folder, self.games, "plain" if self.real else "short")

        def write_settings() -> None:
            write_config(self, self.folder)
            resolved = {**asdict(settings), "hash": settings.hash, "torch": torch.__version__}
            write_atomically(Path(self.folder) / "settings.json", json.dumps(resolved, indent=1))

        items = {record["item"] for record in records}
        found = played_with_inspections(settings, records, write_settings)
        played = [line for line in found.records if line["item"] in items and line["variant"] in self.variants]
        return replace(found, records=played)

    def report(self, played: "Results") -> None:
        """The table, and the report."""
        from interlat.experiments.household.evaluate import RESULTS_FILE

        page = show_report(played, self.folder, self.json, Console(stderr=self.json))
        say(f"episodes: {Path(self.folder) / RESULTS_FILE}\nreport:   {page}")


def demo_games(output: str, games: int, language: "Language" = "short") -> list[dict[str, Any]]:
    """Author the demo's games and draw their evidence; what is there is used again.

    The number of games authored is a little larger than asked for: some are no search problem.
    """
    from interlat.experiments.household.author import MINI_ROOMS, author_games
    from interlat.experiments.household.collect_episodes import CollectEpisodes, collect_episodes
    from interlat.experiments.household.episodes import playable_episodes

    records: list[dict[str, Any]] = []
    for split, count in zip(_SPLITS, (games - games // 2, games // 2), strict=True):
        wanted = count + count // 5 + 4
        root = Path(output) / "games" / f"{split}-{wanted}"
        episodes = root.with_name(f"{root.name}.jsonl")
        gathered(author_games(root, wanted, split, _HELD_OUT_SEED, MINI_ROOMS), wanted, f"{split} games")
        config = CollectEpisodes(str(root), split, str(episodes), draws=1, play=False, language=language)
        completed(collect_episodes(config), f"{split} evidence")
        records += playable_episodes([episodes], count)
    return records


def bundled_checkpoints() -> "Checkpoints":
    """The models of the bundled experiment."""
    from interlat.experiments.household.checkpoints import bundled
    from interlat.experiments.household.settings import Checkpoints

    kinds = ("scout", "none", "text", "latent", "list", "compressed")
    return Checkpoints(**{kind: bundled(f"alfworld-mini/{kind}") for kind in kinds})


def real_checkpoints() -> "Checkpoints":
    """The adapters of `REAL_MODEL`; `recipes/alfworld-smollm2` says how they were made."""
    from interlat.experiments.household.checkpoints import bundled
    from interlat.experiments.household.settings import Checkpoints

    return Checkpoints(**{kind: bundled(f"alfworld-smollm2/{kind}") for kind in ("scout", "none", "text", "latent")})
