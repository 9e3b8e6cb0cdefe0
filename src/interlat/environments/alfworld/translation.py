"""PDDL problems to the planner's format, once for each problem, and the native library that plays them."""

import functools
import gc
import os
import struct
import sys
from pathlib import Path
from typing import Any

from interlat.environments.alfworld.datalog import compute_model

TRANSLATIONS_KEPT = 64
"""How many games a process can load again for nearly nothing; half a megabyte for a small room, two for a whole one."""

_ELF_64_LITTLE = b"\x7fELF\x02\x01"
_LOADABLE = 1


def patch_translation(fast_downward: Any) -> None:
    """Make `fast_downward` translate a problem once and without side effects, load its library from a small copy, and
    leave the planner out."""
    arguments = sys.argv
    sys.argv = ["translate.py", "domain", "task"]  # the translator reads the process's arguments when imported
    try:
        from fast_downward.translate import build_model, options
    finally:
        sys.argv = arguments
    build_model.compute_model = compute_model
    # Upstream means to switch reordering off but sets an option that nobody reads. It costs time and changes no fact.
    options.reorder_variables = False
    translate, load_library = fast_downward.pddl2sas, fast_downward.load_lib

    @functools.lru_cache(maxsize=TRANSLATIONS_KEPT)
    def translate_once(domain: str, problem: str) -> Any:
        arguments, is_collecting = sys.argv, gc.isenabled()
        gc.disable()  # Translation makes many objects and no cycles.
        try:
            return translate(domain, problem)
        finally:
            sys.argv = arguments
            if is_collecting:
                gc.enable()

    def load_without_planner() -> Any:
        library = load_library()
        library.load_sas_replan = lambda problem: None
        return library

    fast_downward.pddl2sas = lambda domain, problem, verbose=False, optimize=False: (
        (None, "") if optimize else translate_once(domain, problem)
    )
    fast_downward.interface.DOWNWARD_LIB_PATH = _small_library(fast_downward.interface.DOWNWARD_LIB_PATH)
    fast_downward.load_lib = load_without_planner


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
    segments = (struct.unpack_from("<IIQQQQ", library, table + number * entry_size) for number in range(entries))
    part = bytearray(library[: max(offset + size for kind, _, offset, _, _, size in segments if kind == _LOADABLE)])
    struct.pack_into("<Q", part, 40, 0)  # no section table any more
    struct.pack_into("<HHH", part, 58, 0, 0, 0)
    return bytes(part)
