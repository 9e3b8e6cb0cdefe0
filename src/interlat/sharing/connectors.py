"""Connectors on the hub: trained maps without the model beside which they work."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

from interlat.connectors.adapter import CommunicationAdapter
from interlat.connectors.bridge import Bridge
from interlat.connectors.module_file import StoredModule
from interlat.connectors.resampler import Resampler
from interlat.places import short_name
from interlat.sharing.kinds import Description

CONNECTOR_MODULES: dict[str, type[StoredModule]] = {
    "adapter": CommunicationAdapter,
    "bridge": Bridge,
    "resampler": Resampler,
}
"""Name in `CONNECTOR_FILES` -> what its file holds."""
_USE = """import interlat
from interlat.connectors.base import build_connector

agent = interlat.load("the model that it was trained with")"""


def check(folder: Path) -> None:
    """Read headers and tensors. Raises CheckpointError: a file is damaged, or of another format."""
    for _ in modules_in(folder):
        pass


def describe(folder: Path, repository: str) -> Description:
    """See `Handling.describe`: what the headers say."""
    found = dict(modules_in(folder))
    name = repository.rpartition("/")[2]
    built = [f'{one} = build_connector("{one}", agent.engine, folder="{name}")' for one in found]
    what = " and ".join(module.KIND for module in found.values())
    return Description(
        f"Between two language models: {what} of the Python package `interlat`, without the models.",
        "\n".join([_USE, *built]),
        ("connector", *found),
        facts_of_modules(found),
    )


def use(folder: Path) -> str:
    """See `Handling.use`."""
    names = [name for name, module in CONNECTOR_MODULES.items() if (folder / module.FILE).is_file()]
    return ", ".join(f'build_connector("{name}", agent.engine, folder="{folder}")' for name in names)


def modules_in(folder: Path) -> Iterator[tuple[str, StoredModule]]:
    """Name and module of the connectors in a folder. Raises CheckpointError: see `StoredModule.load`."""
    for name, module in CONNECTOR_MODULES.items():
        if (folder / module.FILE).is_file():
            yield name, module.load(folder)


def facts_of_modules(modules: dict[str, StoredModule]) -> dict[str, str]:
    """What the headers of some connectors say; what is unknown is left out, and of a path the last part is shown."""
    facts = {}
    for name, module in modules.items():
        for field, value in dataclasses.asdict(module.config).items():
            if field == "sender" and value:
                value = short_name(value)
            if value not in ("", (), None):
                facts[f"{name}: {field.replace('_', ' ')}"] = value if isinstance(value, str) else json.dumps(value)
    return facts
