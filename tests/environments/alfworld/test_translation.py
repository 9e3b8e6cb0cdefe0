import ctypes
from importlib import resources

import pytest

from interlat.environments.alfworld.translation import loadable_part


def test_loadable_part_of_the_library_loads(tmp_path):
    library = resources.files("fast_downward").joinpath("libdownward.so").read_bytes()
    if not library.startswith(b"\x7fELF\x02\x01"):
        pytest.skip("no 64-bit little-endian ELF library on this machine")
    small = loadable_part(library)
    assert len(small) < len(library) / 4
    path = tmp_path / "small.so"
    path.write_bytes(small)
    assert ctypes.CDLL(str(path)).load_sas
