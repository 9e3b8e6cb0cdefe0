"""The commands about checkpoints of other code: `interlat import-checkpoint`."""

import json
from dataclasses import dataclass

from tyro.conf import Positional

from interlat.messages import Offset
from interlat.progress import say
from interlat.training.published import import_checkpoint


@dataclass(frozen=True)
class ImportCheckpoint:
    """Make an actor of a checkpoint that the published Interlat code saved."""

    source: Positional[str]
    """Folder that its training wrote."""
    output: str
    """Folder for the actor; new, or empty."""
    offset: Offset
    """Which state of each token its messages held; not recorded there. The published ALFWorld data are consuming,
    the MATH data predicting."""
    base: str = ""
    """Folder or hub id of the language model, for a checkpoint that was kept without it."""
    json: bool = False
    """Print one JSON object on stdout."""


def run_import_checkpoint(config: ImportCheckpoint) -> int:
    """Import, and say what is unreliable."""
    unreliable = import_checkpoint(config.source, config.output, config.offset, base=config.base)
    for sentence in unreliable:
        say(f"unreliable: {sentence}")
    say(f"actor in {config.output}")
    if config.json:
        print(json.dumps({"output": config.output, "unreliable": unreliable}, ensure_ascii=False))
    return 0
