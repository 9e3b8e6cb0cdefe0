"""What the commands do around their stage: progress, the resolved configuration, a summary."""

import glob
import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from interlat.collect.thoughts import CollectThoughts, collect_thoughts
from interlat.config import write_config
from interlat.engine.distributed import Ranks
from interlat.environments.alfworld.splits import check_split
from interlat.errors import InputError
from interlat.experiments.household.arms import as_records, compare_arms, markdown_arms, rich_arms
from interlat.experiments.household.author import AuthorOptions, author_games
from interlat.experiments.household.collect_episodes import CollectEpisodes, collect_episodes
from interlat.experiments.household.collect_trajectories import CollectTrajectories, collect_trajectories
from interlat.experiments.household.episodes import of_draw, playable_episodes, read_episodes
from interlat.experiments.household.evaluate import (
    RESULTS_FILE,
    EvaluateHousehold,
    check_evidence,
    evaluate_household,
    read_played,
    results_of,
    write_inspections,
)
from interlat.experiments.household.mini import MINI_ROOMS
from interlat.experiments.household.report import build_report
from interlat.experiments.household.verify import verify_games
from interlat.files import read_lines, write_atomically
from interlat.progress import accepted, drain, in_bytes, say, track
from interlat.results import read_results
from interlat.store.reading import LatentStore
from interlat.training.trajectories import TRAJECTORIES_FILE, read_trajectories

_console = Console(stderr=True)


@dataclass(frozen=True)
class MakeAlfworld:
    """Author ALFWorld games of all six task types, deterministic for a seed."""

    output: str
    """Folder for the games, in the layout of the official files."""
    games: int
    """How many."""
    split: str
    """train or seen (ALFRED's training scenes), or unseen."""
    seed: int = 0
    """Seed of placements and tasks."""
    mini: bool = False
    """The small rooms of the bundled experiment instead of whole rooms; the options below are then ignored."""
    options: AuthorOptions = field(default_factory=AuthorOptions)
    """How full and how large the rooms are."""
    json: bool = False
    """Print one JSON line a game on stdout."""
    verify: bool = False
    """Let the expert play every game afterwards; exit code 1 if it loses one."""

    def __post_init__(self) -> None:
        check_split(self.split)


def run_make_alfworld(config: MakeAlfworld) -> int:
    """Author the games, say how many of which task type, and let the expert play them if asked to."""
    options = MINI_ROOMS if config.mini else config.options
    tasks: Counter[str] = Counter()
    written: list[Path] = []
    paths = author_games(config.output, config.games, config.split, config.seed, options)

    def counted() -> Iterator[tuple[int, int]]:
        for number, path in enumerate(paths, 1):
            written.append(path)
            tasks[path.parts[-3].split("-")[0]] += 1
            if config.json:
                print(json.dumps({"game": str(path), "split": config.split, "task_type": path.parts[-3].split("-")[0]}))
            yield number, config.games

    drain(track(counted(), f"{config.split} games"))
    _console.print(f"{sum(tasks.values())} {config.split} games in {config.output}")
    for task, count in sorted(tasks.items()):
        _console.print(f"  {count:5d} {task}")
    if not config.verify:
        return 0
    verdicts = []

    def verified() -> Iterator[tuple[int, int]]:
        for verdict in verify_games(written):
            verdicts.append(verdict)
            yield len(verdicts), len(written)

    drain(track(verified(), "expert"))
    lost = [verdict for verdict in verdicts if not verdict.won]
    _console.print(f"the expert won {len(verdicts) - len(lost)} of {len(verdicts)} games")
    for verdict in lost[:10]:
        _console.print(f"  lost {verdict.game}")
    return int(bool(lost))


def run_collect_episodes(config: CollectEpisodes) -> None:
    """Collect the episodes of a split."""
    drain(track(collect_episodes(config), f"{config.split} episodes"))
    records = read_episodes(config.output)
    _console.print(
        f"{len(records)} games, {sum(len(r['episodes']) for r in records)} episodes in {config.output}; "
        f"{sum(not r['episodes'] for r in records)} games are no search problem and have none"
    )


@dataclass(frozen=True)
class Collect(CollectThoughts):
    """Let a model think about tasks and keep its hidden states in a latent store."""

    json: bool = False
    """Print what was left out, and at the end the counts, as JSON lines on stdout."""


def run_collect(config: Collect) -> int:
    """Collect; 1 if thoughts failed. Under torchrun the first process reports for all."""
    ranks = Ranks.from_environment()
    notes = {"text": ""}

    def shown() -> Iterator[tuple[int, int]]:
        for number, progress in enumerate(collect_thoughts(config, ranks)):
            if not number and ranks.is_first:
                # Not before the store has accepted these settings.
                write_config(config, config.output)
            notes["text"] = in_bytes(progress.bytes_written)
            yield progress.done, progress.total

    if not ranks.is_first:
        # The bar and the exit code are the first one's; torchrun would end it for a failure that it is about to report.
        drain(shown())
        return 0
    several = f" (1 of {ranks.world_size} ranks)" if ranks.world_size > 1 else ""
    drain(track(shown(), f"thoughts{several}", notes))
    return _report_store(config.output, config.json)


def _report_store(directory: str, as_json: bool) -> int:
    thoughts = LatentStore.open(directory)
    excluded = thoughts.excluded.values()
    counts = Counter(one.status for one in excluded)
    if as_json:
        for one in excluded:
            print(json.dumps(asdict(one), ensure_ascii=False))
        print(json.dumps({"store": directory, "kept": len(thoughts), **{s: counts[s] for s in ("failed", "filtered")}}))
    _console.print(
        f"{len(thoughts)} thoughts in {directory}, {counts['filtered']} filtered out, {counts['failed']} failed"
    )
    for status in ("filtered", "failed"):
        reasons = Counter(one.reason for one in excluded if one.status == status)
        for reason, count in reasons.most_common(5):
            example = next(one.id for one in excluded if (one.status, one.reason) == (status, reason))
            _console.print(f"  {count:6d} {status}: {reason}, such as {example}", soft_wrap=True, highlight=False)
    return int(counts["failed"] > 0)


def run_collect_trajectories(config: CollectTrajectories) -> None:
    """Collect, and say how often the actor won."""
    steps = accepted(collect_trajectories(config), lambda: write_config(config, config.output))
    drain(track(steps, "trajectories"))
    played = read_trajectories(config.output)
    ends: dict[str, set[bool]] = {}
    for trajectory in played:
        ends.setdefault(trajectory.id, set()).add(trajectory.won)
    both = sum(len(one) > 1 for one in ends.values())
    say(
        f"{len(played)} trajectories with {len(ends)} thoughts in {Path(config.output) / TRAJECTORIES_FILE}, "
        f"{sum(one.won for one in played)} of them won; {both} thoughts were both won and lost with"
    )


@dataclass(frozen=True)
class Evaluate:
    """Play held-out games under variants and controls; continues where it was interrupted."""

    episodes: tuple[str, ...]
    """``episodes.jsonl`` of each split to play on."""
    settings: EvaluateHousehold
    """Models, variants, output folder."""
    games: int | None = None
    """Play this many games of each split, chosen by chance and always the same; None plays all."""
    draw: int = 0
    """Which draw of each game's evidence the sender has; those of training games were drawn several times."""
    threads: int = 2
    """Threads of torch on a CPU."""
    json: bool = False
    """Print one JSON line an episode on stdout at the end."""


def run_evaluate(config: Evaluate) -> None:
    """Play, then write the report."""
    import torch

    torch.set_num_threads(config.threads)
    settings = config.settings
    records = of_draw(playable_episodes(config.episodes, config.games), config.draw)
    check_evidence(settings, records)
    steps = accepted(evaluate_household(settings, records), lambda: write_config(config, settings.output))
    drain(track(steps, "episodes"))
    inspections = write_inspections(settings, records)
    results = Path(settings.output) / RESULTS_FILE
    if config.json:
        for line in read_results([results]).records:
            print(json.dumps(line, ensure_ascii=False))
    played = results_of(settings)
    report = build_report(
        played.records, settings.output, inspections=json.loads(inspections.read_text()), command=shlex.join(sys.argv)
    )
    _console.print(report.table)
    if played.note:
        say(played.note)
    _console.print(f"episodes in {results}, report in {report.page}")


@dataclass(frozen=True)
class Compare:
    """Compare arms of an experiment that were evaluated on the same games."""

    arms: dict[str, tuple[str, ...]]
    """Name -> its trainings, each as the folder of its evaluation, or FOLDER:VARIANT where it is not `latent`. A folder
    with a * stands for several evaluations of one training, on several draws of the evidence (`--draw`), and so does
    FOLDER + FOLDER."""
    baseline: str
    """The arm that the others are compared with."""
    output: str | None = None
    """Folder for ``arms.md`` and ``arms.jsonl``; None writes no files."""
    share: bool = False
    """Also show each arm's success as a share of the baseline's."""
    games_of: str = ""
    """Folder of an evaluation whose games alone count; empty counts all that the arms played."""
    json: bool = False
    """Print one JSON line an arm and split on stdout."""


def run_compare(config: Compare) -> None:
    """Read the evaluations and compare."""
    arms = {name: [_episodes_of(place) for place in places] for name, places in config.arms.items()}
    if config.games_of:
        arms = _only_games_of(config.games_of, arms)
    rows = compare_arms(arms, config.baseline)
    records = [json.dumps(record, ensure_ascii=False) for record in as_records(rows)]
    if config.output is not None:
        write_config(config, config.output)
        write_atomically(Path(config.output) / "arms.md", markdown_arms(rows, config.baseline, config.share))
        write_atomically(Path(config.output) / "arms.jsonl", "".join(f"{record}\n" for record in records))
    if config.json:
        for record in records:
            print(record)
    _console.print(rich_arms(rows, config.baseline, config.share))


def _episodes_of(place: str) -> list[dict[str, Any]]:
    pattern, _, variant = place.partition(":")
    found = []
    folders = [
        folder for part in pattern.split(" + ") for folder in (sorted(glob.glob(part)) if "*" in part else [part])
    ]
    for folder in folders:
        read = read_played(folder)
        if read.note:
            say(read.note)
        records = read.records
        # An evaluation of a model that was trained on leaves its earlier episodes in the file.
        newest = records[-1]["config_hash"] if records else ""
        found += [r for r in records if r["config_hash"] == newest and r["variant"] == (variant or "latent")]
    return found


def _only_games_of(folder: str, arms: dict[str, list[list[dict[str, Any]]]]) -> dict[str, list[list[dict[str, Any]]]]:
    games = {record["item"] for record in read_lines(Path(folder) / RESULTS_FILE, {"item": str})}
    if not games:
        raise InputError(f"no games in {folder}; give the folder of an evaluation as games_of")
    chosen = {
        name: [[r for r in training if r["item"] in games] for training in trainings]
        for name, trainings in arms.items()
    }
    for name, trainings in chosen.items():
        found = min(len({r["item"] for r in training}) for training in trainings)
        if found < len(games):
            raise InputError(
                f"arm {name!r} played {found} of the {len(games)} games in {folder}; evaluate it on them all"
            )
    return chosen
