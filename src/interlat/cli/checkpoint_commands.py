"""The commands about checkpoints of other code: `interlat import-checkpoint`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tyro.conf import Positional

from interlat.progress import say
from interlat.states import StateAtSetting
from interlat.training.published import import_checkpoint


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


def run_import_checkpoint(config: ImportCheckpoint) -> int:
    """Import, and say what is unreliable."""
    unreliable = import_checkpoint(config.source, config.output, config.state_at, base=config.base)
    for sentence in unreliable:
        say(f"unreliable: {sentence}")
    say(f"actor in {config.output}")
    if config.json:
        print(json.dumps({"output": config.output, "unreliable": unreliable}, ensure_ascii=False))
    return 0
