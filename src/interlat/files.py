"""Writing files so that nothing on disk is ever lost or half written."""

import contextlib
import ctypes
import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from interlat.errors import InputError, StorageError
from interlat.places import ADAPTER_CONFIG, adapter_base, model_place

LOCK_FILE = ".lock"
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space or choose another output place"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "get the permission to write there or choose another output place"),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR), "something of another kind has that name; rename it"),
    errno.EROFS: "nothing can be written to that file system; choose another output place",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def sha256_of(data: bytes | memoryview) -> str:
    """The SHA-256 of ``data`` in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _storage_error(path: Path, error: OSError) -> StorageError:
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "check the file system or choose another output place")
    return StorageError(f"cannot write {path}: {reason}; {advice}")


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what a file system refuses into a `StorageError` about ``path``.

    safetensors and tokenizers write in Rust and raise exceptions of their own, whose text ends with the number.
    """
    try:
        yield
    except OSError as error:
        raise _storage_error(path, error) from error
    except Exception as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise _storage_error(path, OSError(int(number[1]), os.strerror(int(number[1])))) from error


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that takes its name once the block has ended well.

    If the block raises, the temporary file is removed and what stood at ``path`` is untouched. The file gets the rights
    that the umask gives to a new one, whoever writes it: safetensors alone would keep it to its owner.

    Raises:
        StorageError: the file system refused (no space, no permission, no such place).
    """
    target = Path(path)
    temporary = _temporary(target)
    with storage_errors(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch(exist_ok=False)
            mode = temporary.stat().st_mode
            yield temporary
            temporary.chmod(mode)
            _to_disk(temporary)
            os.replace(temporary, target)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _temporary(target: Path, ending: str = ".tmp") -> Path:
    """A name beside ``target`` that nobody else takes and that says whose it is, see `remove_leftovers`."""
    return target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}{ending}")


def _to_disk(path: Path) -> None:
    with open(path, "rb") as handle:
        os.fsync(handle.fileno())


def require_empty(path: Path) -> None:
    """Raise `InputError` where ``path`` exists and is no empty folder."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path} is not empty; give a new folder")


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder that takes the place of ``path`` once the block has ended well.

    Whenever the process dies, ``path`` is the old folder or the new one, whole: on Linux the two swap their
    names in one step. Where system or file system cannot do that, there is a moment between two renamings in which the
    old one has a hidden name beside ``path``; the next call with this path, or `locked` on its parent, brings it back.
    If the block raises, the temporary folder is removed and what stood at ``path`` is untouched. Files get the rights
    that the umask gives, as in `atomic_path`.

    Raises:
        StorageError: the file system refused, or ``path`` is a file.
    """
    # A link is followed, so that a model may lie on another disk.
    target = Path(os.path.realpath(path))
    temporary = _temporary(target)
    with storage_errors(Path(path)):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent, target.name)
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        try:
            temporary.mkdir()
            yield temporary
            rights = temporary.stat().st_mode & 0o666
            for file in temporary.rglob("*"):
                if file.is_file() and not file.is_symlink():
                    file.chmod(file.stat().st_mode | rights)
                    _to_disk(file)
            _put_in_place(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(new: Path, target: Path) -> None:
    """Give the folder ``new`` the name ``target``, and what had that name a temporary one."""
    if not target.exists():
        new.rename(target)
    elif not _exchanged(new, target):
        old = _temporary(target, ".old")
        target.rename(old)
        new.rename(target)
        shutil.rmtree(old, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two paths swap their names in one step (RENAME_EXCHANGE of renameat2(2)); False where that is impossible."""
    here, exchange = -100, 2
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    if rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number))


def remove_leftovers(directory: Path, name: str = "") -> None:
    """Remove what killed processes left half written in a folder, of ``name`` or of anything; a folder that one of them
    had put aside takes its name again.

    Raises:
        OSError: the file system refused.
    """
    pattern = re.compile(r"\.(?P<name>.+)\.(?P<process>\d{1,9})-[0-9a-f]{8}\.(?P<ending>tmp|old)")
    for path in sorted(directory.glob(f".{glob.escape(name) or '*'}.*-*.???")):
        found = pattern.fullmatch(path.name)
        if found is None or _is_alive(int(found["process"])):
            continue
        target = path.with_name(found["name"])
        if found["ending"] == "old" and not target.exists():
            path.rename(target)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def lock(path: Path, taken: str = "") -> IO[bytes]:
    """Open the file ``path`` for appending and keep every other process from doing so until it is closed.

    The lock (flock(2)) belongs to the open file: it ends with the process, however that ends. The file is made if there
    is none, and must not be replaced by renaming while it is locked.

    Args:
        taken: what it means that another process holds it, for the error text.

    Raises:
        StorageError: another process holds it, or the file system refused.
    """
    with storage_errors(path):
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = open(path, "ab+")  # noqa: SIM115 (the caller closes it)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                handle.close()
                reason = taken or f"another process writes to {path}"
                raise StorageError(f"{reason}; wait for it or stop it") from error
            except OSError:
                handle.close()
                raise
            # Whoever held the lock may have removed the file between the two calls.
            if path.exists() and os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                return handle
            handle.close()


@contextlib.contextmanager
def locked(directory: str | Path, name: str = "") -> Iterator[None]:
    """Be the only process that writes to an output folder, and remove what a killed one left half written there.

    While the block runs, a hidden file in the folder holds the number of this process. A folder that was made for it
    and is still empty in the end is removed, so that a run that is refused leaves nothing.

    Args:
        name: the one file in it that is to be written; empty means all.

    Raises:
        StorageError: another process writes there; or the file system refused.
    """
    folder = Path(directory)
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    file = folder / (f".{name}{LOCK_FILE}" if name else LOCK_FILE)
    try:
        handle = lock(file)
    except StorageError as error:
        if not isinstance(error.__cause__, BlockingIOError):
            raise
        owner = ""
        with contextlib.suppress(OSError):  # it has just ended
            owner = file.read_text(encoding="utf-8", errors="replace").strip()
        named = f" (process {owner})" if owner.isdecimal() else ""
        raise StorageError(
            f"another process{named} writes to {folder / name}; wait for it, stop it, or choose another output place"
        ) from error
    with handle:
        try:
            with storage_errors(folder):
                handle.truncate(0)
                handle.write(f"{os.getpid()}\n".encode())
                handle.flush()
                remove_leftovers(folder, name)
            yield
        finally:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
                for place in new:
                    place.rmdir()


def content_digest(model: str) -> str:
    """Digest of what a model is made of: the files of its folder without its card, and of a PEFT adapter's base; the
    GGUF file; for a hub id the name itself.

    Raises:
        CheckpointError: it is a known model that has not been fetched, or an adapter that names no base.
    """
    place = Path(model_place(model))
    if place.is_file():
        return file_digest(place)
    files = sorted(path for path in place.glob("*") if path.is_file() and path.name != "README.md")
    if not files:
        return model
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + bytes.fromhex(file_digest(path)))
    if (place / ADAPTER_CONFIG).is_file():
        digest.update(content_digest(adapter_base(place)).encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_atomically(path: str | Path, content: bytes | str) -> None:
    """Write ``content`` (text as UTF-8) so that a reader sees the old file or the new one, never a part.

    Raises:
        StorageError: the file system refused.
    """
    data = utf8(content) if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def lone_surrogate(text: str) -> re.Match[str] | None:
    """The first half of a pair without the other half: JSON can write one, but it is no Unicode text."""
    return re.search("[\ud800-\udfff]", text)


def utf8(text: str) -> bytes:
    """``text`` in UTF-8. A lone surrogate, which UTF-8 has no bytes for, becomes ``\\ud800``, as JSON writes it."""
    return text.encode(errors="backslashreplace")


def append_line(path: str | Path, record: Mapping[str, Any]) -> None:
    """Append ``record`` as one JSON line and push it to the disk before returning.

    What an earlier, killed process left of a torn last line is cut off first; a whole one that lacks nothing but its
    newline gets it.

    Raises:
        StorageError: the file system refused; what was in the file before is kept.
    """
    target = Path(path)
    line = utf8(json.dumps(record, ensure_ascii=False) + "\n")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "ab+") as handle:
            _close_last_line(handle)
            handle.write(line)
            handle.flush()
            os.fsync(handle.fileno())


def _close_last_line(handle: IO[bytes]) -> None:
    size = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, size - 1))
    if not size or handle.read(1) == b"\n":
        return
    handle.seek(0)
    content = handle.read()
    end = content.rfind(b"\n") + 1
    if isinstance(_parsed(content[end:].decode("utf-8", errors="replace")), dict):
        handle.write(b"\n")
    else:
        handle.truncate(end)


def _parsed(line: str) -> Any:
    """A JSON value; None where the line is torn."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def is_of_type(value: object, kind: type) -> bool:
    """Whether a value that JSON knows is of a type; every number is a float, and no truth value is a number."""
    return type(value) is kind or (kind is float and type(value) is int)


def read_lines(path: str | Path, fields: Mapping[str, type] | None = None) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; a line torn by a killed writer is left out.

    Args:
        path: the file; an empty list is returned where there is none.
        fields: what every record must have: names and the types of the values.

    Raises:
        StorageError: a line is no JSON object, or has not these fields; or the file cannot be read.
    """
    target = Path(path)
    if not target.exists():
        return []
    try:
        content = target.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise StorageError(f"cannot read {target}: {error.strerror}; check the path and its permissions") from error
    needed = fields or {}
    records = []
    # Not splitlines(): it would also cut at characters that may be inside a JSON string, such as U+2028.
    for number, line in enumerate(content.split("\n"), 1):
        record = _parsed(line)
        if record is None:
            continue
        if not isinstance(record, dict) or not all(is_of_type(record.get(name), kind) for name, kind in needed.items()):
            shown = line if len(line) <= 60 else f"{line[:60]}..."
            names = ", ".join(f"{name} ({kind.__name__})" for name, kind in needed.items()) or "names and values"
            raise StorageError(
                f"line {number} of {target} is {shown}, expected an object with {names}; remove that line, or choose "
                "another folder"
            )
        records.append(record)
    return records
