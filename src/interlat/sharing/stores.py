"""Latent stores on the hub: a store is a data set repository."""

from pathlib import Path

from interlat.errors import InputError, StorageError
from interlat.places import short_name
from interlat.progress import gathered
from interlat.sharing.kinds import Description
from interlat.store import statistics
from interlat.store.index import INDEX_FILE, SHARDS
from interlat.store.manifest import MANIFEST_FILE
from interlat.store.reading import LatentStore
from interlat.store.verify import StoreCheck

_MORE = (
    f"`{INDEX_FILE}` says what each thought is about and where its rows are in `{SHARDS}/`; `{MANIFEST_FILE}` says how "
    "the rows are to be read and how they were made."
)
_USE = """from interlat.store.reading import LatentStore

store = LatentStore.open("{name}")
thought = store[0]
print(thought.entry.task, thought.entry.plan, thought.hidden_states.shape)"""


def check(folder: Path) -> None:
    """Read every thought and compare it with its checksum.

    Raises:
        InputError: the store is not finished.
        StorageError: it is damaged.
    """
    store = LatentStore.open(folder)
    if store.unfinished:
        raise InputError(f"{folder} is not finished; end its collection first, then push it")
    whole = StoreCheck(store)
    bad = [one for one in gathered(whole.verdicts(), len(store), "verify") if one.problem]
    if bad or whole.lost_shards:
        lost = f"; the index of {', '.join(whole.lost_shards)} is lost" if whole.lost_shards else ""
        first = f", such as {bad[0].id}: {bad[0].problem}" if bad else ""
        raise StorageError(
            f"{folder} is damaged: {len(bad)} of {len(store)} thoughts are bad{first}{lost}; "
            "`interlat store verify` lists them"
        )


def describe(folder: Path, repository: str) -> Description:
    """See `Handling.describe`: the counts and measures of `interlat store info`, without folders of the machine."""
    found = statistics.describe(LatentStore.open(folder))
    model = found.manifest.model
    # A hub id says more than its last part, and nothing about a machine.
    shown = short_name(model) if Path(model).is_absolute() else model
    facts = found.facts()
    facts["model"] = facts["model"].replace(model, shown) if model else facts["model"]
    return Description(
        "Hidden states of a language model, one matrix of rows a thought, with the task and the words that belong "
        "to them: a latent store of the Python package `interlat`.",
        _USE.format(name=repository.rpartition("/")[2]),
        ("latent-store", "hidden-states"),
        facts,
        more=_MORE,
    )


def use(folder: Path) -> str:
    """See `Handling.use`."""
    return f"{len(LatentStore.open(folder))} thoughts; `interlat store info {folder}` says what they are"
