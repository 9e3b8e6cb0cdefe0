"""Latent stores on the hub: a store is a data set repository."""

import re
from collections.abc import Collection
from pathlib import Path

from interlat.errors import InputError, StorageError
from interlat.progress import gathered
from interlat.sharing.kinds import WITH_EVERY_KIND, Description, Kind
from interlat.store.index import EXCLUDED_FILE, INDEX_FILE, SEAL_FILE, SHARDS
from interlat.store.manifest import MANIFEST_FILE
from interlat.store.reading import LatentStore
from interlat.store.shard import ENDING
from interlat.store.statistics import describe
from interlat.store.verify import StoreCheck

_NAMED = "|".join(map(re.escape, (MANIFEST_FILE, INDEX_FILE, EXCLUDED_FILE, SEAL_FILE)))
_MORE = (
    f"`{INDEX_FILE}` says what each thought is about and where its rows are in `{SHARDS}/`; `{MANIFEST_FILE}` says how "
    "the rows are to be read and how they were made."
)
_USE = """from interlat.store.reading import LatentStore

store = LatentStore.open("{name}")
thought = store[0]
print(thought.entry.task, thought.entry.plan, thought.hidden_states.shape)"""


class StoreKind(Kind):
    """A latent store: a manifest, an index and shards."""

    name = "store"
    repository_type = "dataset"
    files = re.compile(rf"{_NAMED}|{SHARDS}/[\w.-]+{re.escape(ENDING)}|{WITH_EVERY_KIND}", re.ASCII)
    wanted = MANIFEST_FILE

    def is_in(self, names: Collection[str]) -> bool:
        """See `Kind.is_in`."""
        return MANIFEST_FILE in names

    def check(self, folder: Path) -> None:
        """Read every thought and compare it with its checksum.

        Raises:
            InputError: the store is not finished, or holds no thought.
            StorageError: it is damaged.
        """
        store = LatentStore.open(folder)
        if store.unfinished:
            raise InputError(f"{folder} is not finished; end its collection first, then push it")
        check = StoreCheck(store)
        bad = [one for one in gathered(check.verdicts(), len(store), "verify") if one.problem]
        if bad or check.lost_shards:
            lost = f"; the index of {', '.join(check.lost_shards)} is lost" if check.lost_shards else ""
            first = f", such as {bad[0].id}: {bad[0].problem}" if bad else ""
            raise StorageError(
                f"{folder} is damaged: {len(bad)} of {len(store)} thoughts are bad{first}{lost}; "
                "`interlat store verify` lists them"
            )

    def describe(self, folder: Path, repository: str) -> Description:
        """See `Kind.describe`: the counts and measures of `interlat store info`."""
        return Description(
            "Hidden states of a language model, one matrix of rows a thought, with the task and the words that belong "
            "to them: a latent store of the Python package `interlat`.",
            _USE.format(name=repository.rpartition("/")[2]),
            ("latent-store", "hidden-states"),
            describe(LatentStore.open(folder)).facts(),
            more=_MORE,
        )

    def use(self, folder: Path) -> str:
        """See `Kind.use`."""
        return f"{len(LatentStore.open(folder))} thoughts; `interlat store info {folder}` says what they are"
