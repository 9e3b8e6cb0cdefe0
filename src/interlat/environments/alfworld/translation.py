"""PDDL problems to the planner's format, once for each problem, and the native library that plays them."""

import contextlib
import functools
import gc
import hashlib
import os
import struct
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlat.environments.alfworld.datalog import compute_model

TRANSLATIONS_KEPT = 64
"""How many games a process can load again for nearly nothing; half a megabyte for a small room, two for a whole one."""

_NO_PLANNER = ""
_ELF_64_LITTLE = b"\x7fELF\x02\x01"
_LOADABLE = 1


@dataclass
class Translation:
    """One translated problem."""

    task: Any
    """The translator's task: actions, types, objects and initial facts."""
    sas: str
    """The problem as the native library reads it."""
    start: dict[str, Any] | None = None
    """What the engine's state holds at the start of the game, once it was built."""


_translations: OrderedDict[bytes, Translation] = OrderedDict()


def translation_of(domain: str, problem: str) -> Translation:
    """The translation of a problem, made at the first call."""
    import fast_downward

    key = hashlib.sha256(f"{domain}\0{problem}".encode()).digest()
    if key not in _translations:
        task, sas = fast_downward.pddl2sas(domain, problem)
        _translations[key] = Translation(task, sas)
        if len(_translations) > TRANSLATIONS_KEPT:
            _translations.popitem(last=False)
    _translations.move_to_end(key)
    return _translations[key]


def patch_translation(fast_downward: Any) -> None:
    """Make `fast_downward` translate faster, without side effects, and load its library from a small copy."""
    arguments = sys.argv
    sys.argv = ["translate.py", "domain", "task"]  # the translator reads the process's arguments when imported
    try:
        from fast_downward.translate import build_model, options
    finally:
        sys.argv = arguments
    build_model.compute_model = compute_model
    # Upstream means to switch reordering off but sets an option that nobody reads. It costs time and changes no fact.
    options.reorder_variables = False

    translate = fast_downward.pddl2sas
    load_library = fast_downward.load_lib

    def translate_quietly(domain: str, problem: str, verbose: bool = False, optimize: bool = False) -> Any:
        if optimize:
            return None, _NO_PLANNER
        arguments = sys.argv
        try:
            with _collector_paused():
                return translate(domain, problem, verbose=verbose, optimize=False)
        finally:
            sys.argv = arguments

    fast_downward.pddl2sas = translate_quietly
    fast_downward.interface.DOWNWARD_LIB_PATH = _small_library(fast_downward.interface.DOWNWARD_LIB_PATH)
    fast_downward.load_lib = lambda: WithoutPlanner(load_library())


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Translation makes many objects and no cycles: the cycle collector only costs time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class WithoutPlanner:
    """The native library, deaf to the empty planner problem."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._handle = library._handle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def load_sas_replan(self, problem: bytes) -> None:
        if problem != _NO_PLANNER.encode():
            self._library.load_sas_replan(problem)


@functools.cache
def _small_library(path: str) -> str:
    """The library without its debug sections: every environment copies the file, and they are 97 % of it.

    Lives in memory, so that a killed process leaves no file behind. Elsewhere than on Linux the library stays as it is.
    """
    content = Path(path).read_bytes()
    if not sys.platform.startswith("linux") or not content.startswith(_ELF_64_LITTLE):
        return path
    descriptor = os.memfd_create("libdownward.so")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(loadable_part(content))
    return f"/proc/self/fd/{descriptor}"


def loadable_part(library: bytes) -> bytes:
    """What the system's loader reads of a 64-bit ELF library: everything up to the end of its last loadable segment."""
    (table,) = struct.unpack_from("<Q", library, 32)
    entry_size, entries = struct.unpack_from("<HH", library, 54)
    end = 0
    for number in range(entries):
        kind, _, offset, _, _, size = struct.unpack_from("<IIQQQQ", library, table + number * entry_size)
        if kind == _LOADABLE:
            end = max(end, offset + size)
    part = bytearray(library[:end])
    struct.pack_into("<Q", part, 40, 0)  # no section table any more
    struct.pack_into("<HHH", part, 58, 0, 0, 0)
    return bytes(part)
