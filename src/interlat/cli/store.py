"""`interlat store ...`: what a latent store holds, whether it is whole, and the stores and files made of one."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from interlat.choices import Encoding, ExportForm
from interlat.cli.share import show_push
from interlat.progress import completed, gathered, say
from interlat.states import StateAtSetting
from interlat.store.manifest import read_manifest

if TYPE_CHECKING:
    from interlat.evaluation.probe import Probe
    from interlat.sharing.push import Pushed
    from interlat.store.reading import LatentStore
    from interlat.store.statistics import StoreDescription
    from interlat.store.verify import Verdict

SETTING_WIDTH = 240


def open_store(directory: str) -> "LatentStore":
    """The store in a folder; whether there is one is known before torch is imported.

    Raises:
        StorageError: there is none, or it is damaged.
    """
    read_manifest(directory)
    from interlat.store.reading import LatentStore

    return LatentStore.open(directory)


@dataclass(frozen=True)
class StoreInfo:
    """Show what a latent store holds and how it was made."""

    store: Positional[str]
    """Folder of the store."""
    json: bool = False
    """Print one JSON object on stdout."""

    def run(self) -> "StoreDescription":
        store = open_store(self.store)
        from interlat.store.statistics import describe

        return describe(store)

    def report(self, description: "StoreDescription") -> None:
        if self.json:
            print(json.dumps(description.to_dict(), ensure_ascii=False))
        else:
            Console().print(info_table(description))


def info_table(description: "StoreDescription") -> Table:
    """A description for people, the most asked for first; fits 80 columns."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in {"store": description.directory, **description.facts()}.items():
        table.add_row(name, Text(value))
    for key, setting in description.manifest.settings.items():
        if setting in ("", None):
            continue
        text = setting if isinstance(setting, str) else json.dumps(setting, ensure_ascii=False)
        if len(text) > SETTING_WIDTH:
            text = f"{text[:SETTING_WIDTH]}... ({len(text):,} characters; --json shows all)"
        table.add_row(Text(key.replace("_", " "), style="cyan not bold"), Text(text))
    return table


@dataclass(frozen=True)
class Verification:
    """What a check of a whole store found."""

    thoughts: int
    bad: "list[Verdict]"
    """Thoughts with a problem."""
    unclaimed_rows: dict[str, int]
    """Shard -> rows that belong to no thought."""
    lost_shards: list[str]
    """Shards whose index is lost."""


@dataclass(frozen=True)
class VerifyStore:
    """Check every message of a store: number of latents, checksums, values. The exit code is 1 if one is damaged."""

    store: Positional[str]
    """Folder of the store."""
    json: bool = False
    """Print one JSON line per damaged message on stdout, and a summary as the last line."""

    def run(self) -> Verification:
        store = open_store(self.store)
        from interlat.store.verify import StoreCheck

        check = StoreCheck(store)
        bad = [verdict for verdict in gathered(check.verdicts(), len(store), "verify") if verdict.problem]
        return Verification(len(store), bad, check.unclaimed_rows, check.lost_shards)

    def report(self, found: Verification) -> int:
        """List what is bad on stdout; 1 if anything is."""
        for verdict in found.bad:
            line = json.dumps(dataclasses.asdict(verdict), ensure_ascii=False)
            print(line if self.json else f"{verdict.id}: {verdict.problem}")
        if self.json:
            print(json.dumps(dataclasses.asdict(found) | {"bad": len(found.bad)}))
        for shard, rows in found.unclaimed_rows.items():
            harm = "the index or journal that named them is lost" if shard in found.lost_shards else "they do no harm"
            say(f"shard {shard} has {rows} rows that belong to no thought; {harm}")
        say(f"{found.thoughts - len(found.bad)} of {found.thoughts} thoughts are whole, {len(found.bad)} are bad")
        return int(bool(found.bad or found.lost_shards))


@dataclass(frozen=True)
class ProbeStore:
    """Fit a linear probe to the messages of a store, with a permutation test."""

    store: Positional[str]
    """Folder of the store."""
    label: str = "task_type"
    """Label to predict: task_type, split, plan, task, or a name of the metadata, such as answer."""
    place: int | None = None
    """Predict only this character of the label, counted from 0, such as one digit of a number."""
    at: str = "mean"
    """Vector to predict from: mean (of a message's latents), first, last, or the number of a latent from 0."""
    ridge: float = 0.1
    """Ridge penalty, relative to the mean square of a vector."""
    least: int = 5
    """A label counts if at least this many tasks have it."""
    permutations: int = 1000
    """Number of shuffles of the labels in the permutation test."""
    seed: int = 0
    """Seed of the shuffles."""
    json: bool = False
    """Print one JSON object on stdout."""

    def run(self) -> "Probe":
        """Fit and shuffle.

        Raises:
            InputError: several layers, no such label, or too few thoughts or labels.
            StorageError: there is no store, or it is damaged.
        """
        store = open_store(self.store)
        from interlat.evaluation.probe import probe

        return probe(
            store,
            self.label,
            place=self.place,
            at=self.at,
            ridge=self.ridge,
            least=self.least,
            permutations=self.permutations,
            seed=self.seed,
        )

    def report(self, found: "Probe") -> None:
        """One line of what was found, and one of what it is compared with."""
        if self.json:
            print(json.dumps(asdict(found)))
            return
        rate = found.accuracy
        share = f"{100 * rate.estimate:.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
        print(
            f"{found.label} from {found.at}: {share} of {found.thoughts} thoughts, {found.classes} labels\n"
            f"shuffled labels {100 * found.chance:.1f} %, p {found.p_value:.3g}; the most common label "
            f"{100 * found.most_common:.1f} %"
        )
        if found.left_out:
            say(f"{found.left_out} thoughts have no such row or label, or one that fewer than {self.least} tasks have")


@dataclass(frozen=True)
class MergeStores:
    """Merge several finished stores of one kind into a new one."""

    stores: Positional[tuple[str, ...]]
    """Folders of the stores. The messages of the first one come first."""
    output: str
    """Folder of the new store."""

    def run(self) -> "LatentStore":
        for store in self.stores:
            read_manifest(store)
        from interlat.store.merge import merge

        merge(self.stores, self.output)
        return open_store(self.output)

    def report(self, store: "LatentStore") -> None:
        say(f"{len(store)} thoughts of {len(self.stores)} stores in {self.output}")


@dataclass(frozen=True)
class SplitStore:
    """Assign every message of a store to a split. All samples of a task get the same split."""

    store: Positional[str]
    """Folder of the store."""
    shares: dict[str, float]
    """Fraction of the tasks in each split, such as train 0.9 test 0.1. The fractions add up to 1."""
    seed: int = 0
    """Seed of the random splits."""

    def run(self) -> dict[str, int]:
        read_manifest(self.store)
        from interlat.store.splits import assign_splits

        return assign_splits(self.store, self.shares, self.seed)

    def report(self, counts: dict[str, int]) -> None:
        say(", ".join(f"{name} {count}" for name, count in counts.items()) + f" thoughts in {self.store}")


@dataclass(frozen=True)
class ExportStore:
    """Export a store for other programs: task, plan, nested lists of states."""

    store: Positional[str]
    """Folder of the store."""
    output: str
    """The new file. For hf, the new folder."""
    form: ExportForm = "parquet"
    """File format. jsonl: one object per line. json: a list of objects. parquet: a Parquet file.
    hf: a folder for datasets.load_from_disk."""
    split: str = ""
    """Export only the messages of this split."""
    layer: int | None = None
    """Layer to export if several were kept, counted from 0 as `interlat store info` lists them."""

    def run(self) -> str:
        store = open_store(self.store)
        from interlat.store.interchange import export_store

        export_store(store, self.output, self.form, self.split, self.layer)
        return self.output

    def report(self, place: str) -> None:
        say(f"{self.form} in {place}")


@dataclass(frozen=True)
class ImportStore:
    """Import hidden states from JSON, Parquet, a saved data set or the hub into a store.
    The exit code is 1 if items fail."""

    RENAMED: ClassVar[Mapping[str, str]] = {"offset": "state_at"}

    source: Positional[str]
    """A .json, .jsonl or .parquet file, a folder that datasets or the published collectors saved, or a hub id."""
    output: str
    """Folder of the store. The same command continues an interrupted import."""
    state_at: StateAtSetting
    """Which state latent t is. before_token: it predicted token t (published MATH data).
    after_token: it had just read token t (ALFWorld)."""
    dtype: str = "float32"
    """Number format of the states: float32, bfloat16, float16 or float64."""
    encoding: Encoding = "plain"
    """plain stores numbers as they are. int8 and float8 store a number in one byte, with one scale per latent."""
    model: str = ""
    """Name of the model that made the messages, if known."""
    split: str = ""
    """Split to read, for sources that have several. Messages that name no split get it, too."""
    task_type_field: str = "task_type"
    """Column, or key of the metadata, with the task type."""

    def run(self) -> "LatentStore":
        from interlat.store.interchange import import_store

        completed(import_store(**asdict(self)), "import")
        return open_store(self.output)

    def report(self, store: "LatentStore") -> int:
        """What failed; 1 if anything did."""
        say(f"{len(store)} thoughts in {self.output}, {len(store.excluded)} items failed")
        for excluded in list(store.excluded.values())[:10]:
            say(f"  failed {excluded.id}: {excluded.reason}")
        return int(bool(store.excluded))


@dataclass(frozen=True)
class PushStore:
    """Upload a finished store to the Hugging Face hub as a data set, with a card. `interlat push`, for stores alone."""

    RENAMED: ClassVar[Mapping[str, str]] = {"repository": "repo"}

    store: Positional[str]
    """Folder of the store."""
    repo: str
    """Hub id, such as owner/name. It is created if it does not exist."""
    private: bool = True
    """Make a new repository private, and refuse an existing public one.
    With --no-private a new one is public, and an existing public one is written to."""
    revision: str = ""
    """Branch, created if it does not exist. Empty means the main branch."""

    def run(self) -> "Pushed":
        read_manifest(self.store)
        from interlat.sharing.push import push

        return push(self.store, self.repo, kind="store", private=self.private, revision=self.revision)

    def report(self, pushed: "Pushed") -> None:
        show_push(pushed)


@dataclass(frozen=True)
class PullStore:
    """Download a store from the Hugging Face hub. `interlat pull`, for stores alone."""

    repository: Positional[str]
    """Hub id of the data set."""
    output: str
    """Folder of the store."""
    revision: str = ""
    """Branch, tag or commit. Empty means the main branch."""

    def run(self) -> "LatentStore":
        from interlat.sharing.pull import pull

        pull(self.repository, self.output, kind="store", revision=self.revision)
        return open_store(self.output)

    def report(self, store: "LatentStore") -> None:
        say(f"{len(store)} thoughts in {self.output}")
