"""Whether a store is whole: every thought is read and compared with what was written."""

import contextlib
import functools
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
    problem: str
    """What is wrong with it; empty if nothing is."""


def verify(store: LatentStore | str | Path) -> Iterator[Verdict]:
    """Check every thought, in order: its place, its bytes, its values. A bad one does not end the check.

    Raises:
        StorageError: the store cannot be opened at all.
    """
    yield from StoreCheck(store if isinstance(store, LatentStore) else LatentStore.open(store)).verdicts()


class StoreCheck:
    """The check of one store; which thought claims which rows is laid out once."""

    def __init__(self, store: LatentStore) -> None:
        self.store = store
        self._problems: dict[int, str] = {}
        self._claimed: dict[str, int] = {}
        self._lay_out()

    def verdicts(self) -> Iterator[Verdict]:
        """See `verify`."""
        checksums = self.store.table.column("checksum")
        for number, identifier in enumerate(self.store.ids):
            yield Verdict(
                identifier,
                self._problems.get(number) or _problem_of_states(self.store, number, checksums[number].as_py()),
            )

    @functools.cached_property
    def unclaimed_rows(self) -> dict[str, int]:
        """Rows that belong to no thought, by shard: a killed writer and a merge leave such. They do no harm.

        Shards that cannot be opened are left out: `verdicts` names the thoughts in them.
        """
        form = shard_format(self.store.manifest)
        found: dict[str, int] = {}
        for path in sorted((self.store.directory / SHARDS).glob("*")):
            if path.suffix in (ENDING, PARTIAL):
                with contextlib.suppress(StorageError):
                    rows = len(open_shard(path.with_suffix(""), form).rows) - self._claimed.get(path.stem, 0)
                    found |= {path.stem: rows} if rows > 0 else {}
        return found

    @property
    def lost_shards(self) -> list[str]:
        """Closed shards with no row that belongs to a thought: the index or a journal that named them is lost."""
        closed = {path.stem for path in (self.store.directory / SHARDS).glob(f"*{ENDING}")}
        nobodys = (name for name in self.unclaimed_rows if not self._claimed.get(name))
        return sorted(name for name in nobodys if name in closed or not len(self.store))

    def _lay_out(self) -> None:
        """Compare the index with itself: ids, places, overlaps."""
        store, problems = self.store, self._problems
        table = store.table
        shards = table.column("shard").to_pylist()
        lengths, prompt_rows, offsets = (np.asarray(table.column(name)) for name in ("length", "prompt_rows", "offset"))
        starts, ends = offsets - prompt_rows, offsets + lengths
        tokens = pc.list_value_length(table.column("token_ids")).to_pylist()
        seen: set[str] = set()
        for number, identifier in enumerate(store.ids):
            length, prompt = int(lengths[number]), int(prompt_rows[number])
            if identifier in seen:
                problems[number] = "the index names it more than once"
            elif length < 1 or prompt < 0 or starts[number] < 0:
                problems[number] = f"its rows are {starts[number]} to {ends[number]}, which no shard can hold"
            elif bool(prompt) != store.manifest.prompt_states:
                kept = "keeps" if store.manifest.prompt_states else "does not keep"
                problems[number] = f"it has {prompt} prompt rows, but the store {kept} them"
            elif tokens[number] not in (0, length):
                problems[number] = f"it has {length} rows but {tokens[number]} token ids, expected one a row or none"
            seen.add(identifier)
        last_shard, last_end, owner = "", 0, 0
        for number in sorted(range(len(store)), key=lambda number: (shards[number], starts[number], number)):
            shard, start, end = shards[number], int(starts[number]), int(ends[number])
            if shard != last_shard:
                last_shard, last_end = shard, 0
            if start < last_end:
                problems.setdefault(number, f"its rows overlap with those of {store.ids[owner]} in shard {shard}")
            self._claimed[shard] = self._claimed.get(shard, 0) + max(0, end - max(start, last_end))
            if end > last_end:
                last_end, owner = end, number


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
