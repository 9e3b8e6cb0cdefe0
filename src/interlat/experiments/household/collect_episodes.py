"""Games become scenes and episodes: the layout, drawn evidence, and what an expert does who knows the evidence.

One JSON line a game in ``episodes.jsonl``. A line that is there is not made again, so the stage can be killed and
continued; the result does not depend on the number of workers.
"""

import json
import multiprocessing
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from interlat.environments.alfworld.expert import Expert, optimal_steps
from interlat.environments.alfworld.game import AlfworldGame, Layout, find_games, item_of
from interlat.errors import InputError
from interlat.experiments.household.episodes import describe
from interlat.experiments.household.evidence import Evidence, draw_evidence
from interlat.experiments.household.settings import CollectEpisodes as CollectEpisodes
from interlat.files import append_line, locked, read_lines


@cache
def _game() -> AlfworldGame:
    return AlfworldGame()


def collect_game(path: str, config: CollectEpisodes) -> dict[str, Any]:
    """The scene and episodes of one game; ``episodes`` is empty where the game is no search problem."""
    game = _game()
    game.load(path)
    layout = game.layout()
    opening = game.reset().text
    record: dict[str, Any] = {
        "item": item_of(path),
        "game": path,
        "split": config.split,
        "task_type": layout.task_type,
        "floor": game.floor,
        "opening": opening,
        "optimal_steps": optimal_steps(layout),
        "max_steps": optimal_steps(layout) + config.patience,
        "layout": {**asdict(layout), "openable": sorted(layout.openable)},
        "episodes": [],
    }
    if config.language != "short":
        record["language"] = config.language
    for draw in range(config.draws):
        evidence = draw_evidence(layout, random.Random(f"evidence/{config.seed}/{item_of(path)}/{draw}"))
        if evidence is None:
            break
        episode = {"draw": draw, **describe(layout, evidence, config.language)}
        if config.play:
            chance = random.Random(f"stumble/{config.seed}/{item_of(path)}/{draw}")
            episode["turns"] = _play(game, layout, evidence, record["max_steps"] + 15, config.stumble, chance)
        record["episodes"].append(episode)
    return record


def _play(
    game: AlfworldGame, layout: Layout, evidence: Evidence, limit: int, stumble: float, chance: random.Random
) -> list[tuple[str, str, bool]]:
    """The expert's episode: (command, observation, whether the command is to be imitated)."""
    expert = Expert(layout, [belief.places for belief in evidence.beliefs])
    observation = game.reset()
    visited: list[str] = []
    turns = []
    while not observation.won and observation.steps < limit:
        command = expert.next_command(observation)
        stumbles = bool(visited) and chance.random() < stumble
        if stumbles:
            back = chance.choice(visited)
            command = chance.choice([f"go to {expert.location}", f"open {expert.location}", f"go to {back}"])
            expert.has_acted(command)
        elif command.startswith("go to "):
            visited.append(command.removeprefix("go to "))
        observation = game.step(command)
        turns.append((command, observation.text, not stumbles))
    return turns


def collect_episodes(config: CollectEpisodes) -> Iterator[tuple[int, int]]:
    """Run the stage; yields (games done, games in all) as it goes.

    Raises:
        InputError: the file holds episodes that were made with other settings.
        StorageError: another process writes to the file, it has lines that are no games, or the file system refused.
    """
    place = Path(config.output)
    with locked(place.parent, place.name):
        yield from _collect(config)


def _collect(config: CollectEpisodes) -> Iterator[tuple[int, int]]:
    paths = find_games(config.games, config.split)[: config.limit]
    done = {record["item"]: record for record in read_lines(config.output, {"item": str, "episodes": list})}
    _check_same_settings(config, paths, done)
    missing = [str(path) for path in paths if item_of(path) not in done]
    count = len(paths) - len(missing)
    yield count, len(paths)
    if not missing:
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(config.workers, mp_context=context) as pool:
        for record in pool.map(collect_game, missing, [config] * len(missing), chunksize=4):
            append_line(config.output, record)
            count += 1
            yield count, len(paths)


def _check_same_settings(config: CollectEpisodes, paths: Sequence[Path], done: Mapping[str, dict[str, Any]]) -> None:
    """Make one game again that has episodes: with other settings or another engine something else comes out."""
    path = next((path for path in paths if done.get(item_of(path), {}).get("episodes")), None)
    if path is None:
        return
    known, made = done[item_of(path)], json.loads(json.dumps(collect_game(str(path), config)))
    different = [
        name
        for name in ("split", "max_steps", "opening", "layout", "language", "episodes")
        if known.get(name) != made.get(name)
    ]
    if different:
        raise InputError(
            f"{config.output} holds {item_of(path)} with other {', '.join(different)} than these settings give (split, "
            "draws, patience, stumble, play, language, seed); give those that it was begun with, or another output"
        )
