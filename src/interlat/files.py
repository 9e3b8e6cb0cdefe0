"""Writing files so that nothing on disk is ever lost or half written."""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from interlat.errors import InputError, StorageError


def sha256_of(data: bytes | memoryview) -> str:
    """The SHA-256 of ``data`` in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _storage_error(path: Path, error: OSError) -> StorageError:
    reason = error.strerror or str(error)
    return StorageError(f"cannot write {path}: {reason}; free some space or choose another output place")


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

    If the block raises, the temporary file is removed and what stood at ``path`` is untouched.

    Raises:
        StorageError: the file system refused (no space, no permission, no such place).
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with storage_errors(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with open(temporary, "rb+") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, target)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def require_empty(path: Path) -> None:
    """Raise `InputError` where something stands at ``path`` already, other than an empty folder."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path} is not empty; give a new folder")


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder that takes the place of ``path`` once the block has ended well.

    If the block raises, the temporary folder is removed and what stood at ``path`` is untouched.

    Raises:
        StorageError: the file system refused.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.tmp")
    with storage_errors(target):
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            yield temporary
            shutil.rmtree(target, ignore_errors=True)
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


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

    A line that an earlier, killed process left without its newline is closed first: readers skip it.

    Raises:
        StorageError: the file system refused; what was in the file before is kept.
    """
    target = Path(path)
    line = utf8(json.dumps(record, ensure_ascii=False) + "\n")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "ab+") as handle:
            size = handle.seek(0, os.SEEK_END)
            if size:
                handle.seek(size - 1)
                if handle.read(1) != b"\n":
                    line = b"\n" + line
            handle.write(line)
            handle.flush()
            os.fsync(handle.fileno())


def read_lines(path: str | Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; a line torn by a killed writer is left out.

    Returns an empty list where there is no such file.
    """
    target = Path(path)
    if not target.exists():
        return []
    records = []
    # Not splitlines(): it would also cut at characters that may stand inside a JSON string, such as U+2028.
    for line in target.read_text(encoding="utf-8", errors="replace").split("\n"):
        with contextlib.suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return records
