"""The items of a run, packed for the reader of the page."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from interlat.errors import InputError
from interlat.report.summary import Record, arms_of, general

Inspection = Mapping[str, Any]
"""What is known about one item and its messages; every part may be missing::

    {"task": "clean some mug ...",      what was asked
     "evidence": "...",                 what only the sender has seen
     "answer": "42",                    what would have been right
     "plan": "...",                     what the sender wrote
     "rows": [{"position": 0, "token": "drawer 3", "norm": 9.1, "entropy": 1.3,      entropy in nats
               "top": [["drawer 3", 0.5], ...],                                      probabilities
               "read": {"norm": 3.2, "attention": 0.01, "near": [["drawer", 0.9], ...]}}, ...],   at the receiver
     "messages": {"thought:8": {"rows": [...]}, ...}}     rows by channel, where they differ from one to the next
"""

ANY_CHANNEL = ""
"""Under this name stand rows that belong to the messages of every channel."""
_PER_MILLE = 1000


@dataclass(frozen=True)
class Wording:
    """What the page calls things."""

    item: str = "item"
    items: str = "items"
    arm: str = "arm"
    sender: str = "sender"
    """Empty where nobody sends to one receiver, as in a team."""
    receiver: str = "receiver"
    played_by: str = "played by the receiver"
    solved: str = "solved"
    unsolved: str = "not solved"
    first_action: str = "answer"
    """What changes first under another item's message."""


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


def _packed_tokens(tokens: Sequence[Sequence[Any]], strings: _Strings, item: str) -> list[float]:
    """Tokens and their probabilities or cosines: place, per mille, place, per mille, ..."""
    packed: list[float] = []
    for token, value in tokens:
        packed += [strings.place(str(token)), _number(_PER_MILLE * float(value), 0, item)]
    return packed


def _packed_row(row: Mapping[str, Any], strings: _Strings, item: str) -> list[Any]:
    packed = [
        int(row["position"]),
        strings.place(str(row["token"])),
        _number(row["norm"], 2, item),
        _number(row["entropy"], 2, item),
        *_packed_tokens(row["top"], strings, item),
    ]
    read = row.get("read")
    if read is None:
        return packed
    attention = read.get("attention")
    share = None if attention is None else _number(100 * attention, 2, item)
    return [*packed, [_number(read["norm"], 2, item), share, *_packed_tokens(read["near"], strings, item)]]


def _packed_episode(record: Record, variant: int, strings: _Strings) -> list[Any]:
    known = general(record)
    turns: list[int] = []
    for turn in record["turns"]:
        turns += [strings.place(turn["action"]), strings.place(turn["observation"])]
    return [
        variant,
        record["seed"],
        int(record["success"]),
        record["steps"],
        record.get("max_steps", record["steps"]),
        strings.place(record.get("plan", "")),
        record["message_bytes"],
        known.get("latents", 0),
        turns,
        strings.place(known["message_kind"]),
        strings.place(known["channel"]),
        strings.place(known["failure"] or known.get("reason", "")),
        strings.place(known.get("evidence", "")),
    ]


def grouped(records: Sequence[Record]) -> list[list[Record]]:
    """The records item by item, items in the order in which they were first played."""
    items: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        items.setdefault((record["split"], record["item"]), []).append(record)
    return list(items.values())


def pack_items(
    records: Sequence[Record],
    inspections: Mapping[str, Inspection],
    limit: int,
    wording: Wording = Wording(),  # frozen
) -> tuple[str, int]:
    """Compact JSON of as many items as fit into ``limit`` bytes, evenly taken from the run.

    The layout: ``words`` (the wording), ``strings`` (all texts), ``variants`` ([name, role]), ``games`` [{item, split,
    type, task, evidence, plan, answer, rows {channel: [[position, token, norm, entropy, token, per mille, ..., and
    maybe [norm, attention in per cent, token, per mille of the cosine, ...]]]}, episodes [[variant, seed, won, steps,
    cap, plan, bytes, rows, [action, observation, ...], kind, channel, reason, evidence]]}], where texts are places in
    ``strings``. An episode without turns was recorded by a run that keeps none.

    Args:
        records: result records.
        inspections: item -> `Inspection`.
        limit: size in bytes as UTF-8.
        wording: what the page calls things.

    Returns:
        The JSON, written so that no HTML parser can leave it, and how many items are in it.

    Raises:
        InputError: an inspection holds a number that is not finite.
    """
    items, roles = grouped(records), {arm.variant: arm.role for arm in arms_of(records)}
    kept = len(items)
    while True:
        chosen = [items[place * len(items) // kept] for place in range(kept)]
        packed = _script_safe(_pack(chosen, inspections, roles, wording))
        size = len(packed.encode())
        if size <= limit or kept == 1:
            return packed, kept
        kept = max(1, min(kept - 1, int(kept * limit / size)))


def _pack(
    items: Sequence[Sequence[Record]], inspections: Mapping[str, Inspection], roles: Mapping[str, str], wording: Wording
) -> str:
    strings, variants = _Strings(), list(roles)
    packed = []
    for episodes in items:
        item = episodes[0]["item"]
        inspection = inspections.get(item, {})
        in_order = sorted(episodes, key=lambda record: (variants.index(record["variant"]), record["seed"]))
        packed.append(
            {
                "item": item,
                "split": episodes[0]["split"],
                "type": strings.place(episodes[0].get("task_type", "")),
                **{name: strings.place(inspection.get(name, "")) for name in ("task", "evidence", "plan", "answer")},
                "rows": {
                    channel: [_packed_row(row, strings, item) for row in rows]
                    for channel, rows in rows_by_channel(inspection).items()
                },
                "episodes": [_packed_episode(r, variants.index(r["variant"]), strings) for r in in_order],
            }
        )
    data = {
        "words": asdict(wording),
        "strings": list(strings),
        "variants": [[name, roles[name]] for name in variants],
        "games": packed,
    }
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def rows_by_channel(inspection: Inspection) -> dict[str, Sequence[Mapping[str, Any]]]:
    """The inspected rows of an item by channel; `ANY_CHANNEL` for those of every one."""
    found = {ANY_CHANNEL: inspection["rows"]} if inspection.get("rows") else {}
    return {**found, **{name: one["rows"] for name, one in inspection.get("messages", {}).items()}}


def _script_safe(data: str) -> str:
    """JSON that no HTML parser can leave: ``<``, ``>``, ``&`` and line separators become escapes."""
    for character in "<>&\u2028\u2029":
        data = data.replace(character, f"\\u{ord(character):04x}")
    return data
