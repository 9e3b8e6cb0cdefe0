import pytest

from interlat.environments.alfworld.splits import SPLIT_FOLDERS, check_split, folders_of
from interlat.errors import InputError


def test_only_the_three_splits_are_known():
    for split in SPLIT_FOLDERS:
        check_split(split)
    with pytest.raises(InputError, match=r"'dev'.*train, seen, unseen"):
        check_split("dev")


@pytest.mark.parametrize(
    ("splits", "folders"),
    [
        ("", ("train", "valid_seen", "valid_unseen")),
        ("valid_seen", ("valid_seen",)),
        ("eval_out_of_distribution, eval_in_distribution", ("valid_seen", "valid_unseen")),
        ("unseen,valid_unseen", ("valid_unseen",)),
    ],
)
def test_a_split_has_the_names_of_the_folder_of_the_loader_and_ours(splits, folders):
    assert folders_of(splits) == folders


@pytest.mark.parametrize("splits", ["dev", "train,dev", ","])
def test_an_unknown_name_is_refused(splits):
    with pytest.raises(InputError, match=r"split is .*valid_seen"):
        folders_of(splits)
