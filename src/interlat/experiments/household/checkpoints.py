"""The trained models that come with the package. `recipes/alfworld-mini` and `recipes/alfworld-smollm2` say how they
were made. Those of alfworld-smollm2 are PEFT adapters. `interlat models fetch` fetches their base model."""

from pathlib import Path

from interlat.errors import CheckpointError
from interlat.places import ADAPTER_CONFIG

ROOT = Path(__file__).parent / "bundled"
_FILES = ("config.json", ADAPTER_CONFIG)
"""A folder with one of these files is a checkpoint."""


def bundled(name: str) -> str:
    """The folder of a bundled checkpoint, such as ``alfworld-mini/scout``.

    Raises:
        CheckpointError: there is no bundled checkpoint of that name. The error lists the names.
    """
    folder = ROOT / name
    if not any((folder / file).is_file() for file in _FILES):
        known = sorted(str(path.parent.relative_to(ROOT)) for file in _FILES for path in ROOT.glob(f"*/*/{file}"))
        raise CheckpointError(f"no bundled checkpoint {name!r}; there are: {', '.join(known) or 'none'}")
    return str(folder)
