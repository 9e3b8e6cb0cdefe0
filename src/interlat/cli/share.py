"""`interlat push` and `interlat pull`: agents, connectors and latent stores over the Hugging Face hub."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from interlat.progress import say

if TYPE_CHECKING:
    from interlat.sharing.pull import Pulled
    from interlat.sharing.push import Pushed

CARDS = {
    "written": "a card was written",
    "of the folder": "README.md of the folder is the card",
    "of the repository": "README.md of the repository was kept; --replace-card writes a new one",
}
"""Whose card it is -> what is said about it."""
_LISTED = 8


@dataclass(frozen=True)
class Push:
    """Upload an agent, a connector or a latent store to the Hugging Face hub, with a card.

    The files of the folder show which of these it is. The folder is checked before anything is uploaded, and one commit
    holds all of it. Only files that are known to belong there are uploaded. The login is that of HF_TOKEN or `hf auth
    login`.
    """

    folder: Positional[str]
    """Folder of the agent, connector or store."""
    repo: str
    """Hub id, such as owner/name. It is created if it does not exist."""
    results: str = ""
    """Output folder of `interlat evaluate` or `interlat team`, run with exactly these files.
    Its table, items, settings and hash go into the card."""
    license: str = ""
    """Identifier of the licence for the card, such as apache-2.0. Empty names none."""
    private: bool = True
    """Make a new repository private, and refuse an existing public one.
    With --no-private a new one is public, and an existing public one is written to."""
    revision: str = ""
    """Branch, created if it does not exist. Empty means the main branch."""
    replace_card: bool = False
    """Write a new card even if the folder or the repository has a README.md that somebody wrote."""

    def run(self) -> "Pushed":
        from interlat.sharing.push import push

        return push(
            self.folder,
            self.repo,
            results=self.results,
            license=self.license,
            private=self.private,
            revision=self.revision,
            replace_card=self.replace_card,
        )

    def report(self, pushed: "Pushed") -> None:
        """Print the address of the commit."""
        show_push(pushed)


def show_push(pushed: "Pushed") -> None:
    """The address of the commit on stdout; what it is, and what was left out, on stderr."""
    print(pushed.address)
    say(f"{pushed.kind} in a {'private' if pushed.private else 'public'} repository; {CARDS[pushed.card]}")
    if pushed.left_out:
        shown = ", ".join(pushed.left_out[:_LISTED])
        more = f" and {len(pushed.left_out) - _LISTED} more" if len(pushed.left_out) > _LISTED else ""
        say(f"left out, since no {pushed.kind} needs them: {shown}{more}")


@dataclass(frozen=True)
class Pull:
    """Download an agent, a connector or a latent store from the Hugging Face hub.

    The folder appears only when it is complete and checked. The same command continues an interrupted download.
    """

    repository: Positional[str]
    """Hub id, such as owner/name."""
    output: str
    """Folder to download to. It must not exist, be empty, or hold the same files."""
    revision: str = ""
    """Branch, tag or commit. Empty means the main branch."""
    kind: Literal["any", "agent", "connector", "store"] = "any"
    """What to download, if a model and a data set have the same name."""

    def run(self) -> "Pulled":
        from interlat.sharing.pull import pull

        return pull(
            self.repository, self.output, kind=None if self.kind == "any" else self.kind, revision=self.revision
        )

    def report(self, pulled: "Pulled") -> None:
        """Say what it is and how it is used."""
        there = "was there already" if pulled.was_there else f"is in {self.output}"
        say(f"{pulled.kind} {self.repository} at {pulled.commit[:12]} {there}")
        say(f"use it: {pulled.use}")
