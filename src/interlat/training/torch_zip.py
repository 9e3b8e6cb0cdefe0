"""Reading the tensors of a file that `torch.save` wrote, without unpickling it.

Such a file is a zip archive: ``data.pkl`` describes nested dictionaries of numbers and tensors as a pickle, and the
bytes of each storage are the entry ``data/<key>``. The pickle is parsed, never run: the few instructions that plain
weights need are interpreted here, and any other makes the file unreadable.
"""

import contextlib
import math
import pickletools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from interlat.errors import CheckpointError

ORDERED_DICT = "collections OrderedDict"
REBUILD_TENSOR = "torch._utils _rebuild_tensor_v2"
STORAGES = {
    "torch DoubleStorage": torch.float64,
    "torch FloatStorage": torch.float32,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
}
GLOBALS = {ORDERED_DICT, REBUILD_TENSOR, *STORAGES}
LARGEST_DESCRIPTION = 2**24
MOST_DIMENSIONS = 64
SHOWN_CHARACTERS = 60
ENCRYPTED = 1
GET_WEIGHTS = "get the weights as torch.save writes them, or as a safetensors file"


def read_torch_zip(path: str | Path) -> dict[str, Any]:
    """The nested dictionary in a file of `torch.save`: tensors on the CPU, numbers, texts and None.

    Tensors that shared a storage share it again. Ordered dictionaries become plain ones, in the same order and without
    the ``_metadata`` of state dictionaries.

    Raises:
        CheckpointError: no such file, damaged, not of this format, or anything in it is not plain weights.
    """
    place = Path(path)
    if not place.is_file():
        raise CheckpointError(f"there is no file {place}; expected one that torch.save wrote")
    with _damages(place):
        if not zipfile.is_zipfile(place):
            raise CheckpointError(
                f"{place} is no zip archive, expected the format that torch.save writes since version 1.6; "
                "write the file again with a newer torch"
            )
        with zipfile.ZipFile(place) as archive:
            return _Interpreter(_Archive(place, archive)).run()


@contextlib.contextmanager
def _damages(path: Path) -> Iterator[None]:
    # What zipfile and pickletools raise for bytes that make no sense, and an empty stack or memo in the interpreter.
    senseless = (zipfile.BadZipFile, OSError, EOFError, ValueError, LookupError, NotImplementedError)
    try:
        yield
    except senseless as error:
        reason = " ".join(str(error).split())[:SHOWN_CHARACTERS] or type(error).__name__
        raise CheckpointError(f"{path} is damaged ({reason}); copy it again") from error


@dataclass(frozen=True)
class _Global:
    """A name of the pickle that is allowed; what bears it is never looked up."""

    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: torch.dtype
    count: int


class _Archive:
    """The entries of the zip file: all uncompressed, all in one folder, together not larger than the file."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        entries = archive.infolist()
        self._entries = {entry.filename: entry for entry in entries}
        self._root = next(iter(self._entries), "").partition("/")[0]
        self._read: dict[str, tuple[torch.dtype, Tensor]] = {}
        for name in self._entries:
            parts = name.split("/")
            if parts[0] != self._root or len(parts) < 2 or {"", ".", ".."} & set(parts) or "\\" in name:
                self.refuse(f"the entry {_shown(name)}")
        # Of two entries with one name, another program may read the other one.
        if len(entries) != len(self._entries):
            self.refuse("two entries of one name")
        # torch never compresses. Without compression and with this sum, nothing read is larger than the file.
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & ENCRYPTED for entry in entries):
            self.refuse("compressed or encrypted entries")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            self.refuse("entries that together are larger than the file")
        if self._has("byteorder") and self._bytes("byteorder", len("little")) != b"little":
            self.refuse("numbers in the byte order of another machine")

    def refuse(self, what: str) -> NoReturn:
        raise CheckpointError(f"{self.path} holds {what}, which is not plain weights; {GET_WEIGHTS}")

    def description(self) -> bytes:
        """The pickle."""
        return self._bytes("data.pkl", LARGEST_DESCRIPTION)

    def storage(self, storage: _Storage) -> Tensor:
        """All elements of a storage; the same tensor each time."""
        if storage.key not in self._read:
            data = bytearray(self._bytes(f"data/{storage.key}", storage.count * storage.dtype.itemsize))
            numbers = torch.frombuffer(data, dtype=storage.dtype) if data else torch.empty(0, dtype=storage.dtype)
            self._read[storage.key] = storage.dtype, numbers
        dtype, numbers = self._read[storage.key]
        if dtype != storage.dtype or len(numbers) != storage.count:
            self.refuse("a storage that is not as it is described")
        return numbers

    def _has(self, name: str) -> bool:
        return f"{self._root}/{name}" in self._entries

    def _bytes(self, name: str, most: int) -> bytes:
        if not self._has(name):
            raise CheckpointError(f"{self.path} lacks its entry {_shown(name)}; {GET_WEIGHTS}")
        entry = self._entries[f"{self._root}/{name}"]
        if entry.file_size > most:
            self.refuse(f"{entry.file_size} bytes in {_shown(name)} (expected at most {most})")
        return self._archive.read(entry)


class _Interpreter:
    """The part of the pickle machine that plain weights need."""

    def __init__(self, archive: _Archive) -> None:
        self._archive = archive
        self._stack: list[Any] = []
        self._below_marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> dict[str, Any]:
        """Interpret the description; the dictionary that it builds."""
        description = self._archive.description()
        end = -1
        for opcode, argument, position in pickletools.genops(description):
            self._step(opcode.name, argument)
            end = position or 0
        result = self._stack.pop()
        if not isinstance(result, dict) or self._stack or self._below_marks or end + 1 != len(description):
            self._archive.refuse("something other than one dictionary")
        return result

    def _step(self, opcode: str, argument: Any) -> None:
        match opcode:
            case "PROTO" | "STOP":
                pass
            case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                self._stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                self._stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "EMPTY_DICT":
                self._stack.append({})
            case "EMPTY_TUPLE":
                self._stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                values = [self._stack.pop() for _ in range(int(opcode[-1]))]
                self._stack.append(tuple(reversed(values)))
            case "MARK":
                self._below_marks.append(self._stack)
                self._stack = []
            case "TUPLE":
                values = self._from_mark()
                self._stack.append(tuple(values))
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._stack[-1]
            case "BINGET" | "LONG_BINGET":
                self._stack.append(self._memo[argument])
            case "SETITEM":
                value, key = self._stack.pop(), self._stack.pop()
                self._set_items([key, value])
            case "SETITEMS":
                self._set_items(self._from_mark())
            case "GLOBAL":
                self._stack.append(self._global(argument))
            case "BINPERSID":
                self._stack.append(self._storage(self._stack.pop()))
            case "REDUCE":
                arguments, function = self._stack.pop(), self._stack.pop()
                self._stack.append(self._call(function, arguments))
            case "BUILD":
                self._build(self._stack.pop(), self._stack[-1])
            case _:
                self._archive.refuse(f"the instruction {opcode}")

    def _from_mark(self) -> list[Any]:
        values, self._stack = self._stack, self._below_marks.pop()
        return values

    def _set_items(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            self._archive.refuse("an assignment that is not to a dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str):
                self._archive.refuse(f"a {type(key).__name__} as a key")
            if value is not None and not isinstance(value, dict | Tensor | bool | int | float | str):
                self._archive.refuse(f"a {type(value).__name__} under {_shown(key)}")
            target[key] = value

    def _global(self, name: str) -> _Global:
        if name not in GLOBALS:
            self._archive.refuse(f"the name {_shown(name.replace(' ', '.'))}")
        return _Global(name)

    def _storage(self, identifier: Any) -> _Storage:
        match identifier:
            case ("storage", _Global(name), str(key), str(), int(count)) if name in STORAGES and count >= 0:
                if key.isascii() and key.isdecimal():
                    return _Storage(key, STORAGES[name], count)
        self._archive.refuse("a storage of an unknown kind")

    def _call(self, function: Any, arguments: Any) -> Any:
        match function, arguments:
            case _Global(name), () if name == ORDERED_DICT:
                return {}
            case _Global(name), tuple() if name == REBUILD_TENSOR:
                return self._tensor(arguments)
        self._archive.refuse("a call of something that makes no tensor")

    def _tensor(self, arguments: tuple[Any, ...]) -> Tensor:
        match arguments:
            case (_Storage() as storage, offset, tuple() as shape, tuple() as strides, bool(), {**hooks}) if not hooks:
                if all(type(number) is int and number >= 0 for number in (offset, *shape, *strides)):
                    return self._view(storage, offset, shape, strides)
        self._archive.refuse("a tensor of an unknown kind")

    def _view(self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
        numbers = self._archive.storage(storage)
        # More elements than the storage has would be one number under many names: a small file, a huge tensor.
        room = max(len(numbers), 1)
        fits = len(shape) == len(strides) <= MOST_DIMENSIONS and math.prod(max(size, 1) for size in shape) <= room
        if not fits or offset > len(numbers) or any(stride > room for stride in strides):
            self._archive.refuse("a tensor that does not fit its storage")
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if 0 not in shape and last >= len(numbers):
            self._archive.refuse("a tensor that ends outside its storage")
        return numbers.as_strided(shape, strides, offset)

    def _build(self, state: Any, target: Any) -> None:
        # A state dictionary of torch carries the versions of its modules as an attribute; nothing else may come so.
        if not isinstance(target, dict) or not isinstance(state, dict) or set(state) - {"_metadata"}:
            self._archive.refuse("attributes of an object")


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}...")
