"""Where a model is: what stands for it on the command line, in YAML and in Python, without torch.

A name that begins with ``openai:`` is a model behind a server. Any other means, in this order: a folder or file that
exists (so a folder of that name in the current directory wins), a model of `interlat models list`, a hub id.
"""

import json
import os
from pathlib import Path

from interlat.catalogue import MODELS
from interlat.errors import CheckpointError

CACHE_VARIABLE = "INTERLAT_CACHE"
"""The environment variable with the cache folder."""
ADAPTER_CONFIG = "adapter_config.json"
"""What makes a folder a PEFT adapter."""
GGUF_MAGIC = b"GGUF"
REMOTE = "openai:"
"""What stands before the name of a model that runs behind an OpenAI-compatible server."""


def cache_folder() -> Path:
    """Folder of what interlat fetches: ``$INTERLAT_CACHE``, else ``interlat`` in the user's cache folder."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    user = os.environ.get("XDG_CACHE_HOME")
    return (Path(user) if user else Path.home() / ".cache") / "interlat"


def known_folder(name: str) -> Path:
    """Where a known model is, once it has been fetched."""
    return cache_folder() / "models" / name


def at_home(path_or_hub_id: str | Path) -> str:
    """The path with ``~`` as the home folder; a hub id as it is."""
    return str(Path(path_or_hub_id).expanduser()) if str(path_or_hub_id).startswith("~") else str(path_or_hub_id)


def model_place(named: str | Path) -> str:
    """The folder, file or hub id that is meant.

    Raises:
        CheckpointError: it is a known model that has not been fetched.
    """
    place = at_home(named)
    if not place.strip() or Path(place).exists() or place not in MODELS:
        return place
    folder = known_folder(place)
    if not folder.is_dir():
        more = " --accept-licence" if MODELS[place].terms else ""
        raise CheckpointError(f"{place} has not been fetched; run: interlat models fetch {place}{more}")
    return str(folder)


def short_name(named: str | Path) -> str:
    """What a headline calls a model: the last part of its path or id, and of a training's ``model`` the training."""
    place = Path(named)
    return place.parent.name if place.name == "model" and place.parent.name else place.name


def gguf_file(place: str) -> Path | None:
    """The GGUF file that a place is, or the only one in a folder without other weights; None where it is no GGUF model.

    Args:
        place: as `model_place` gives it.

    Raises:
        CheckpointError: there are several, it is a part of a split file, or a file of that name is none.
    """
    path = Path(place)
    if path.is_file():
        if not _is_gguf(path):
            if path.suffix == ".gguf":
                raise CheckpointError(f"{path} is not a GGUF file: it does not begin with GGUF; fetch it again")
            return None
        found = path
    else:
        if not path.is_dir() or any(path.glob("model*.safetensors*")) or (path / ADAPTER_CONFIG).is_file():
            return None
        files = sorted(path.glob("*.gguf"))
        if not files:
            return None
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise CheckpointError(f"{path} holds several GGUF files ({names}); give the path of one of them")
        return gguf_file(str(files[0]))
    if "-of-" in found.stem and found.stem.rpartition("-of-")[2].isdecimal():
        raise CheckpointError(f"{found} is a part of a split GGUF file; join the parts (llama-gguf-split --merge)")
    return found


def _is_gguf(path: Path) -> bool:
    with open(path, "rb") as handle:
        return handle.read(len(GGUF_MAGIC)) == GGUF_MAGIC


def adapter_base(folder: str | Path) -> str:
    """The base model that the PEFT adapter in a folder is for, as ``adapter_config.json`` names it.

    Raises:
        CheckpointError: the file is damaged or names none.
    """
    path = Path(folder) / ADAPTER_CONFIG
    try:
        base = json.loads(path.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); save the adapter again") from error
    if not isinstance(base, str) or not base:
        raise CheckpointError(
            f"base_model_name_or_path in {path} is {base!r}, expected the base model of the adapter (a folder, a hub "
            "id or a name of `interlat models list`); write it there"
        )
    return base
