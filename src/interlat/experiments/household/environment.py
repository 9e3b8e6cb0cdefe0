"""Small ALFWorld games with private notes about where things are, as an environment."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from interlat.environments.actions import action_in
from interlat.environments.alfworld.pool import GamePool
from interlat.environments.protocol import EnvironmentOptions, Item, Observation, Outcome, Policy
from interlat.errors import InputError
from interlat.experiments.household.episodes import layout_of, playable_episodes
from interlat.experiments.household.expert import Expert
from interlat.experiments.household.prompts import room_and_task

GAMES_KEPT = 50
"""Loaded games that a worker keeps."""


class HouseholdEnvironment:
    """Authored games, each with one drawn evidence, of which only the sender is told.

    Args:
        options: ``data`` are files of episodes, as `interlat collect episodes` writes them.
        records: the games themselves, instead of files.
        games_kept: loaded games that a worker keeps, at least as many as are played at once.

    Raises:
        InputError: no files, no game in them is a search problem, or further options.
    """

    name = "household"
    reply_tokens = 16

    def __init__(
        self,
        options: EnvironmentOptions,
        records: Sequence[dict[str, Any]] | None = None,
        games_kept: int = GAMES_KEPT,
    ) -> None:
        options.know("household")
        if records is None:
            if not options.data:
                raise InputError("the household needs data, files of `interlat collect episodes`; name them")
            records = [
                record
                for record in playable_episodes(list(options.data), options.limit)
                if options.split in ("", record["split"])
            ]
        self._records = {record["item"]: record for record in records if record["episodes"]}
        if not self._records:
            raise InputError("no game to play: none of the games is a search problem; author more games")
        # Which evidence a result was on is in the result itself, so that more games can be added to a run.
        self.origin: Mapping[str, Any] = {"data": "household episodes"}
        self._options = options
        self._games_kept = games_kept
        self._pool: GamePool | None = None
        self._last: dict[str, Observation] = {}
        """Item -> what its game answered last."""

    def items(self) -> Sequence[Item]:
        return [_item(record) for record in self._records.values()]

    def start(self, items: Sequence[Item]) -> Sequence[Outcome]:
        if self._pool is None:
            self._pool = GamePool(self._options.workers, games_kept=self._games_kept)
        answers = self._seen(items, self._pool.reset(self._games(items)))
        return [Outcome(room_and_task(seen.text)) for seen in answers]

    def step(self, items: Sequence[Item], replies: Sequence[str]) -> Sequence[Outcome]:
        assert self._pool is not None, "start comes first"
        commands = [action_in(reply) for reply in replies]
        answers = self._seen(items, self._pool.step(self._games(items), commands))
        return [_outcome(answer, command) for answer, command in zip(answers, commands, strict=True)]

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def expert_policy(self, item: Item) -> Policy:
        """Plays knowing where everything is; the recorded episodes search, and stumble on purpose."""
        expert = Expert(layout_of(self._records[item.id]))
        return lambda _: expert.next_command(self._last[item.id])

    def random_policy(self, item: Item, seed: int) -> Policy:
        """Draws from the admissible commands."""
        draw = random.Random(f"{item.id} {seed}")
        return lambda _: draw.choice(self._last[item.id].admissible_commands)

    def _seen(self, items: Sequence[Item], answers: Sequence[Observation]) -> Sequence[Observation]:
        self._last.update((item.id, seen) for item, seen in zip(items, answers, strict=True))
        return answers

    def _games(self, items: Sequence[Item]) -> list[str]:
        return [self._records[item.id]["game"] for item in items]


def _answer(drawn: Mapping[str, Any]) -> dict[str, str]:
    """Where the notes say to look first, which is what a message about them stands for; nothing if they do not say."""
    beliefs = drawn.get("beliefs")
    return {"answer": f"go to {beliefs[0]['places'][0]}"} if beliefs else {}


def _item(record: Mapping[str, Any]) -> Item:
    drawn = record["episodes"][0]
    evidence = drawn["evidence"]
    return Item(
        id=record["item"],
        question=room_and_task(record["opening"]),
        notes=evidence,
        split=record["split"],
        task_type=record["task_type"],
        family=(record["task_type"], record["layout"]["target_type"]),
        max_steps=record["max_steps"],
        facts={"evidence": evidence, **_answer(drawn)},
    )


def _outcome(seen: Observation, command: str) -> Outcome:
    return Outcome(
        seen.text, done=seen.won or seen.done, success=seen.won, score=float(seen.won), steps=seen.steps, action=command
    )
