"""Small authored ALFWorld games."""

import pytest

from interlat.experiments.household.author import TASK_TYPES, AuthorOptions, author_games

SMALL_ROOMS = AuthorOptions(maximum_receptacles=12, density=0.2, exact_targets=True)


@pytest.fixture(scope="session")
def small_games(tmp_path_factory):
    """A game of each task type in a small room, in each split: split -> paths."""
    root = tmp_path_factory.mktemp("small_games")
    return {split: list(author_games(root, len(TASK_TYPES), split, 0, SMALL_ROOMS)) for split in ("train", "unseen")}


@pytest.fixture(scope="session")
def whole_rooms(tmp_path_factory):
    """A game of each task type in a whole room with many objects."""
    return list(author_games(tmp_path_factory.mktemp("whole_rooms"), len(TASK_TYPES), "unseen", 0))
