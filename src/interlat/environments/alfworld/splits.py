"""The splits of ALFWorld and their folders."""

from interlat.errors import InputError

SPLIT_FOLDERS = {"train": "train", "seen": "valid_seen", "unseen": "valid_unseen"}
_OTHER_NAMES = {"eval_in_distribution": "valid_seen", "eval_out_of_distribution": "valid_unseen"}
"""As ALFWorld's own loader calls them -> as their folders are called."""


def check_split(split: str) -> None:
    """Raise an InputError unless ``split`` is train, seen or unseen."""
    if split not in SPLIT_FOLDERS:
        raise InputError(f"unknown split {split!r}; choose one of {', '.join(SPLIT_FOLDERS)}")


def folders_of(splits: str) -> tuple[str, ...]:
    """The folders of some splits, in the order of the field.

    Args:
        splits: names separated by commas: of the folders, of ALFWorld's loader, or our own; empty is
            all of them.

    Raises:
        InputError: an unknown name.
    """
    known = {**{folder: folder for folder in SPLIT_FOLDERS.values()}, **SPLIT_FOLDERS, **_OTHER_NAMES}
    given = [name.strip() for name in splits.split(",")] if splits else list(SPLIT_FOLDERS)
    if unknown := [name for name in given if name not in known]:
        raise InputError(
            f"split is {splits!r}, expected some of {', '.join(known)}, with commas between them; "
            f"correct {unknown[0]!r}, or leave it out to take all"
        )
    chosen = {known[name] for name in given}
    return tuple(folder for folder in SPLIT_FOLDERS.values() if folder in chosen)
