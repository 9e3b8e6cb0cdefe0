import pytest

from interlat.environments.alfworld.splits import SPLIT_FOLDERS, check_split
from interlat.errors import InputError


def test_only_the_three_splits_are_known():
    for split in SPLIT_FOLDERS:
        check_split(split)
    with pytest.raises(InputError, match=r"'dev'.*train, seen, unseen"):
        check_split("dev")
