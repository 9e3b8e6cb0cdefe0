"""The splits of ALFWorld and their folders."""

from interlat.errors import InputError

SPLIT_FOLDERS = {"train": "train", "seen": "valid_seen", "unseen": "valid_unseen"}


def check_split(split: str) -> None:
    """Raise an InputError unless ``split`` is train, seen or unseen."""
    if split not in SPLIT_FOLDERS:
        raise InputError(f"unknown split {split!r}; choose one of {', '.join(SPLIT_FOLDERS)}")
