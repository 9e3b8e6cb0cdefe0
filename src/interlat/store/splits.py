"""Named splits of a store, drawn by task: all samples of a task are on the same side."""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import xxhash

from interlat.errors import InputError
from interlat.store.index import with_column, write_contents
from interlat.store.reading import LatentStore

SHARES_TOLERANCE = 1e-6


def split_of(task_id: str, shares: Mapping[str, float], seed: int = 0) -> str:
    """The split of a task: depends on the seed, the task and the shares, not on the other tasks."""
    place = xxhash.xxh3_64_intdigest(f"{seed}/{task_id}".encode()) / 2**64
    names = sorted(name for name, share in shares.items() if share > 0)
    end = 0.0
    for name in names:
        end += shares[name]
        if place < end:
            return name
    # The shares may add up to a little less than 1.
    return names[-1]


def assign_splits(directory: str | Path, shares: Mapping[str, float], seed: int = 0) -> dict[str, int]:
    """Give every thought of a finished store a new split; only the index is written again.

    Args:
        shares: share of the tasks by name of the split; they add up to 1.
        seed: another seed draws other splits.

    Returns:
        Thoughts by split. Shares are met in expectation, not exactly.

    Raises:
        InputError: shares that do not add up to 1, a split without a name, or a store that is not finished.
    """
    total = math.fsum(shares.values())
    if abs(total - 1) > SHARES_TOLERANCE or not all(share >= 0 for share in shares.values()) or "" in shares:
        given = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise InputError(f"shares {given or 'of nothing'} add up to {total:g}; give named shares that add up to 1")
    store = LatentStore.open(directory)
    if store.unfinished:
        raise InputError(f"{directory} is not finished; end its collection first, then split it")
    task_ids: list[str] = store.table.column("task_id").to_pylist()
    found = {task_id: split_of(task_id, shares, seed) for task_id in set(task_ids)}
    splits = [found[task_id] for task_id in task_ids]
    table = with_column(store.table, "split", splits)
    write_contents(store.directory, table, store.excluded.values())
    counts = Counter(splits)
    return {name: counts[name] for name in shares}
