"""The manifest of a store: model, layers, ``state_at``, number format, and how the thoughts were made."""

import dataclasses
import functools
import hashlib
import json
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

from interlat.choices import Encoding as Encoding
from interlat.errors import StorageError
from interlat.files import write_atomically
from interlat.states import Norm, StateAt, in_files, of_files
from interlat.typed import typed

MANIFEST_FILE = "manifest.json"
FORMAT = "interlat-store"
FORMAT_VERSION = 1

StateDtype = Literal["float32", "float64", "float16", "bfloat16"]
LARGEST = 2**24
"""Largest hidden size that a manifest may name."""
Method = Literal["full", "compressed", "imported"]
_NAMES_ONLY = ("model", "code_version")


@functools.cache
def running_version() -> str:
    """The version of interlat, with the commit where it runs from a checkout."""
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / ".git").exists():
        return version("interlat")
    found = subprocess.run(
        ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
    )
    commit = found.stdout.strip()
    return f"{version('interlat')}+{commit}" if commit else version("interlat")


@dataclasses.dataclass(frozen=True)
class KeptLayer:
    """One layer whose states are kept."""

    layer: int
    """Number of the layer counted from the end: -1 is the last one."""
    norm: Norm
    """Whether the states are taken after or before the final norm. Inner layers are always before it."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """How to read the states of a store. Unknown fields, as of an imported store, are empty strings."""

    hidden_size: int
    """Hidden size D."""
    layers: tuple[KeptLayer, ...] = (KeptLayer(-1, "post"),)
    """The kept layers. States are ``[T, D]`` for one layer and ``[T, layers, D]`` for several."""
    state_at: StateAt = "before_token"
    """Latent t is the state that predicted token t, or the state that had just read it. Files call it ``offset``."""
    dtype: str = "float32"
    """Number format of the states that are read from the store."""
    encoding: Encoding = "plain"
    """"plain" stores states as they are, other encodings as small numbers with one scale for each latent."""
    method: Method = "full"
    """"full": one latent for each written token. "compressed": latent steps without text."""
    prompt_states: bool = False
    """Whether the store also keeps the states of the prompts."""
    model: str = ""
    """Path or hub id of the sender's model."""
    revision: str = ""
    weights_fingerprint: str = ""
    """See `interlat.engine.fingerprint`."""
    tokenizer_fingerprint: str = ""
    """See `interlat.engine.fingerprint`."""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """How the thoughts were made, as JSON: tasks, prompts, sampling, seed, filters."""
    code_version: str = dataclasses.field(default_factory=running_version)
    """Version (and commit, in a checkout) of the code that began the store."""

    def __post_init__(self) -> None:
        if not 1 <= self.hidden_size <= LARGEST or not self.layers:
            raise StorageError(
                f"a store of hidden size {self.hidden_size} and {len(self.layers)} layers holds nothing; expected a "
                f"hidden size from 1 to {LARGEST} and at least one layer"
            )
        if self.dtype not in get_args(StateDtype):
            raise StorageError(f"the dtype of a store is {self.dtype!r}, expected {', '.join(get_args(StateDtype))}")
        object.__setattr__(self, "settings", json.loads(json.dumps(dict(self.settings))))

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row: ``[D]``, or ``[layers, D]`` if there are several."""
        return (self.hidden_size,) if len(self.layers) == 1 else (len(self.layers), self.hidden_size)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that changes the stored states, see `differences`."""
        fields = {name: value for name, value in in_files(dataclasses.asdict(self)).items() if name not in _NAMES_ONLY}
        return hashlib.sha256(json.dumps(fields, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def write(self, directory: str | Path) -> None:
        """Write ``manifest.json``, atomically."""
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **in_files(dataclasses.asdict(self))}
        write_atomically(Path(directory) / MANIFEST_FILE, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def differences(self, other: "Manifest", fields: tuple[str, ...] = ()) -> list[str]:
        """Names of the fields in which two manifests differ, of ``fields`` or of all that change what is stored.

        A model is known by its fingerprints, so its name is not compared; nor is the version of the code.
        """
        names = fields or tuple(f.name for f in dataclasses.fields(self) if f.name not in _NAMES_ONLY)
        different = [name for name in names if getattr(self, name) != getattr(other, name)]
        if "settings" in different:
            keys = sorted(self.settings.keys() | other.settings.keys())
            inner = [f"settings.{key}" for key in keys if self.settings.get(key) != other.settings.get(key)]
            different = [name for name in different if name != "settings"] + inner
        return different


def read_manifest(directory: str | Path) -> Manifest:
    """The manifest of the store in ``directory``.

    Raises:
        StorageError: there is no store, it has another format, or its manifest is damaged.
    """
    path = Path(directory) / MANIFEST_FILE
    if not path.is_file():
        raise StorageError(f"{directory} is no latent store ({MANIFEST_FILE} is missing); check the path")
    try:
        content = dict(json.loads(path.read_text(encoding="utf-8")))
        found = (content.pop("format"), content.pop("format_version"))
        if found != (FORMAT, FORMAT_VERSION):
            raise StorageError(
                f"{path} has format {found[0]} version {found[1]}, expected {FORMAT} version {FORMAT_VERSION}; "
                "use the version of interlat that wrote it"
            )
        manifest = typed(Manifest, of_files(content))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StorageError(f"{path} is damaged ({error}); restore it or collect the store again") from error
    return manifest
