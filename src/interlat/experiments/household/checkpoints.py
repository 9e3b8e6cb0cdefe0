"""The small trained models that come with the package; `recipes/alfworld-mini` says how they were made."""

from pathlib import Path

from interlat.errors import CheckpointError

ROOT = Path(__file__).parent / "bundled"


def bundled(name: str) -> str:
    """The folder of a bundled checkpoint, such as ``alfworld-mini/scout``.

    Raises:
        CheckpointError: there is none of that name; lists those there are.
    """
    folder = ROOT / name
    if not (folder / "config.json").is_file():
        known = sorted(str(path.parent.relative_to(ROOT)) for path in ROOT.glob("*/*/config.json"))
        raise CheckpointError(f"no bundled checkpoint {name!r}; there are: {', '.join(known) or 'none'}")
    return str(folder)
