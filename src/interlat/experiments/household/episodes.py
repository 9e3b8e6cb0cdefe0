"""Stored games: scene, evidence and episodes of one game in one record of ``episodes.jsonl``."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from interlat.environments.alfworld.game import Layout
from interlat.environments.alfworld.prompts import room_and_task
from interlat.errors import InputError
from interlat.experiments.household.evidence import SEARCHED, Belief, Evidence, Language
from interlat.experiments.household.prompts import plan_text
from interlat.files import read_lines


def describe(layout: Layout, evidence: Evidence, language: Language = "short") -> dict[str, Any]:
    """Evidence and the plans that can be made of it: true places, all places in order of belief."""
    return {
        "evidence": evidence.text(language),
        "beliefs": [asdict(belief) for belief in evidence.beliefs],
        "plan": plan_text(layout, evidence, [[belief.true_place] for belief in evidence.beliefs], language),
        "list": plan_text(layout, evidence, [belief.places for belief in evidence.beliefs], language),
    }


def language_of(record: dict[str, Any]) -> Language:
    """How the notes and plans of a record are written."""
    language: Language = record.get("language", "short")
    return language


def layout_of(record: dict[str, Any]) -> Layout:
    """The layout in a record of `collect_game`."""
    fields = record["layout"]
    return Layout(**{**fields, "receptacles": tuple(fields["receptacles"]), "openable": frozenset(fields["openable"])})


def evidence_of(episode: dict[str, Any]) -> Evidence:
    """The evidence of a stored episode; the searched places are read back from its text."""
    beliefs = tuple(
        Belief(
            **{
                **belief,
                "sightings": tuple((age, place) for age, place in belief["sightings"]),
                "places": tuple(belief["places"]),
                "probabilities": tuple(belief["probabilities"]),
            }
        )
        for belief in episode["beliefs"]
    )
    last = episode["evidence"].splitlines()[-1]
    prefix = next((prefix for prefix in SEARCHED.values() if last.startswith(prefix)), "")
    searched = last.removeprefix(prefix).removesuffix(".").split(", ") if prefix else []
    return Evidence(beliefs, tuple(searched))


def direct_episode(episode: dict[str, Any]) -> dict[str, Any] | None:
    """The episode of somebody who knew the true places: visits in vain are left out, ``direct`` is set.

    A visit is what is done from one "go to" to the next; one that only opens is in vain. What is seen in the others
    does not depend on it, unless a place is visited again: then, and where the expert was pushed off its way, there is
    none.
    """
    visits: list[list[Any]] = []
    for turn in episode["turns"]:
        if not turn[2]:
            return None
        if turn[0].startswith("go to "):
            visits.append([])
        visits[-1].append(turn)
    kept = [any(not command.startswith(("go to ", "open ")) for command, *_ in visit) for visit in visits]
    in_vain = {visit[0][0] for visit, keep in zip(visits, kept, strict=True) if not keep}
    direct = [visit for visit, keep in zip(visits, kept, strict=True) if keep]
    if any(visit[0][0] in in_vain for visit in direct):
        return None
    return {**episode, "direct": True, "turns": [turn for visit in direct for turn in visit]}


def texts_of(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Every text of the records that a model will read or write, for training a tokenizer."""
    for record in records:
        yield room_and_task(record["opening"])
        for episode in record["episodes"]:
            yield from (episode["evidence"], episode["plan"], episode["list"])
            for command, observation, _ in episode.get("turns", []):
                yield command
                yield observation


def read_episodes(path: str | Path) -> list[dict[str, Any]]:
    """The records of ``episodes.jsonl``, sorted by item; of several of one game the first.

    Raises:
        InputError: there is none.
        StorageError: a line there is no game.
    """
    of_item: dict[str, dict[str, Any]] = {}
    for record in read_lines(path, {"item": str, "episodes": list}):
        of_item.setdefault(record["item"], record)
    records = [of_item[item] for item in sorted(of_item)]
    if not records:
        raise InputError(f"no episodes at {path}; make them with `interlat collect`")
    return records


def playable_episodes(paths: Sequence[str | Path], count: int | None = None) -> list[dict[str, Any]]:
    """The records of games whose sender knows something, at most ``count`` of each file (`some_of`).

    Raises:
        InputError: a file holds no episodes.
    """
    return [
        record
        for path in paths
        for record in some_of([record for record in read_episodes(path) if record["episodes"]], count)
    ]


def of_draw(records: Sequence[dict[str, Any]], draw: int) -> list[dict[str, Any]]:
    """The records with one episode each, from one draw of the evidence. Raises InputError: a game has no such draw."""
    chosen = [{**record, "episodes": [e for e in record["episodes"] if e["draw"] == draw]} for record in records]
    lacking = next((record for record in chosen if not record["episodes"]), None)
    if lacking is not None:
        raise InputError(
            f"{lacking['item']} has no draw {draw} of its evidence; give a lower number, or collect with more draws"
        )
    return chosen


def some_of(records: Sequence[dict[str, Any]], count: int | None) -> list[dict[str, Any]]:
    """``count`` of the records at random, always the same ones; all of them for None or where there are fewer.

    Items are named after their task type, so the first ones would be of one type.
    """
    if count is None or count >= len(records):
        return list(records)
    return random.Random("some of the games").sample(list(records), count)
