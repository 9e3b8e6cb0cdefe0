"""`interlat store push` and `interlat store pull`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from interlat.cli.store_info import open_store
from interlat.progress import say
from interlat.store.manifest import read_manifest

if TYPE_CHECKING:
    from interlat.store.reading import LatentStore


@dataclass(frozen=True)
class PushStore:
    """Upload a finished store to the Hugging Face hub as a data set, with a card."""

    store: Positional[str]
    """Folder of the store."""
    repository: str
    """Hub id, such as name/thoughts; made if it does not exist."""
    private: bool = True
    """Whether a new repository is private."""
    revision: str = ""
    """Branch, made if it does not exist; empty for the main one."""

    def run(self) -> str:
        """Upload; the address of the commit."""
        read_manifest(self.store)
        from interlat.store.hub import push

        return push(self.store, self.repository, self.private, self.revision)

    def report(self, address: str) -> None:
        """The address on stdout."""
        print(address)


@dataclass(frozen=True)
class PullStore:
    """Download a store from the Hugging Face hub."""

    repository: Positional[str]
    """Hub id of the data set."""
    output: str
    """Folder of the store."""
    revision: str = ""
    """Branch, tag or commit; empty for the main branch."""

    def run(self) -> "LatentStore":
        """Download."""
        from interlat.store.hub import pull

        pull(self.repository, self.output, self.revision)
        return open_store(self.output)

    def report(self, store: "LatentStore") -> None:
        """How much there is."""
        say(f"{len(store)} thoughts in {self.output}")
