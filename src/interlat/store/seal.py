"""The seal of a finished store: how many thoughts it has, and digests of what says so.

Rows have checksums in the index; the seal does the same for the index itself, the list of what was left out, and the
manifest. It is written last, and read whenever the store is opened.
"""

import json
from pathlib import Path

import xxhash

from interlat.errors import StorageError
from interlat.files import storage_errors, write_atomically
from interlat.store.index import EXCLUDED_FILE, INDEX_FILE, SHARDS, journal_paths
from interlat.store.manifest import MANIFEST_FILE
from interlat.store.shard import ENDING

SEAL_FILE = "seal.json"
SEALED = (MANIFEST_FILE, INDEX_FILE, EXCLUDED_FILE)
RESTORE = "copy the store again, restore the file, or collect the store again"


def write_seal(directory: Path, thoughts: int) -> None:
    """Write the seal of a store whose other files are complete and whose index names this many thoughts."""
    content = {"thoughts": thoughts, "xxh3": {name: _digest(directory / name) for name in SEALED}}
    write_atomically(directory / SEAL_FILE, json.dumps(content, indent=2) + "\n")


def remove_seal(directory: Path) -> None:
    """Before a finished store is changed: a process that is killed then leaves one without a seal, not a wrong one."""
    path = directory / SEAL_FILE
    with storage_errors(path):
        path.unlink(missing_ok=True)


def check_seal(directory: Path, thoughts: int) -> None:
    """Compare a store with its seal. A store of the first edition has none and passes unless its index is gone.

    While journals are there, the store is being written: its files may then be newer than its seal, but never hold
    less.

    Args:
        thoughts: how many its index and journals name.

    Raises:
        StorageError: names the file that is missing or was changed.
    """
    growing = bool(journal_paths(directory))
    if not growing and not (directory / INDEX_FILE).exists():
        shards = sorted((directory / SHARDS).glob(f"*{ENDING}"))
        if shards:
            raise StorageError(f"{directory} has {len(shards)} shards but no {INDEX_FILE}, expected one; {RESTORE}")
    path = directory / SEAL_FILE
    if not path.exists():
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        sealed, digests = int(content["thoughts"]), {name: str(content["xxh3"][name]) for name in SEALED}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StorageError(f"{path} is damaged ({error!r}); {RESTORE}") from error
    if thoughts < sealed:
        raise StorageError(f"{directory} has {thoughts} thoughts, expected {sealed} by {SEAL_FILE}; {RESTORE}")
    if growing:
        return
    changed = [name for name, digest in digests.items() if _digest(directory / name) != digest]
    if changed or thoughts != sealed:
        named = ", ".join(changed) or f"the number of thoughts ({thoughts}, expected {sealed})"
        raise StorageError(f"{named} of {directory} was changed after the store was finished; {RESTORE}")


def _digest(path: Path) -> str:
    """xxh3-128 of a file; finds damage, not forgery. A missing file is like an empty one."""
    return str(xxhash.xxh3_128(path.read_bytes() if path.exists() else b"").hexdigest())
