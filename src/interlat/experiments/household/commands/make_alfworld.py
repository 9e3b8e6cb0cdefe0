"""`interlat worlds make alfworld`."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from interlat.environments.alfworld.splits import check_split
from interlat.experiments.household.author import MINI_ROOMS, AuthorOptions, author_games
from interlat.experiments.household.verify import Verdict, verify_games
from interlat.progress import gathered, say


@dataclass(frozen=True)
class MakeAlfworld:
    """Generate ALFWorld games of all six task types. The same seed gives the same games."""

    RENAMED: ClassVar[Mapping[str, str]] = {"games": "count"}
    output: str
    """Folder of the games, laid out as the official files are."""
    count: int
    """Number of games."""
    split: str
    """Scenes to use: train or seen (both ALFRED's training scenes), or unseen."""
    seed: int = 0
    """Seed of the placements and tasks."""
    mini: bool = False
    """Use the small rooms of the bundled experiment instead of whole rooms. The options below are then ignored."""
    options: AuthorOptions = field(default_factory=AuthorOptions)
    """How full and how large the rooms are."""
    json: bool = False
    """Print one JSON line per game on stdout."""
    verify: bool = False
    """Let the expert play every game afterwards. The exit code is 1 if it loses one."""

    def __post_init__(self) -> None:
        check_split(self.split)

    def run(self) -> tuple[list[Path], list[Verdict]]:
        """Author the games, and let the expert play them if asked to; the games and what it made of them."""
        options = MINI_ROOMS if self.mini else self.options
        paths = author_games(self.output, self.count, self.split, self.seed, options)
        games = gathered(paths, self.count, f"{self.split} games")
        return games, gathered(verify_games(games), len(games), "expert") if self.verify else []

    def report(self, made: tuple[list[Path], list[Verdict]]) -> int:
        """How many of which task type; 1 if the expert lost one."""
        games, verdicts = made
        lost = [verdict for verdict in verdicts if not verdict.won]
        types = [path.parts[-3].split("-")[0] for path in games]
        if self.json:
            for path, task_type in zip(games, types, strict=True):
                print(json.dumps({"game": str(path), "split": self.split, "task_type": task_type}))
        say(f"{len(games)} {self.split} games in {self.output}")
        for task_type, count in sorted(Counter(types).items()):
            say(f"  {count:5d} {task_type}")
        if self.verify:
            say(f"the expert won {len(verdicts) - len(lost)} of {len(verdicts)} games")
        for verdict in lost[:10]:
            say(f"  lost {verdict.game}")
        return int(bool(lost))
