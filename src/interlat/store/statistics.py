"""What is in a store, in numbers: from its index and manifest alone, no row is read."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from interlat.progress import in_bytes
from interlat.store.index import SHARDS
from interlat.store.manifest import Manifest
from interlat.store.reading import LatentStore
from interlat.store.shard import SCALE_BYTES
from interlat.store.writer import shard_format

FINGERPRINT_DIGITS = 12
LISTED = 12


@dataclass(frozen=True)
class Spread:
    """How a number differs between the thoughts of a store; 95 % of them have at most ``p95``."""

    minimum: float
    median: float
    mean: float
    p95: float
    maximum: float


@dataclass(frozen=True)
class StoreDescription:
    """What a person wants to know of a store before using it."""

    directory: str
    thoughts: int
    failed: int
    """Thoughts that could not be made."""
    filtered: int
    """Thoughts that a filter refused."""
    unfinished: bool
    """Whether a process is still writing, or was killed before the end."""
    rows: int
    """Rows of all thoughts together, without the rows of prompts."""
    prompt_rows: int
    """Rows of their prompts."""
    lengths: Spread | None
    """Rows a thought; None without thoughts."""
    norm_mean: float
    """Mean Euclidean norm of all rows."""
    norm_max: float
    splits: Mapping[str, int]
    """Thoughts by split, the largest split first."""
    task_types: Mapping[str, int]
    """Thoughts by task type, the most frequent first."""
    finished_share: float
    """Share of the thoughts whose sender stopped by itself."""
    encoding_error_mean: float
    """Mean relative error of the number format over the thoughts."""
    encoding_error_max: float
    shard_bytes: int
    """Bytes of all shards on disk; also where a part of a store is described."""
    store_bytes: int
    """Bytes of the whole store on disk, index and journals included."""
    float32_bytes: int
    """Bytes that the rows would take as plain float32."""
    float32_ratio: float
    """How many times larger a plain float32 row is than a stored one with its scale."""
    manifest: Manifest

    def to_dict(self) -> dict[str, Any]:
        """The description as one flat JSON object, with the first digits of the fingerprints."""
        own, manifest = dataclasses.asdict(self), dataclasses.asdict(self.manifest)
        del own["manifest"], manifest["prompt_states"]
        return own | manifest | self._fingerprints

    @property
    def _fingerprints(self) -> dict[str, str]:
        names = ("weights_fingerprint", "tokenizer_fingerprint")
        return {name: getattr(self.manifest, name)[:FINGERPRINT_DIGITS] for name in names}

    def facts(self) -> dict[str, str]:
        """What a person asks for first, by name; what is unknown or nothing is left out."""
        manifest, lengths, error = self.manifest, self.lengths, self.encoding_error_mean
        lost = f"; relative error {error:.2g}, at most {self.encoding_error_max:.2g}" if error else ""
        prompts = f"; and {self.prompt_rows:,} of prompts" if self.prompt_rows else ""
        fingerprints = zip(("weights", "tokenizer"), self._fingerprints.values(), strict=True)
        layers = ", ".join(f"layer {kept.layer} ({kept.norm}-norm)" for kept in manifest.layers)
        found = {
            "unfinished": "a process is still writing, or was killed" if self.unfinished else "",
            "thoughts": f"{self.thoughts:,}; {self.failed:,} failed, {self.filtered:,} filtered out",
            "finished": f"{100 * self.finished_share:.1f} % ended by themselves" if lengths else "",
            "rows": f"{self.rows:,}{prompts}",
            "rows a thought": f"{lengths.minimum:.0f} to {lengths.maximum:.0f}, median {lengths.median:g}, mean "
            f"{lengths.mean:.1f}, 95 % have at most {lengths.p95:g}"
            if lengths
            else "",
            "norm of a row": f"mean {self.norm_mean:.4g}, largest {self.norm_max:.4g}" if lengths else "",
            "splits": _listed(self.splits, "no split"),
            "task types": _listed(self.task_types, "no type"),
            "states": f"hidden size {manifest.hidden_size}, {layers}, {manifest.state_at}",
            "numbers": f"{manifest.dtype}, stored {manifest.encoding}{lost}",
            "on disk": f"{in_bytes(self.store_bytes)}, of which shards {in_bytes(self.shard_bytes)}; "
            f"float32 rows would take {in_bytes(self.float32_bytes)} ({self.float32_ratio:.3g} times)",
            "model": f"{manifest.model or 'unknown'} {manifest.revision}".strip(),
            "fingerprints": ", ".join(f"{name} {digits}" for name, digits in fingerprints if digits),
            "method": manifest.method,
            "made with": f"interlat {manifest.code_version}",
        }
        return {name: value for name, value in found.items() if value}


def _listed(counts: Mapping[str, int], unnamed: str) -> str:
    if not any(counts):
        return ""
    shown = [f"{name or unnamed} {count:,}" for name, count in list(counts.items())[:LISTED]]
    left = len(counts) - len(shown)
    return ", ".join([*shown, *([f"and {left} more"] if left else [])])


def describe(store: LatentStore) -> StoreDescription:
    """Count and measure the thoughts of a store, or of a part of one."""
    manifest, table = store.manifest, store.table
    form = shard_format(manifest)
    lengths = table.column("length")
    rows, prompt_rows = _total(lengths), _total(table.column("prompt_rows"))
    reasons = Counter(one.status for one in store.excluded.values())
    wide_row = torch.Size(form.row_shape).numel() * torch.float32.itemsize
    shard_bytes, store_bytes = (_bytes_in(folder) for folder in (store.directory / SHARDS, store.directory))
    return StoreDescription(
        directory=str(store.directory),
        thoughts=len(store),
        failed=reasons["failed"],
        filtered=reasons["filtered"],
        unfinished=store.unfinished,
        rows=rows,
        prompt_rows=prompt_rows,
        lengths=_spread(lengths) if len(store) else None,
        norm_mean=_total(pc.multiply(table.column("norm_mean"), lengths)) / max(rows, 1),
        norm_max=pc.max(table.column("norm_max")).as_py() or 0.0,
        splits=_counts(table.column("split")),
        task_types=_counts(table.column("task_type")),
        finished_share=_total(table.column("finished")) / max(len(store), 1),
        encoding_error_mean=_total(table.column("encoding_error")) / max(len(store), 1),
        encoding_error_max=pc.max(table.column("encoding_error")).as_py() or 0.0,
        shard_bytes=shard_bytes,
        store_bytes=store_bytes,
        float32_bytes=(rows + prompt_rows) * wide_row,
        float32_ratio=wide_row / (form.row_bytes + (SCALE_BYTES if form.scaled else 0)),
        manifest=manifest,
    )


def _total(column: pa.ChunkedArray) -> Any:
    return pc.sum(column).as_py() or 0


def _spread(column: pa.ChunkedArray) -> Spread:
    minimum, median, p95, maximum = pc.quantile(column, q=[0.0, 0.5, 0.95, 1.0]).to_pylist()
    return Spread(minimum, median, pc.mean(column).as_py(), p95, maximum)


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    pairs = [(found["values"], found["counts"]) for found in pc.value_counts(column).to_pylist()]
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        # A writer at work renames its files.
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total
