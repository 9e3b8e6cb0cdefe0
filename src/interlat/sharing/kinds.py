"""What can be shared, and how a folder or a repository is recognised by its files. Needs no torch."""

import importlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, cast

from interlat.agents.settings import SETTINGS_FILE
from interlat.errors import InputError
from interlat.hub import RepositoryType
from interlat.places import ADAPTER_CONFIG
from interlat.store.manifest import MANIFEST_FILE

KindName = Literal["agent", "connector", "store"]
CARD_FILE = "README.md"
CONFIG_FILE = "config.json"
CONNECTOR_FILES = {
    "adapter": "adapter.safetensors",
    "bridge": "bridge.safetensors",
    "resampler": "resampler.safetensors",
}
"""Names in the registry of connectors, of those that are trained and have a file. A ridge map is computed from its
model, and needs no sharing."""
_FOR_PEOPLE = r"README\.md|LICENSE(\.md|\.txt)?"
_OF_A_STORE = (MANIFEST_FILE, "index.parquet", "excluded.jsonl", "seal.json")
_OF_A_MODEL = (
    *(CONFIG_FILE, ADAPTER_CONFIG, SETTINGS_FILE, "generation_config.json", "added_tokens.json"),
    *("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model", "spiece.model"),
    *("vocab.json", "vocab.txt", "merges.txt", "tekken.json", "chat_template.jinja", "chat_template.json"),
)


@dataclass(frozen=True)
class Description:
    """What a card says of a folder; nothing that is not in its files."""

    about: str
    """What it is, in a few sentences."""
    use: str
    """Lines of Python that load it."""
    tags: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    """Rows of a table."""
    base_model: str = ""
    """Hub id of the model that it is an addition to; empty where it is none, or none is known."""
    more: str = ""
    """A paragraph behind the table."""


class Handling(Protocol):
    """The module of a kind: what needs torch to read a folder."""

    def check(self, folder: Path) -> None:
        """Refuse a folder that is not whole.

        Raises:
            InterlatError: says what is missing or damaged.
        """

    def describe(self, folder: Path, repository: str) -> Description:
        """What the card says of a folder that has been checked."""
        ...

    def use(self, folder: Path) -> str:
        """How a folder that was downloaded is used, in one line."""
        ...


@dataclass(frozen=True)
class Kind:
    """One kind of folder that can be shared."""

    name: KindName
    repository_type: RepositoryType
    marks: re.Pattern[str]
    """A folder with such a file is of this kind."""
    files: re.Pattern[str]
    """The paths that are shared; everything else in a folder stays where it is."""
    wanted: str
    """The marks, for error texts."""
    module: str
    """Name of the module that checks and describes it."""

    def is_in(self, names: Collection[str]) -> bool:
        """Whether these are the files of this kind."""
        return any(self.marks.fullmatch(name) for name in names)

    def shared(self, names: Collection[str]) -> list[str]:
        """Those of some paths that are shared, in order."""
        return sorted(name for name in names if self.files.fullmatch(name) or is_for_people(name))

    @property
    def handling(self) -> Handling:
        """What checks and describes a folder of this kind."""
        return cast(Handling, importlib.import_module(self.module))


def is_for_people(name: str) -> bool:
    """Whether a file is a card or a licence: it goes with any kind, and decides nothing that is computed."""
    return re.fullmatch(_FOR_PEOPLE, name) is not None


def _any_of(*names: str) -> str:
    return "|".join(map(re.escape, names))


STORE = Kind(
    "store",
    "dataset",
    re.compile(_any_of(MANIFEST_FILE)),
    re.compile(rf"{_any_of(*_OF_A_STORE)}|shards/[\w.-]+\.safetensors", re.ASCII),
    MANIFEST_FILE,
    "interlat.sharing.stores",
)
AGENT = Kind(
    "agent",
    "model",
    re.compile(rf"{_any_of(CONFIG_FILE, ADAPTER_CONFIG)}|[\w.-]+\.gguf", re.ASCII),
    re.compile(
        rf"{_any_of(*_OF_A_MODEL, *CONNECTOR_FILES.values())}|model-\d+-of-\d+\.safetensors|[\w.-]+\.gguf"
        r"|additional_chat_templates/[\w.-]+\.jinja",
        re.ASCII,
    ),
    f"{CONFIG_FILE}, {ADAPTER_CONFIG} or a GGUF file",
    "interlat.sharing.agents",
)
CONNECTOR = Kind(
    "connector",
    "model",
    re.compile(_any_of(*CONNECTOR_FILES.values())),
    re.compile(_any_of(*CONNECTOR_FILES.values())),
    " or ".join(CONNECTOR_FILES.values()),
    "interlat.sharing.connectors",
)
KINDS = (STORE, AGENT, CONNECTOR)
"""A folder with a model is an agent, whatever connectors are beside the model."""


def kind_named(name: KindName) -> Kind:
    """The kind of that name."""
    return next(kind for kind in KINDS if kind.name == name)


def kind_among(names: Collection[str], place: str) -> Kind | None:
    """The kind that some files are; None where they are none.

    Raises:
        InputError: they are a store and an agent at once.
    """
    found = [kind for kind in KINDS if kind.is_in(names)]
    if len(found) > 1 and found[0] is STORE:
        raise InputError(
            f"{place} holds a latent store and {found[1].wanted}; share each of them from a folder of its own"
        )
    return found[0] if found else None


def kind_of_folder(folder: Path) -> Kind:
    """The kind of a folder.

    Raises:
        InputError: there is no such folder, or it is none that can be shared; says what it looks like instead.
    """
    if not folder.is_dir():
        found = f"{folder} is a file" if folder.exists() else f"there is no folder {folder}"
        raise InputError(f"{found}; give the folder of an agent, a connector or a latent store")
    kind = kind_among(paths_in(folder), str(folder))
    if kind is None:
        expected = ", ".join(f"{kind.name} ({kind.wanted})" for kind in KINDS)
        raise InputError(f"{folder} is nothing that can be shared; expected {expected}{_hint(folder)}")
    return kind


def paths_in(folder: Path) -> list[str]:
    """The paths of all files in a folder and of its folders, but for hidden ones."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))


_HINTS: tuple[tuple[str, Callable[[Path], bool], str], ...] = (
    ("a training", lambda folder: (folder / "model").is_dir(), "give the folder {folder}/model"),
    (
        "the output of an evaluation",
        lambda folder: any(folder.glob("results*.jsonl")),
        "give it as --results beside the folder of the agent",
    ),
)


def _hint(folder: Path) -> str:
    for what, looks_so, advice in _HINTS:
        if looks_so(folder):
            return f". It looks like {what}: {advice.format(folder=folder)}"
    return ""
