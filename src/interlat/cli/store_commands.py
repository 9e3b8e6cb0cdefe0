"""The commands `interlat store ...`: what a store holds, whether it is whole, and into other forms and back."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from interlat.progress import drain, in_bytes, say, track
from interlat.states import StateAtSetting
from interlat.store.hub import pull, push
from interlat.store.interchange import Form, export_store, import_store
from interlat.store.manifest import Encoding
from interlat.store.merge import merge
from interlat.store.reading import LatentStore
from interlat.store.splits import assign_splits
from interlat.store.statistics import StoreDescription, describe
from interlat.store.verify import Verdict, lost_shards, unclaimed_rows, verify

LISTED_TYPES = 12
SETTING_WIDTH = 240


@dataclass(frozen=True)
class StoreInfo:
    """What a latent store holds and how it was made."""

    store: Positional[str]
    """Folder of the store."""
    json: bool = False
    """Print one JSON object on stdout."""


def run_store_info(config: StoreInfo) -> None:
    """Describe the store."""
    description = describe(LatentStore.open(config.store))
    if config.json:
        print(json.dumps(description.to_dict(), ensure_ascii=False))
    else:
        Console().print(info_table(description))


def info_table(description: StoreDescription) -> Table:
    """A description for people, the most asked for first; fits 80 columns."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(description).items():
        if value:
            table.add_row(name, Text(value))
    for key, setting in description.settings.items():
        if setting in ("", None):
            continue
        text = setting if isinstance(setting, str) else json.dumps(setting, ensure_ascii=False)
        if len(text) > SETTING_WIDTH:
            text = f"{text[:SETTING_WIDTH]}... ({len(text):,} characters; --json shows all)"
        table.add_row(Text(key.replace("_", " "), style="cyan not bold"), Text(text))
    return table


def _facts(description: StoreDescription) -> dict[str, str]:
    lengths, error = description.lengths, description.encoding_error_mean
    lost = f"; relative error {error:.2g}, at most {description.encoding_error_max:.2g}" if error else ""
    prompts = f"; and {description.prompt_rows:,} of prompts" if description.prompt_rows else ""
    fingerprints = {"weights": description.weights_fingerprint, "tokenizer": description.tokenizer_fingerprint}
    return {
        "store": description.directory,
        "unfinished": "somebody is, or was, still writing" if description.unfinished else "",
        "thoughts": f"{description.thoughts:,}; {description.failed:,} failed, {description.filtered:,} filtered out",
        "finished": f"{100 * description.finished_share:.1f} % ended by themselves" if lengths else "",
        "rows": f"{description.rows:,}{prompts}",
        "rows a thought": f"{lengths.minimum:.0f} to {lengths.maximum:.0f}, median {lengths.median:g}, mean "
        f"{lengths.mean:.1f}, 95 % have at most {lengths.p95:g}"
        if lengths
        else "",
        "norm of a row": f"mean {description.norm_mean:.4g}, largest {description.norm_max:.4g}" if lengths else "",
        "splits": _listed(description.splits, "no split"),
        "task types": _listed(description.task_types, "no type"),
        "states": f"hidden size {description.hidden_size}, "
        + ", ".join(f"layer {layer['layer']} ({layer['norm']}-norm)" for layer in description.layers)
        + f", {description.state_at}",
        "numbers": f"{description.dtype}, stored {description.encoding}{lost}",
        "on disk": f"{in_bytes(description.store_bytes)}, of which shards {in_bytes(description.shard_bytes)}; "
        f"float32 rows would take {in_bytes(description.float32_bytes)} ({description.float32_ratio:.3g} times)",
        "model": f"{description.model or 'unknown'} {description.revision}".strip(),
        "fingerprints": ", ".join(f"{name} {digits}" for name, digits in fingerprints.items() if digits),
        "method": description.method,
        "made with": f"interlat {description.code_version}",
    }


def _listed(counts: Mapping[str, int], unnamed: str) -> str:
    if not any(counts):
        return ""
    shown = [f"{name or unnamed} {count:,}" for name, count in list(counts.items())[:LISTED_TYPES]]
    left = len(counts) - len(shown)
    return ", ".join([*shown, *([f"and {left} more"] if left else [])])


@dataclass(frozen=True)
class VerifyStore:
    """Check that every thought is whole: rows, checksums, values; exit code 1 if one is not."""

    store: Positional[str]
    """Folder of the store."""
    json: bool = False
    """Print one JSON line a bad thought on stdout, and a summary as the last line."""


def run_verify_store(config: VerifyStore) -> int:
    """Read everything; list what is bad on stdout."""
    store = LatentStore.open(config.store)
    bad: list[Verdict] = []

    def checked() -> Iterator[tuple[int, int]]:
        for number, verdict in enumerate(verify(store), 1):
            if verdict.problem:
                bad.append(verdict)
            yield number, len(store)

    drain(track(checked(), "verify"))
    unclaimed, lost = unclaimed_rows(store), lost_shards(store)
    for verdict in bad:
        print(json.dumps(dataclasses.asdict(verdict), ensure_ascii=False) if config.json else _line(verdict))
    if config.json:
        summary = {"thoughts": len(store), "bad": len(bad), "unclaimed_rows": unclaimed, "lost_shards": lost}
        print(json.dumps(summary))
    for shard, rows in unclaimed.items():
        harm = "the index or journal that named them is lost" if shard in lost else "they do no harm"
        say(f"shard {shard} has {rows} rows that belong to no thought; {harm}")
    say(f"{len(store) - len(bad)} of {len(store)} thoughts are whole, {len(bad)} are bad")
    return int(bool(bad or lost))


def _line(verdict: Verdict) -> str:
    return f"{verdict.id}: {verdict.problem}"


@dataclass(frozen=True)
class MergeStores:
    """Put several finished stores of one kind into a new one."""

    stores: Positional[tuple[str, ...]]
    """Folders of the stores; the thoughts of the first one come first."""
    output: str
    """Folder of the new store."""


def run_merge_stores(config: MergeStores) -> None:
    """Merge."""
    merge(config.stores, config.output)
    say(f"{len(LatentStore.open(config.output))} thoughts of {len(config.stores)} stores in {config.output}")


@dataclass(frozen=True)
class ExportStore:
    """Write a store for other programs: task, plan, nested lists of states."""

    store: Positional[str]
    """Folder of the store."""
    output: str
    """The new file; the new folder for hf."""
    form: Form = "parquet"
    """An object a line (jsonl), a list of objects (json), parquet, or a folder for datasets.load_from_disk (hf)."""
    split: str = ""
    """Only the thoughts of this split."""
    layer: int | None = None
    """Which of several kept layers, counted from 0 as `interlat store info` lists them."""


def run_export_store(config: ExportStore) -> None:
    """Export."""
    export_store(LatentStore.open(config.store), config.output, config.form, config.split, config.layer)
    say(f"{config.form} in {config.output}")


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


def run_import_store(config: ImportStore) -> int:
    """Import, and say what failed."""
    steps = import_store(
        config.source,
        config.output,
        state_at=config.state_at,
        dtype=config.dtype,
        encoding=config.encoding,
        model=config.model,
        split=config.split,
        task_type_field=config.task_type_field,
    )
    drain(track(steps, "import"))
    store = LatentStore.open(config.output)
    say(f"{len(store)} thoughts in {config.output}, {len(store.excluded)} items failed")
    for excluded in list(store.excluded.values())[:10]:
        say(f"  failed {excluded.id}: {excluded.reason}")
    return int(bool(store.excluded))


@dataclass(frozen=True)
class PlotStore:
    """Draw the lengths and norms of a store, and its thoughts in their first two principal components."""

    store: Positional[str]
    """Folder of the store."""
    output: str
    """Folder for the pictures."""
    split: str = ""
    """Only the thoughts of this split."""
    max_rows: int = 20000
    """Most rows whose norms are counted."""
    seed: int = 0
    """Decides which thoughts and rows are drawn."""


def run_plot_store(config: PlotStore) -> None:
    """Draw; the paths on stdout."""
    from interlat.report.store_figures import plot_store

    store = LatentStore.open(config.store)
    part = store.split(config.split) if config.split else store
    for path in plot_store(part, config.output, config.max_rows, config.seed):
        print(path)


@dataclass(frozen=True)
class SplitStore:
    """Give every thought of a store a split, by its task: all samples of a task are on the same side."""

    store: Positional[str]
    """Folder of the store."""
    shares: dict[str, float]
    """Share of the tasks by split, such as train 0.9 test 0.1; they add up to 1."""
    seed: int = 0
    """Another seed draws other splits."""


def run_split_store(config: SplitStore) -> None:
    """Split."""
    counts = assign_splits(config.store, config.shares, config.seed)
    say(", ".join(f"{name} {count}" for name, count in counts.items()) + f" thoughts in {config.store}")


@dataclass(frozen=True)
class PushStore:
    """Upload a finished store to the Hugging Face hub as a data set, with a card."""

    store: Positional[str]
    """Folder of the store."""
    repository: str
    """Hub id, such as name/thoughts; made if it does not exist."""
    private: bool = True
    """Whether a new repository is private."""
    revision: str = ""
    """Branch, made if it does not exist; empty for the main one."""


def run_push_store(config: PushStore) -> None:
    """Upload; the address of the commit on stdout."""
    print(push(config.store, config.repository, config.private, config.revision))


@dataclass(frozen=True)
class PullStore:
    """Download a store from the Hugging Face hub."""

    repository: Positional[str]
    """Hub id of the data set."""
    output: str
    """Folder of the store."""
    revision: str = ""
    """Branch, tag or commit; empty for the main branch."""


def run_pull_store(config: PullStore) -> None:
    """Download."""
    pull(config.repository, config.output, config.revision)
    say(f"{len(LatentStore.open(config.output))} thoughts in {config.output}")
