"""Downloading a folder: all of it, checked, or nothing."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from interlat import hub
from interlat.errors import InputError, InterlatError
from interlat.files import atomic_folder, locked, storage_errors
from interlat.hub import Remote, RepositoryType
from interlat.sharing.kinds import CARD_FILE, Kind, KindName, kind_among, kind_named, paths_in


@dataclass(frozen=True)
class Pulled:
    """What a download did."""

    kind: KindName
    commit: str
    use: str
    """How it is used, in one line."""
    was_there: bool
    """Whether the folder held the very same files before."""


def pull(repository: str, output: str | Path, *, kind: KindName | None = None, revision: str = "") -> Pulled:
    """Download an agent, a connector or a latent store.

    The folder appears whole or not at all. A call that was killed goes on with the files that it had, in a hidden
    folder beside ``output``. Files that are not known to belong to the kind are not fetched.

    Args:
        repository: hub id.
        output: the folder; must not exist, be empty, or hold the same files.
        kind: what it has to be; None recognises it by its files, in a model or a data set.
        revision: branch, tag or commit; empty for the main branch.

    Raises:
        InputError: the hub refused, the repository holds nothing of this kind, or the output holds something else.
        CheckpointError, StorageError: what was downloaded is not whole or damaged, or the file system refused.
    """
    hub.check_repository(repository, "repository")
    # A link is followed, so that the folder may lie on another disk.
    target = Path(os.path.realpath(Path(output).expanduser()))
    found, remote = _find(repository, kind, revision)
    names = found.shared(remote.files)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        if not _is_there(target, found, remote, names):
            raise InputError(
                f"output is {output}, which exists and is not {repository} at {remote.commit[:12]}; give a new folder"
            )
        return Pulled(found.name, remote.commit, found.handling.use(Path(output)), True)
    with locked(target.parent, target.name):
        _fetch(remote, found, names, target)
    return Pulled(found.name, remote.commit, found.handling.use(Path(output)), False)


def _find(repository: str, wanted: KindName | None, revision: str) -> tuple[Kind, Remote]:
    """The repository and what it holds: a model and a data set may have one name."""
    types: tuple[RepositoryType, ...] = (kind_named(wanted).repository_type,) if wanted else get_args(RepositoryType)
    remotes = [remote for type in types if (remote := hub.look_up(repository, type, revision)) is not None]
    if not remotes:
        what = " or ".join({"model": "model", "dataset": "data set"}[type] for type in types)
        raise InputError(
            f"there is no {what} {repository} on the hub that your login may see; check its name, and log in "
            "(`hf auth login`, or HF_TOKEN) if it is private"
        )
    kinds = [(kind, remote) for remote in remotes if (kind := kind_among(remote.files, repository)) is not None]
    kinds = [(kind, remote) for kind, remote in kinds if kind.repository_type == remote.type]
    if wanted:
        kinds = [(kind, remote) for kind, remote in kinds if kind.name == wanted]
    if not kinds:
        needed = kind_named(wanted).wanted if wanted else "the files of an agent, a connector or a store"
        raise InputError(
            f"{repository} holds no {wanted or 'such thing'}: expected {needed}; "
            "`interlat store import` reads other data sets"
        )
    if len(kinds) > 1:
        names = " and ".join(kind.name for kind, _ in kinds)
        raise InputError(f"{repository} is {names}, a model and a data set of one name; say which with --kind")
    return kinds[0]


def _is_there(target: Path, kind: Kind, remote: Remote, names: list[str]) -> bool:
    """Whether a folder holds these very files, the card apart, and no others of this kind."""
    wanted = [name for name in names if name != CARD_FILE]
    there = [name for name in kind.shared(paths_in(target)) if name != CARD_FILE] if target.is_dir() else []
    return there == wanted and all(remote.files[name].is_at(target / name) for name in wanted)


def _fetch(remote: Remote, kind: Kind, names: list[str], target: Path) -> None:
    work = target.with_name(f".{target.name}.download")
    with storage_errors(target):
        work.mkdir(parents=True, exist_ok=True)
    hub.download(remote, names, work)
    with atomic_folder(target) as temporary:
        for name in names:
            place = temporary / name
            place.parent.mkdir(parents=True, exist_ok=True)
            (work / name).replace(place)
        # What is left are the notes of the client, and files of another commit.
        shutil.rmtree(work)
        try:
            kind.handling.check(temporary)
        except InterlatError as error:
            raise type(error)(str(error).replace(str(temporary), f"{remote.repository} on the hub")) from error
