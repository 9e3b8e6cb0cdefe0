"""Nothing on disk is lost or half written, whatever the file system does."""

import errno
import hashlib
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from interlat.errors import StorageError
from interlat.files import append_line, atomic_folder, atomic_path, read_lines, sha256_of, utf8, write_atomically


def test_writing_makes_directories_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_atomically(path, "größer")
    assert path.read_bytes() == "größer".encode()
    write_atomically(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert os.listdir(path.parent) == ["file.txt"]


def test_an_error_while_writing_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_atomically(path, "old")
    with pytest.raises(KeyError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyError("stop")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_a_storage_error_and_nothing_is_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    write_atomically(path, "old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=r"cannot write .*file\.txt: No space left on device; free some space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]
    with pytest.raises(StorageError, match="No space left"):
        append_line(tmp_path / "lines.jsonl", {"item": 1})


def test_a_real_device_without_space_is_a_storage_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(StorageError, match="No space left"):
        append_line("/dev/full", {"item": 1})


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file of this process can grow beyond 1,000 bytes: a refusal by the system itself, in the middle of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(WordLevel({f"word{number}": number for number in range(500)}))
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize(
    "write",
    [
        save_tokenizer,
        lambda folder: save_file({"x": torch.zeros(9999)}, folder / "x.safetensors"),
        lambda folder: (folder / "x").write_bytes(bytes(9999)),
    ],
    ids=["tokenizers", "safetensors", "python"],
)
def test_a_disk_that_fills_up_leaves_the_old_folder(
    tmp_path: Path, small_disk: None, write: Callable[[Path], object]
) -> None:
    with atomic_folder(tmp_path / "model") as temporary:
        (temporary / "old").touch()
    with (
        pytest.raises(StorageError, match=r"cannot write .*model: File too large; free some space"),
        atomic_folder(tmp_path / "model") as temporary,
    ):
        write(temporary)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "old"]
    with atomic_folder(tmp_path / "model") as temporary:
        (temporary / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "new"]


def test_an_error_that_is_not_of_the_disk_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seven"), atomic_folder(tmp_path / "model"):
        raise ValueError("seven")
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_atomically(tmp_path / "file" / "below", "x")


def test_lines_are_appended_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "lines.jsonl"
    assert read_lines(path) == []
    records = [{"item": "a", "text": "zwei\nZeilen"}, {"item": "ü", "steps": 3}]
    for record in records:
        append_line(path, record)
    assert read_lines(path) == records
    assert path.read_text(encoding="utf-8").count("\n") == 2


@pytest.mark.parametrize("cut", range(1, 16))
def test_a_torn_last_line_is_skipped_and_does_not_damage_the_next(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "lines.jsonl"
    append_line(path, {"item": 1})
    append_line(path, {"item": "ü"})
    path.write_bytes(path.read_bytes()[:-cut])
    before = read_lines(path)
    assert before[0] == {"item": 1}
    append_line(path, {"item": 3})
    assert read_lines(path) == [*before, {"item": 3}]


def test_sha256_is_the_standard_one() -> None:
    assert sha256_of(b"abc") == hashlib.sha256(b"abc").hexdigest()
    assert sha256_of(memoryview(b"abc")) == sha256_of(b"abc")


def test_what_utf8_cannot_write_is_read_back_from_a_line(tmp_path):
    record = {"id\udfff": "\\\ud83d\\ \U0001f600"}
    append_line(tmp_path / "x.jsonl", record)
    assert read_lines(tmp_path / "x.jsonl") == [record]
    assert utf8("a\ud800") == b"a\\ud800" and utf8("\U0001f600") == "\U0001f600".encode()


def test_lines_are_cut_at_newlines_only(tmp_path):
    """A text may hold characters that Python takes for the end of a line."""
    path = tmp_path / "lines.jsonl"
    records = [
        {"text": f"a{separator}b"} for separator in ("\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\n", "\r\n")
    ]
    for record in records:
        append_line(path, record)
    assert read_lines(path) == records
