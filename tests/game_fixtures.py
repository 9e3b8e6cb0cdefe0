"""Small authored ALFWorld games."""

import pytest

from interlat.environments.alfworld.world import AlfworldWorld
from interlat.environments.protocol import EnvironmentOptions
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


def published_conversations(root):
    """The expert's play of the training games, as a list in the published form."""
    world = AlfworldWorld(EnvironmentOptions(data=(str(root),), split="train", options={"prompt": "task"}))
    found = []
    for item in world.items():
        turns = ["Do the task, with one command a turn.", "OK", item.question]
        episode = world.episode(item.id)
        episode.start()
        for action in world.expert(item.id):
            turns += [f"Thought: go on.\nAction: {action}", episode.step(action).text]
        speakers = [("human", "gpt")[number % 2] for number in range(len(turns) - 1)]
        spoken = [{"from": speaker, "value": value} for speaker, value in zip(speakers, turns, strict=False)]
        found.append({"id": item.id, "conversations": spoken})
    return found
