"""Connectors on the hub: trained maps without the model beside which they work."""

import dataclasses
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from interlat.connectors.adapter import CommunicationAdapter
from interlat.connectors.bridge import Bridge
from interlat.connectors.module_file import StoredModule
from interlat.connectors.resampler import Resampler
from interlat.places import short_name
from interlat.sharing.kinds import WITH_EVERY_KIND, Description, Kind

CONNECTOR_MODULES: dict[str, type[StoredModule]] = {
    "adapter": CommunicationAdapter,
    "bridge": Bridge,
    "resampler": Resampler,
}
"""Names in the registry of connectors, of those that are trained and have a file. A ridge map is computed from its
model, and needs no sharing."""
CONNECTOR_FILES = "|".join(re.escape(module.FILE) for module in CONNECTOR_MODULES.values())
_USE = """import interlat
from interlat.connectors.base import build_connector

agent = interlat.load("the model that it was trained with")"""


class ConnectorKind(Kind):
    """A trained adapter, bridge or resampler."""

    name = "connector"
    repository_type = "model"
    files = re.compile(rf"{CONNECTOR_FILES}|{WITH_EVERY_KIND}")
    wanted = " or ".join(module.FILE for module in CONNECTOR_MODULES.values())

    def is_in(self, names: Collection[str]) -> bool:
        """See `Kind.is_in`."""
        return any(module.FILE in names for module in CONNECTOR_MODULES.values())

    def check(self, folder: Path) -> None:
        """Read headers and tensors. Raises CheckpointError: a file is damaged, or of another format."""
        for _ in modules_in(folder):
            pass

    def describe(self, folder: Path, repository: str) -> Description:
        """See `Kind.describe`: what the headers say."""
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

    def use(self, folder: Path) -> str:
        """See `Kind.use`."""
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
