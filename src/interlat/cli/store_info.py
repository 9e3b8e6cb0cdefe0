"""`interlat store info`."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from interlat.store.manifest import read_manifest

if TYPE_CHECKING:
    from interlat.store.reading import LatentStore
    from interlat.store.statistics import StoreDescription

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
    """What a latent store holds and how it was made."""

    store: Positional[str]
    """Folder of the store."""
    json: bool = False
    """Print one JSON object on stdout."""

    def run(self) -> "StoreDescription":
        """Describe the store."""
        store = open_store(self.store)
        from interlat.store.statistics import describe

        return describe(store)

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
