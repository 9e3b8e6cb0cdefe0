"""`interlat store info`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from interlat.progress import in_bytes

if TYPE_CHECKING:
    from interlat.store.statistics import StoreDescription

LISTED_TYPES = 12
SETTING_WIDTH = 240


@dataclass(frozen=True)
class StoreInfo:
    """What a latent store holds and how it was made."""

    store: Positional[str]
    """Folder of the store."""
    json: bool = False
    """Print one JSON object on stdout."""

    def run(self) -> "StoreDescription":
        """Describe the store."""
        from interlat.store.reading import LatentStore
        from interlat.store.statistics import describe

        return describe(LatentStore.open(self.store))

    def report(self, description: "StoreDescription") -> None:
        """A table, or JSON."""
        if self.json:
            print(json.dumps(description.to_dict(), ensure_ascii=False))
        else:
            Console().print(info_table(description))


def info_table(description: "StoreDescription") -> Table:
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


def _facts(description: "StoreDescription") -> dict[str, str]:
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
