"""Uploading a folder: recognised, checked, described, and then one commit."""

from dataclasses import dataclass
from pathlib import Path

from interlat import hub
from interlat.errors import InputError
from interlat.sharing.card import chosen_card, new_card, results_section
from interlat.sharing.kinds import (
    CARD_FILE,
    STORE,
    Kind,
    KindName,
    is_for_people,
    kind_among,
    kind_named,
    kind_of_folder,
    paths_in,
)


@dataclass(frozen=True)
class Pushed:
    """What an upload did."""

    kind: KindName
    address: str
    """Of the commit."""
    private: bool
    """Whether the repository is private."""
    card: str
    """Whose card it is: ``written``, ``of the folder`` or ``of the repository``."""
    left_out: tuple[str, ...]
    """Files of the folder that were not uploaded, since they are none of its kind."""


def push(
    folder: str | Path,
    repository: str,
    *,
    kind: KindName | None = None,
    results: str | Path = "",
    license: str = "",
    private: bool = True,
    revision: str = "",
    replace_card: bool = False,
) -> Pushed:
    """Upload an agent, a connector or a latent store, with a card, as one commit.

    Nothing is uploaded before all of it has been checked. Only files that are known to belong to its kind are: no
    pickle, no checkpoint of an optimizer, nothing half written. What the repository has of them and the folder has not
    goes; its history stays.

    Args:
        folder: the folder.
        repository: hub id, made if it does not exist.
        kind: what the folder has to be; None recognises it by its files.
        results: output folder of an evaluation of these very files, whose numbers go into the card.
        license: identifier for the card; empty names none.
        private: whether a new repository is private; an existing public one is then refused.
        revision: branch, made if it does not exist; empty for the main one.
        replace_card: write a new card, also where somebody has written one.

    Raises:
        InputError: the folder is of no kind, or of another; the results are of something else; the hub refused.
        CheckpointError, StorageError: the folder is not whole, or damaged.
    """
    place = Path(folder).expanduser()
    hub.check_repository(repository, "repo")
    found = kind_named(kind) if kind else kind_of_folder(place)
    found.handling.check(place)
    everything = paths_in(place)
    names = found.shared(everything)
    content = [name for name in names if not is_for_people(name)]
    section = ""
    if results:
        if found is STORE:
            raise InputError(
                f"results is {results}, but {folder} is a store, which no evaluation measures; leave it out"
            )
        # An evaluation needs transformers, which a store does without.
        from interlat.sharing.results import measured

        section = results_section(measured(results, place, content, repository))
    card = new_card(found, found.handling.describe(place, repository), repository, license=license, results=section)
    # Also asked here, where no repository has been made yet.
    card, whose = chosen_card(place, "", card, section=section, license=license, replace=replace_card)
    remote = hub.prepare(repository, found.repository_type, private=private, revision=revision)
    _check_same_kind(found, remote)
    if whose == "written":
        there = hub.read_text(remote, CARD_FILE)
        card, whose = chosen_card(place, there, card, section=section, license=license, replace=replace_card)
    files: dict[str, Path | bytes] = {name: place / name for name in names if name != CARD_FILE}
    files[CARD_FILE] = card.encode()
    stale = [name for name in found.shared(remote.files) if name not in files and not is_for_people(name)]
    address = hub.upload(remote, files, stale, message=f"Upload the {found.name}", revision=revision)
    left_out = tuple(name for name in everything if name not in files)
    return Pushed(found.name, address, remote.private, whose, left_out)


def _check_same_kind(kind: Kind, remote: hub.Remote) -> None:
    there = kind_among(remote.files, remote.repository)
    if there is not None and there is not kind:
        raise InputError(
            f"{remote.repository} on the hub holds another kind of thing ({there.name}) than the folder ({kind.name}); "
            "give another repository"
        )
