"""Whether a store is whole: every thought is read and compared with what was written."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from interlat.errors import StorageError
from interlat.store.index import SHARDS
from interlat.store.reading import LatentStore
from interlat.store.shard import ENDING, PARTIAL, open_shard
from interlat.store.writer import shard_format


@dataclass(frozen=True)
class Verdict:
    """What was found out about one thought."""

    id: str
    """Which one."""
    problem: str
    """What is wrong with it; empty if nothing is."""


@dataclass(frozen=True)
class _Layout:
    """Who claims which rows."""

    problems: dict[int, str]
    """What is wrong with the place of a thought, by its number."""
    claimed: dict[str, int]
    """Rows that belong to a thought, by shard."""


def verify(store: LatentStore | str | Path) -> Iterator[Verdict]:
    """Check every thought, in order: its place, its bytes, its values. A bad one does not end the check.

    Raises:
        StorageError: the store cannot be opened at all.
    """
    opened = store if isinstance(store, LatentStore) else LatentStore.open(store)
    problems = _layout(opened).problems
    checksums = opened.table.column("checksum")
    for number, identifier in enumerate(opened.ids):
        problem = problems.get(number) or _problem_of_states(opened, number, checksums[number].as_py())
        yield Verdict(identifier, problem)


def unclaimed_rows(store: LatentStore) -> dict[str, int]:
    """Rows that belong to no thought, by shard: a killed writer and a merge leave such. They do no harm.

    Shards that cannot be opened are left out: `verify` names the thoughts that stand in them.
    """
    form = shard_format(store.manifest)
    claimed = _layout(store).claimed
    found = {}
    for path in sorted((store.directory / SHARDS).glob("*")):
        if path.suffix in (ENDING, PARTIAL):
            try:
                rows = len(open_shard(path.with_suffix(""), form).rows)
            except StorageError:
                continue
            if rows > claimed.get(path.stem, 0):
                found[path.stem] = rows - claimed.get(path.stem, 0)
    return found


def lost_shards(store: LatentStore) -> list[str]:
    """Closed shards with no row that belongs to a thought: the index or a journal that named them is lost."""
    claimed = _layout(store).claimed
    closed = {path.stem for path in (store.directory / SHARDS).glob(f"*{ENDING}")}
    nobodys = (name for name in unclaimed_rows(store) if not claimed.get(name))
    return sorted(name for name in nobodys if name in closed or not len(store))


def _layout(store: LatentStore) -> _Layout:
    """Compare the index with itself: ids, places, overlaps."""
    table = store.table
    shards = table.column("shard").to_pylist()
    lengths, prompt_rows = (np.asarray(table.column(name)) for name in ("length", "prompt_rows"))
    offsets = np.asarray(table.column("offset"))
    starts, ends = offsets - prompt_rows, offsets + lengths
    tokens = pc.list_value_length(table.column("token_ids")).to_pylist()
    problems: dict[int, str] = {}
    seen: set[str] = set()
    for number, identifier in enumerate(store.ids):
        length, prompt = int(lengths[number]), int(prompt_rows[number])
        if identifier in seen:
            problems[number] = "the index names it more than once"
        elif length < 1 or prompt < 0 or starts[number] < 0:
            problems[number] = f"it stands at rows {starts[number]} to {ends[number]}, where nothing can stand"
        elif bool(prompt) != store.manifest.prompt_states:
            kept = "keeps" if store.manifest.prompt_states else "does not keep"
            problems[number] = f"it has {prompt} prompt rows, but the store {kept} them"
        elif tokens[number] not in (0, length):
            problems[number] = f"it has {length} rows but {tokens[number]} token ids, expected one a row or none"
        seen.add(identifier)
    claimed: dict[str, int] = {}
    last_shard, last_end, owner = "", 0, 0
    for number in sorted(range(len(store)), key=lambda number: (shards[number], starts[number], number)):
        if shards[number] != last_shard:
            last_shard, last_end = shards[number], 0
        if starts[number] < last_end:
            problems.setdefault(number, f"its rows overlap with those of {store.ids[owner]} in shard {last_shard}")
        claimed[last_shard] = claimed.get(last_shard, 0) + max(0, int(ends[number] - max(starts[number], last_end)))
        if ends[number] > last_end:
            last_end, owner = int(ends[number]), number
    return _Layout(problems, claimed)


def _problem_of_states(store: LatentStore, number: int, checksum: str) -> str:
    try:
        store.entry(number)
        if store.stored_checksum(number) != checksum:
            return "its bytes are not those that were written (wrong checksum)"
        finite = bool(store.hidden_states(number).isfinite().all())
        if finite and store.manifest.prompt_states:
            finite = bool(store.prompt_states(number).isfinite().all())
    except StorageError as error:
        return str(error)
    return "" if finite else "it holds NaN or infinite values"
