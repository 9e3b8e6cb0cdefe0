"""The games of a run, packed for the reader of the page."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from interlat.errors import InputError
from interlat.report.summary import Record, arms_of, general

Inspection = Mapping[str, Any]
"""What is known about the message of one item; every part may be missing::

    {"task": "clean some mug ...",      what was asked
     "evidence": "...",                 what only the scout has seen
     "plan": "...",                     what the scout wrote
     "rows": [{"position": 0, "token": "drawer 3", "norm": 9.1, "entropy": 1.3,      entropy in nats
               "top": [["drawer 3", 0.5], ...]}, ...]}                               probabilities
"""

_PER_MILLE = 1000


class _Strings(dict[str, int]):
    """Every distinct string once, with its place; texts of a world repeat a lot."""

    def place(self, text: str) -> int:
        return self.setdefault(text, len(self))


def _number(value: Any, digits: int, item: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise InputError(f"the inspection of {item!r} holds {value}, expected a finite number; inspect it again")
    rounded = round(number, digits)
    return int(rounded) if rounded == int(rounded) else rounded


def _packed_row(row: Mapping[str, Any], strings: _Strings, item: str) -> list[Any]:
    top: list[float] = []
    for token, probability in row["top"]:
        top += [strings.place(str(token)), _number(_PER_MILLE * float(probability), 0, item)]
    return [
        int(row["position"]),
        strings.place(str(row["token"])),
        _number(row["norm"], 2, item),
        _number(row["entropy"], 2, item),
        *top,
    ]


def _packed_episode(record: Record, variant: int, strings: _Strings) -> list[Any]:
    turns: list[int] = []
    for turn in record["turns"]:
        turns += [strings.place(turn["action"]), strings.place(turn["observation"])]
    return [
        variant,
        record["seed"],
        int(record["success"]),
        record["steps"],
        record["max_steps"],
        strings.place(record["plan"]),
        record["message_bytes"],
        general(record)["latents"],
        turns,
    ]


def grouped(records: Sequence[Record]) -> list[list[Record]]:
    """The records game by game, games in the order in which they were first played."""
    games: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        games.setdefault((record["split"], record["item"]), []).append(record)
    return list(games.values())


def pack_games(records: Sequence[Record], inspections: Mapping[str, Inspection], limit: int) -> tuple[str, int]:
    """Compact JSON of as many games as fit into ``limit`` bytes, evenly taken from the run.

    The layout: ``strings`` (all texts), ``variants`` ([name, role]), ``games`` [{item, split, type, task, evidence,
    plan, rows [[position, token, norm, entropy, token, per mille, ...]], episodes [[variant, seed, won, steps, cap,
    plan, bytes, rows, [action, observation, ...]]]}], where texts are places in ``strings``.

    Args:
        records: result records.
        inspections: item -> `Inspection`.
        limit: size in bytes as UTF-8.

    Returns:
        The JSON, written so that no HTML parser can leave it, and how many games are in it.

    Raises:
        InputError: an inspection holds a number that is not finite.
    """
    games = grouped(records)
    kept = len(games)
    while True:
        chosen = [games[place * len(games) // kept] for place in range(kept)]
        packed = _script_safe(_pack(chosen, inspections, {arm.variant: arm.role for arm in arms_of(records)}))
        size = len(packed.encode())
        if size <= limit or kept == 1:
            return packed, kept
        kept = max(1, min(kept - 1, int(kept * limit / size)))


def _pack(games: Sequence[Sequence[Record]], inspections: Mapping[str, Inspection], roles: Mapping[str, str]) -> str:
    strings, variants = _Strings(), list(roles)
    packed = []
    for episodes in games:
        item = episodes[0]["item"]
        inspection = inspections.get(item, {})
        in_order = sorted(episodes, key=lambda record: (variants.index(record["variant"]), record["seed"]))
        packed.append(
            {
                "item": item,
                "split": episodes[0]["split"],
                "type": strings.place(episodes[0]["task_type"]),
                "task": strings.place(inspection.get("task", "")),
                "evidence": strings.place(inspection.get("evidence", "")),
                "plan": strings.place(inspection.get("plan", "")),
                "rows": [_packed_row(row, strings, item) for row in inspection.get("rows", ())],
                "episodes": [_packed_episode(r, variants.index(r["variant"]), strings) for r in in_order],
            }
        )
    data = {"strings": list(strings), "variants": [[name, roles[name]] for name in variants], "games": packed}
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _script_safe(data: str) -> str:
    """JSON that no HTML parser can leave: ``<``, ``>``, ``&`` and line separators become escapes."""
    for character in "<>&\u2028\u2029":
        data = data.replace(character, f"\\u{ord(character):04x}")
    return data
