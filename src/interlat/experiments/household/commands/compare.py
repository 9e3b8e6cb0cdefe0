"""`interlat compare`."""

import glob
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from interlat.config import write_config
from interlat.errors import InputError
from interlat.files import read_lines, write_atomically
from interlat.progress import say

if TYPE_CHECKING:
    from interlat.experiments.household.arms import ArmRow

Arms = dict[str, list[list[dict[str, Any]]]]
"""Name of an arm -> its trainings, each as the records of its episodes."""


@dataclass(frozen=True)
class Compare:
    """Compare arms of an experiment that were evaluated on the same games."""

    arms: dict[str, tuple[str, ...]]
    """Training runs of each arm, by the arm's name.
    Each run is the folder of its evaluation, or FOLDER:VARIANT if the variant is not `latent`.
    Several evaluations of one run, on several evidence draws (`--draw`), are a folder with a * or FOLDER + FOLDER."""
    baseline: str
    """The arm that the others are compared with."""
    output: str | None = None
    """Folder for ``arms.md`` and ``arms.jsonl``. None writes no files."""
    share: bool = False
    """Also show each arm's success as a share of the baseline's."""
    games_of: str = ""
    """Folder of an evaluation. Only its games count. Empty counts all games that the arms played."""
    json: bool = False
    """Print one JSON line per arm and split on stdout."""

    def run(self) -> "list[ArmRow]":
        """Read the evaluations and compare."""
        from interlat.experiments.household.arms import compare_arms

        arms = {name: [_episodes_of(place) for place in places] for name, places in self.arms.items()}
        return compare_arms(_only_games_of(self.games_of, arms) if self.games_of else arms, self.baseline)

    def report(self, rows: "list[ArmRow]") -> None:
        """The table; and the files."""
        from interlat.experiments.household.arms import as_records, markdown_arms, rich_arms

        records = [json.dumps(record, ensure_ascii=False) for record in as_records(rows)]
        if self.output is not None:
            write_config(self, self.output)
            write_atomically(Path(self.output) / "arms.md", markdown_arms(rows, self.baseline, self.share))
            write_atomically(Path(self.output) / "arms.jsonl", "".join(f"{record}\n" for record in records))
        if self.json:
            for record in records:
                print(record)
        Console(stderr=True).print(rich_arms(rows, self.baseline, self.share))


def _episodes_of(place: str) -> list[dict[str, Any]]:
    from interlat.experiments.household.evaluate import read_played

    pattern, _, variant = place.partition(":")
    found = []
    folders = [
        folder for part in pattern.split(" + ") for folder in (sorted(glob.glob(part)) if "*" in part else [part])
    ]
    for folder in folders:
        read = read_played(folder)
        if read.note:
            say(read.note)
        # An evaluation of a model that was trained on leaves its earlier episodes in the file.
        newest = read.records[-1]["config_hash"] if read.records else ""
        wanted = (newest, variant or "latent")
        found += [record for record in read.records if (record["config_hash"], record["variant"]) == wanted]
    return found


def _only_games_of(folder: str, arms: Arms) -> Arms:
    from interlat.experiments.household.evaluate import RESULTS_FILE

    games = {record["item"] for record in read_lines(Path(folder) / RESULTS_FILE, {"item": str})}
    if not games:
        raise InputError(f"no games in {folder}; give the folder of an evaluation as games_of")
    chosen = {
        name: [[record for record in training if record["item"] in games] for training in trainings]
        for name, trainings in arms.items()
    }
    for name, trainings in chosen.items():
        found = min(len({record["item"] for record in training}) for training in trainings)
        if found < len(games):
            raise InputError(
                f"arm {name!r} played {found} of the {len(games)} games in {folder}; evaluate it on them all"
            )
    return chosen
