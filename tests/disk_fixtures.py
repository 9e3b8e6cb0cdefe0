"""A small disk that fills up, and gets room again."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def filling_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder on a disk of 64 KB, and what gives it 16 MB. Skips where this user may mount none."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> int:
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(place)], capture_output=True
        ).returncode

    try:
        refused = mount("size=64k")
    except FileNotFoundError:
        refused = 1
    if refused:
        pytest.skip("this user may not mount a file system")
    yield place, lambda: subprocess.run(["mount", "-o", "remount,size=16m", str(place)], check=True) and None
    subprocess.run(["umount", "--lazy", str(place)], check=True)
