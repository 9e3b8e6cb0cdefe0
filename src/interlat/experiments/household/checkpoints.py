"""The trained models that come with the package: `recipes/alfworld-mini` and `recipes/alfworld-smollm2` say how they
were made. Those of alfworld-smollm2 are PEFT adapters on a base that `interlat models fetch` fetches."""

from pathlib import Path

from interlat.errors import CheckpointError
from interlat.places import ADAPTER_CONFIG

ROOT = Path(__file__).parent / "bundled"
_FILES = ("config.json", ADAPTER_CONFIG)
"""One of them makes a folder a checkpoint."""


def bundled(name: str) -> str:
    """The folder of a bundled checkpoint, such as ``alfworld-mini/scout``.

    Raises:
        CheckpointError: there is none of that name; lists those there are.
    """
    folder = ROOT / name
    if not any((folder / file).is_file() for file in _FILES):
        known = sorted(str(path.parent.relative_to(ROOT)) for file in _FILES for path in ROOT.glob(f"*/*/{file}"))
        raise CheckpointError(f"no bundled checkpoint {name!r}; there are: {', '.join(known) or 'none'}")
    return str(folder)
