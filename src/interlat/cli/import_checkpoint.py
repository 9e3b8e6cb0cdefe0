"""`interlat import-checkpoint`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tyro.conf import Positional

from interlat.progress import say
from interlat.states import StateAtSetting


@dataclass(frozen=True)
class ImportCheckpoint:
    """Make an actor of a checkpoint that the published Interlat code saved."""

    RENAMED: ClassVar[Mapping[str, str]] = {"offset": "state_at"}

    source: Positional[str]
    """Folder that its training wrote."""
    output: str
    """Folder for the actor; new, or empty."""
    state_at: StateAtSetting
    """Which state of each token its messages held; not recorded there. The published ALFWorld data are
    after_token, the MATH data before_token."""
    base: str = ""
    """Folder or hub id of the language model, for a checkpoint that was kept without it."""
    json: bool = False
    """Print one JSON object on stdout."""

    def run(self) -> list[str]:
        """Import; what is unreliable, in sentences."""
        from interlat.training.published import import_checkpoint

        return import_checkpoint(self.source, self.output, self.state_at, base=self.base)

    def report(self, unreliable: list[str]) -> None:
        """Say what is unreliable."""
        for sentence in unreliable:
            say(f"unreliable: {sentence}")
        say(f"actor in {self.output}")
        if self.json:
            print(json.dumps({"output": self.output, "unreliable": unreliable}, ensure_ascii=False))
