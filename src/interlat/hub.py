"""Repositories on the Hugging Face hub: what is in one, one commit up, one snapshot down, and errors of one line.

The client of the hub knows the address (``HF_ENDPOINT``) and the login (``HF_TOKEN`` or ``hf auth login``).
"""

import contextlib
import errno
import glob
import hashlib
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoFile
from huggingface_hub.errors import (  # type: ignore[attr-defined] # HTTPError, the root of all that the client raises
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from interlat.errors import InputError, StorageError
from interlat.files import file_digest

RepositoryType = Literal["model", "dataset"]
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
_LOG_IN = "log in (`hf auth login`, or HF_TOKEN)"


@contextlib.contextmanager
def hub_errors(repository: str, *others: type[Exception]) -> Iterator[None]:
    """Turn what the hub or its client refuses into one line about ``repository``.

    Args:
        repository: hub id, for the error.
        others: further exceptions that mean the same.

    Raises:
        InputError: no network, no such repository, no permission, a name that cannot be.
        StorageError: the file system refused what was downloaded.
    """
    refusals: tuple[type[Exception], ...] = (OSError, ValueError, HTTPError, *others)
    try:
        yield
    except refusals as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise StorageError(
                f"cannot write what {repository} on the hub holds: {error.strerror}; free some space, or choose "
                "another output place"
            ) from error
        raise InputError(f"{repository} on the hub is out of reach: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What an error means and what to do, in one line."""
    # The client wraps what went wrong with one file, and what kept it from asking for a list of files.
    if isinstance(error, LocalEntryNotFoundError | RuntimeError) and error.__cause__ is not None:
        return _reason(error.__cause__)
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set; unset it"
    if isinstance(error, GatedRepoError):
        return f"it is gated; accept its terms on its page of the hub and {_LOG_IN}"
    if isinstance(error, RepositoryNotFoundError):
        return f"there is no such repository that your login may see; check its name, and {_LOG_IN} if it is private"
    if isinstance(error, RevisionNotFoundError):
        return "it has no such revision; give one of its branches, tags or commits"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        said = error.server_message or error.response.headers.get("X-Error-Message") or error.response.reason_phrase
        advice = {401: f"your token is not valid; {_LOG_IN}", 403: f"{_LOG_IN} with a token that may do this"}
        other = "try again later" if status >= 500 or status == 429 else "correct what it names"
        return f"it answers {status} ({_one_line(said)}); {advice.get(status, other)}"
    reason = _one_line(str(error)) or type(error).__name__
    return f"{reason}; check its name, the network, and your login (`hf auth login`)"


def _one_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0].strip().rstrip(".")


def check_repository(name: str, field: str) -> None:
    """Refuse what is no hub id of the form OWNER/NAME.

    Args:
        field: what the error calls it.

    Raises:
        InputError: it has another form.
    """
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name, re.ASCII):
        raise InputError(f"{field} is {name!r}, expected a hub id such as owner/name; correct it")


@dataclass(frozen=True)
class RemoteFile:
    """A file in a repository."""

    size: int
    sha256: str
    """Of a large file; empty for one that git itself keeps."""
    blob: str
    """What git calls the content: the SHA-1 of ``blob SIZE`` and the bytes."""

    def is_at(self, path: Path) -> bool:
        """Whether the file at ``path`` has this content."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        if self.sha256:
            return file_digest(path) == self.sha256
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == self.blob


@dataclass(frozen=True)
class Remote:
    """A repository at one commit."""

    repository: str
    type: RepositoryType
    commit: str
    private: bool
    files: Mapping[str, RemoteFile]
    """Path in the repository -> file."""


def look_up(repository: str, type: RepositoryType, revision: str = "") -> Remote | None:
    """A repository of one type as it is now; None where there is none that the login may see.

    Args:
        revision: branch, tag or commit; empty for the main branch.

    Raises:
        InputError: the hub is out of reach, or has no such revision.
    """
    api = HfApi()
    place: dict[str, Any] = {"repo_id": repository, "repo_type": type}
    with hub_errors(repository):
        if not api.repo_exists(**place):
            return None
        info = api.repo_info(**place, revision=revision or None)
        tree = api.list_repo_tree(**place, revision=info.sha, recursive=True)
        files = {
            entry.path: RemoteFile(entry.size, entry.lfs.sha256 if entry.lfs else "", entry.blob_id)
            for entry in tree
            if isinstance(entry, RepoFile)
        }
    return Remote(repository, type, str(info.sha), bool(info.private), files)


def prepare(repository: str, type: RepositoryType, *, private: bool, revision: str = "") -> Remote:
    """The repository that something is uploaded to, made if it does not exist, and its branch likewise.

    Args:
        private: whether a new repository is private. An existing one stays what it is; a public one is refused where a
            private one is meant.
        revision: branch; empty for the main one.

    Raises:
        InputError: the hub refused, or the repository is public.
    """
    api = HfApi()
    place: dict[str, Any] = {"repo_id": repository, "repo_type": type}
    with hub_errors(repository):
        if not api.repo_exists(**place):
            api.create_repo(**place, private=private)
        elif private and not api.repo_info(**place).private:
            raise InputError(f"{repository} on the hub is public; upload there with --no-private, or give another name")
        if revision:
            api.create_branch(**place, branch=revision, exist_ok=True)
    found = look_up(repository, type, revision)
    if found is None:
        raise InputError(f"{repository} was made on the hub, but your token may not read it; {_LOG_IN} with another")
    return found


def upload(
    remote: Remote, files: Mapping[str, Path | bytes], stale: Collection[str], *, message: str, revision: str = ""
) -> str:
    """Upload files as one commit: the repository has all of them afterwards or is what it was.

    Args:
        remote: what `prepare` gave; a repository that has changed since is refused.
        files: path in the repository -> file, or its bytes.
        stale: paths in the repository that go.
        message: of the commit.
        revision: the branch that was prepared.

    Returns:
        Address of the commit.

    Raises:
        InputError: the hub refused.
    """
    added = [CommitOperationAdd(name, content) for name, content in files.items()]
    gone = [CommitOperationDelete(name, is_folder=False) for name in stale]
    # What goes wrong with one file is a RuntimeError about it.
    with hub_errors(remote.repository, RuntimeError), _bars_on_terminals():
        commit = HfApi().create_commit(
            remote.repository,
            [*gone, *added],
            repo_type=remote.type,
            revision=revision or None,
            parent_commit=remote.commit,
            commit_message=message,
        )
    return commit.commit_url


def download(remote: Remote, names: Collection[str], folder: Path) -> None:
    """Download files into a folder that is kept between calls; those that are whole there are not fetched again.

    Every file is compared with the digest that the hub lists: the client itself compares sizes alone.

    Raises:
        InputError: the hub refused, or gave other bytes than it lists; those were removed.
        StorageError: the file system refused.
    """
    with hub_errors(remote.repository, RuntimeError), _bars_on_terminals():
        HfApi().snapshot_download(
            remote.repository,
            repo_type=remote.type,
            revision=remote.commit,
            allow_patterns=[glob.escape(name) for name in names],
            local_dir=folder,
        )
    damaged = [name for name in names if not remote.files[name].is_at(folder / name)]
    for name in damaged:
        (folder / name).unlink(missing_ok=True)
    if damaged:
        raise InputError(
            f"{', '.join(damaged)} of {remote.repository} came damaged: the bytes are not those that the hub lists; "
            "they were removed, so run the same command again"
        )


def read_text(remote: Remote, name: str) -> str:
    """The text of a small file of a repository; empty where there is none.

    Raises:
        InputError: the hub refused.
    """
    if name not in remote.files:
        return ""
    with hub_errors(remote.repository), _bars_on_terminals():
        path = HfApi().hf_hub_download(remote.repository, name, repo_type=remote.type, revision=remote.commit)
        return Path(path).read_text(encoding="utf-8")


@contextlib.contextmanager
def _bars_on_terminals() -> Iterator[None]:
    """Let the client draw its progress bars on a terminal only; in a log each step would be a line."""
    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
