"""Nothing on disk is lost or half written, whatever the file system does."""

import errno
import hashlib
import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from interlat import files
from interlat.errors import StorageError
from interlat.files import (
    append_line,
    atomic_folder,
    atomic_path,
    lock,
    locked,
    read_lines,
    remove_leftovers,
    sha256_of,
    utf8,
    write_atomically,
)
from kill_rounds import kill_rounds, same_files, same_lines


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
    # No torn piece stays in the file: other programs read every line.
    assert [json.loads(line) for line in path.read_text().splitlines()] == [*before, {"item": 3}]


@pytest.mark.parametrize("tail", [b"\0" * 40, b"5", b'{"item": "\xc3', b"[" * 5000], ids=["NULs", "5", "half", "deep"])
def test_a_tail_that_is_no_record_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"item": 1}\n' + tail)
    append_line(path, {"item": 2})
    assert path.read_bytes() == b'{"item": 1}\n{"item": 2}\n'


@pytest.mark.parametrize(
    "line", ["5", '"item"', "[1]", "{}", '{"item": 1}', '{"item": "a", "won": 1}', '{"item": ["a"], "won": true}']
)
def test_a_foreign_line_is_named_with_its_file(tmp_path: Path, line: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(f'{{"item": "a", "won": true, "more": 1}}\n\n{line}\n')
    with pytest.raises(
        StorageError, match=re.escape(f"line 3 of {path} is {line}, expected an object with item (str)")
    ):
        read_lines(path, {"item": str, "won": bool})


def test_a_file_that_cannot_be_read_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=f"cannot read {tmp_path}: Is a directory"):
        read_lines(tmp_path)


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


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_files_have_the_rights_that_the_umask_gives(tmp_path: Path, umask: int) -> None:
    """safetensors makes files that their owner alone can read."""
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "one.safetensors") as temporary:
            save_file({"x": torch.zeros(1)}, temporary)
        with atomic_folder(tmp_path / "model") as folder:
            (folder / "part").mkdir()
            save_file({"x": torch.zeros(1)}, folder / "part" / "x.safetensors")
            (folder / "run.sh").touch(0o700)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    plain = 0o666 & ~umask
    assert modes == {"one.safetensors": plain, "x.safetensors": plain, "run.sh": plain | 0o700 & ~umask}


ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EROFS: "nothing can be written to that file system",
    errno.EACCES: "get the permission",
    errno.ENOTDIR: "something of another kind has that name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "check the file system",
}


@pytest.mark.parametrize("number", ADVICE, ids=errno.errorcode.get)
def test_the_advice_is_that_for_the_error(tmp_path: Path, number: int) -> None:
    with (
        pytest.raises(StorageError, match=f"{re.escape(os.strerror(number))}; {ADVICE[number]}"),
        atomic_path(tmp_path / "x"),
    ):
        raise OSError(number, os.strerror(number))


def write_folder(target: Path, content: str) -> None:
    with atomic_folder(target) as temporary:
        for name in ("a", "b"):
            (temporary / name).write_text(content)


CALLS = ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "chmod")


def killed_at(number: int, after: bool, action: Callable[[], object], exchange: bool) -> bool:
    """Let a process of its own die at the call ``number`` to the file system; whether it lived to the end."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    count = 0

    def deadly(call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object, **named: object) -> object:
            nonlocal count
            count += 1
            if count == number and not after:
                os._exit(9)
            try:
                return call(*arguments, **named)
            finally:
                if count == number:
                    os._exit(9)

        return wrapped

    try:
        for name in CALLS:
            setattr(os, name, deadly(getattr(os, name)))
        files._exchanged = deadly(files._exchanged) if exchange else lambda *_: False  # type: ignore[assignment]
        action()
    except BaseException:
        os._exit(1)
    os._exit(0)


@pytest.mark.parametrize("exchange", [True, False], ids=["exchanged", "renamed"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("old", ["old", ""], ids=["replaced", "new"])
def test_a_folder_is_whole_wherever_its_writer_dies(tmp_path: Path, exchange: bool, after: bool, old: str) -> None:
    for number in range(1, 100):
        target = tmp_path / str(number) / "model"
        target.parent.mkdir()
        if old:
            write_folder(target, old)
        lived = killed_at(number, after, lambda target=target: write_folder(target, "new"), exchange)  # type: ignore[misc]
        if not exchange:
            # Between two renamings nothing may be there; it comes back.
            remove_leftovers(target.parent)
        found = [(target / name).read_text() for name in ("a", "b")] if target.exists() else []
        assert found in ([["old"] * 2, ["new"] * 2] if old else [[], ["new"] * 2])
        remove_leftovers(target.parent)
        assert os.listdir(target.parent) in ([["model"]] if old else [["model"], []])
        if lived:
            break
    assert lived and number > 7 and found == ["new"] * 2


def test_the_old_folder_is_there_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kill but a look from outside, at every call to the file system."""
    target = tmp_path / "model"
    write_folder(target, "old")
    for name in CALLS:
        call = getattr(os, name)

        def watched(*arguments: object, call: Callable[..., object] = call, **named: object) -> object:
            assert len(list(target.iterdir())) == 2
            return call(*arguments, **named)

        monkeypatch.setattr(os, name, watched)
    write_folder(target, "new")
    assert (target / "a").read_text() == "new"


def test_a_linked_folder_is_replaced_where_it_lies(tmp_path: Path) -> None:
    write_folder(tmp_path / "disk" / "model", "old")
    (tmp_path / "model").symlink_to(tmp_path / "disk" / "model")
    write_folder(tmp_path / "model", "new")
    assert (tmp_path / "model").is_symlink() and (tmp_path / "disk" / "model" / "a").read_text() == "new"


def test_a_folder_replaces_no_file(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("mine")
    with pytest.raises(StorageError, match="Not a directory"), atomic_folder(tmp_path / "model"):
        pass
    assert (tmp_path / "model").read_text() == "mine"


def test_leftovers_of_living_processes_and_other_files_stay(tmp_path: Path) -> None:
    names = [f".x.{os.getpid()}-00000000.tmp", ".x.tmp", ".hidden", "x.1-00000000.tmp", ".x.999999999-0000000.tmp"]
    for name in [*names, ".x.999999999-00000000.tmp", ".y.999999999-00000000.tmp"]:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, "x")
    assert sorted(os.listdir(tmp_path)) == sorted([*names, ".y.999999999-00000000.tmp"])
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(names)


HOLDER = """
import sys, time
from interlat.files import locked
with locked(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(100)
"""


def test_a_locked_folder_is_named_with_its_process_until_that_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"locked\n"
        with (
            pytest.raises(StorageError, match=rf"another process \(process {holder.pid}\) writes to {folder}"),
            locked(folder),
        ):
            pass
        (folder / f".checkpoint.{holder.pid}-00000000.tmp").touch()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with locked(folder):
        assert (folder / ".lock").read_text() == f"{os.getpid()}\n"
        assert os.listdir(folder) == [".lock"]
        with pytest.raises(StorageError, match=f"process {os.getpid()}"), locked(folder):
            pass
    assert os.listdir(folder) == []


def test_a_run_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="refused"), locked(tmp_path / "runs" / "one"):
        raise ValueError("refused")
    assert os.listdir(tmp_path) == []
    with locked(tmp_path / "runs" / "one"):
        (tmp_path / "runs" / "one" / "x").touch()
    assert os.listdir(tmp_path / "runs" / "one") == ["x"]


def test_an_error_in_a_locked_folder_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locked(tmp_path):
        (tmp_path / "missing").read_text()


def test_a_lock_file_that_was_removed_in_between_locks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, flock, calls = tmp_path / "file", files.fcntl.flock, []

    def slow(handle: object, how: int) -> None:
        if not calls:
            path.unlink()
        calls.append(how)
        flock(handle, how)  # type: ignore[arg-type]

    monkeypatch.setattr(files.fcntl, "flock", slow)
    with lock(path) as handle:
        assert len(calls) == 2 and os.fstat(handle.fileno()).st_ino == path.stat().st_ino
        with pytest.raises(StorageError, match="another process writes to"):
            lock(path)


WRITER = """
import sys, time
from pathlib import Path
from interlat.files import append_line, locked, read_lines
folder, careful = Path(sys.argv[1]), sys.argv[2] == "careful"
with locked(folder):
    done = {line["item"] for line in read_lines(folder / "lines.jsonl")} if careful else ()
    for item in range(40):
        if item not in done:
            append_line(folder / "lines.jsonl", {"item": item, "square": item**2, "seconds": time.time()})
            time.sleep(0.005)
"""
COMPARED = same_lines("lines.jsonl", ["item"])


@pytest.mark.parametrize(("how", "differs"), [("careful", False), ("careless", True)])
def test_kills_find_what_they_do_harm_to(tmp_path: Path, how: str, differs: bool) -> None:
    result = kill_rounds(lambda folder: [sys.executable, "-c", WRITER, str(folder), how], tmp_path, 3, COMPARED)
    assert result.kills == 3 and bool(result.differences) == differs and not result.leftovers
    if differs:
        assert "records twice" in result.differences[0]


def test_files_and_records_are_compared(tmp_path: Path) -> None:
    for name, square in (("one", 4), ("other", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lines.jsonl").write_text(json.dumps({"item": 2, "square": square, "seconds": square}))
        (tmp_path / name / "same").write_text("same")
    folders = tmp_path / "one", tmp_path / "other"
    assert COMPARED(*folders) == ["lines.jsonl: 1 of 1 records differ, such as ('2',)"]
    assert same_files("*")(*folders) == ["lines.jsonl differs"] and same_files("same")(*folders) == []
    assert same_lines("lines.jsonl", ["item"], ["seconds", "square"])(*folders) == []
