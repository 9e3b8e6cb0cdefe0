"""`interlat collect episodes`, `interlat collect trajectories` and `interlat train scout`."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interlat.config import write_config
from interlat.experiments.household.settings import CollectEpisodes, CollectTrajectories, TrainScout
from interlat.progress import completed, say
from interlat.training.settings import Tracking

if TYPE_CHECKING:
    from interlat.training.trajectories import Trajectory


@dataclass(frozen=True)
class CollectEpisodesCommand(CollectEpisodes):
    """Play games with an expert that knows the scout's evidence, and save its observations and commands."""

    def run(self) -> list[dict[str, Any]]:
        """Collect the episodes of a split; the records of the games."""
        from interlat.experiments.household.collect_episodes import collect_episodes
        from interlat.experiments.household.episodes import read_episodes

        completed(collect_episodes(self), f"{self.split} episodes")
        return read_episodes(self.output)

    def report(self, records: list[dict[str, Any]]) -> None:
        """How many games and episodes there are."""
        episodes, none = sum(len(r["episodes"]) for r in records), sum(not r["episodes"] for r in records)
        say(f"{len(records)} games, {episodes} episodes in {self.output}; {none} games are no search problem")


@dataclass(frozen=True)
class CollectTrajectoriesCommand(CollectTrajectories):
    """Let a trained actor play training games several times with the stored messages about them."""

    def run(self) -> "list[Trajectory]":
        """Collect; the trajectories."""
        from interlat.experiments.household.collect_trajectories import collect_trajectories
        from interlat.training.trajectories import read_trajectories

        steps = collect_trajectories(self)
        completed(steps, "trajectories", begun=lambda: write_config(self, self.output))
        return read_trajectories(self.output)

    def report(self, played: "list[Trajectory]") -> None:
        """How often the actor won."""
        from interlat.training.trajectories import TRAJECTORIES_FILE

        ends: dict[str, set[bool]] = defaultdict(set)
        for trajectory in played:
            ends[trajectory.id].add(trajectory.won)
        both = sum(len(one) > 1 for one in ends.values())
        say(
            f"{len(played)} trajectories with {len(ends)} thoughts in {Path(self.output) / TRAJECTORIES_FILE}, "
            f"{sum(one.won for one in played)} of them won; {both} thoughts were both won and lost with"
        )


@dataclass(frozen=True)
class TrainScoutCommand(Tracking, TrainScout):
    """Train a scout, from scratch or from a pretrained model."""

    def run(self) -> Path:
        """Train; the folder of the model."""
        from interlat.experiments.household.train_scout import train_scout
        from interlat.report.training_run import shown_training

        return shown_training(lambda config, _: train_scout(config), self, "scout")

    def report(self, model: Path) -> None:
        """Nothing beyond what the training said."""
