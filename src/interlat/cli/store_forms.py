"""The commands that make one store of another, or of files: `interlat store merge`, `split`, `import`, `export`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

from tyro.conf import Positional

from interlat.choices import Encoding, ExportForm
from interlat.cli.store_info import open_store
from interlat.progress import completed, say
from interlat.states import StateAtSetting
from interlat.store.manifest import read_manifest

if TYPE_CHECKING:
    from interlat.store.reading import LatentStore


@dataclass(frozen=True)
class MergeStores:
    """Put several finished stores of one kind into a new one."""

    stores: Positional[tuple[str, ...]]
    """Folders of the stores; the thoughts of the first one come first."""
    output: str
    """Folder of the new store."""

    def run(self) -> "LatentStore":
        """Merge."""
        for store in self.stores:
            read_manifest(store)
        from interlat.store.merge import merge

        merge(self.stores, self.output)
        return open_store(self.output)

    def report(self, store: "LatentStore") -> None:
        """How many thoughts there are now."""
        say(f"{len(store)} thoughts of {len(self.stores)} stores in {self.output}")


@dataclass(frozen=True)
class SplitStore:
    """Give every thought of a store a split, by its task: all samples of a task are on the same side."""

    store: Positional[str]
    """Folder of the store."""
    shares: dict[str, float]
    """Share of the tasks by split, such as train 0.9 test 0.1; they add up to 1."""
    seed: int = 0
    """Another seed draws other splits."""

    def run(self) -> dict[str, int]:
        """Split; thoughts by split."""
        read_manifest(self.store)
        from interlat.store.splits import assign_splits

        return assign_splits(self.store, self.shares, self.seed)

    def report(self, counts: dict[str, int]) -> None:
        """How many thoughts each split has."""
        say(", ".join(f"{name} {count}" for name, count in counts.items()) + f" thoughts in {self.store}")


@dataclass(frozen=True)
class ExportStore:
    """Write a store for other programs: task, plan, nested lists of states."""

    store: Positional[str]
    """Folder of the store."""
    output: str
    """The new file; the new folder for hf."""
    form: ExportForm = "parquet"
    """An object a line (jsonl), a list of objects (json), parquet, or a folder for datasets.load_from_disk (hf)."""
    split: str = ""
    """Only the thoughts of this split."""
    layer: int | None = None
    """Which of several kept layers, counted from 0 as `interlat store info` lists them."""

    def run(self) -> str:
        """Export; the place of the file or folder."""
        store = open_store(self.store)
        from interlat.store.interchange import export_store

        export_store(store, self.output, self.form, self.split, self.layer)
        return self.output

    def report(self, place: str) -> None:
        """Where it is."""
        say(f"{self.form} in {place}")


@dataclass(frozen=True)
class ImportStore:
    """Make a store of hidden states in JSON, Parquet, a saved data set or one on the hub; exit code 1 if items fail."""

    RENAMED: ClassVar[Mapping[str, str]] = {"offset": "state_at"}

    source: Positional[str]
    """A .json, .jsonl or .parquet file, a folder that datasets or the published collectors saved, or a hub id."""
    output: str
    """Folder of the store; an interrupted import goes on there."""
    state_at: StateAtSetting
    """Whether latent t predicted token t (before_token: published MATH data) or had just read it (after_token:
    ALFWorld)."""
    dtype: str = "float32"
    """Number format of the states: float32, bfloat16, float16 or float64."""
    encoding: Encoding = "plain"
    """How they are stored: as they are, or as int8 or float8 with one scale a row."""
    model: str = ""
    """The model that thought, if known."""
    split: str = ""
    """Split to read, of sources that have several; and of thoughts that name none."""
    task_type_field: str = "task_type"
    """Column, or key of the metadata, that holds the task type."""

    def run(self) -> "LatentStore":
        """Import."""
        from interlat.store.interchange import import_store

        completed(import_store(**asdict(self)), "import")
        return open_store(self.output)

    def report(self, store: "LatentStore") -> int:
        """What failed; 1 if anything did."""
        say(f"{len(store)} thoughts in {self.output}, {len(store.excluded)} items failed")
        for excluded in list(store.excluded.values())[:10]:
            say(f"  failed {excluded.id}: {excluded.reason}")
        return int(bool(store.excluded))
