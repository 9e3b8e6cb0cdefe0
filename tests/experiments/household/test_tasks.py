import pytest

from interlat.agents.sources import PromptOptions
from interlat.errors import InputError
from interlat.experiments.household.episodes import read_episodes
from interlat.experiments.household.tasks import HOUSEHOLD
from interlat.tasks.sources import TASK_SOURCES, TaskSource


def test_the_household_is_a_task_source_like_that_of_any_other_package(pipeline):
    assert TASK_SOURCES["alfworld"] is HOUSEHOLD
    source = TaskSource("alfworld", str(pipeline.episodes))
    tasks = source.load("plan")
    assert tasks == HOUSEHOLD.load(source, "plan") and tasks.tasks
    assert source.describe(tasks.origin) == {"kind": "alfworld", "sha256": tasks.origin["sha256"], "notes": True}
    assert PromptOptions().resolved_template(source) == "{text}"
    bare = TaskSource("alfworld", str(pipeline.episodes), notes=False)
    assert "Write a short step-by-step plan" in PromptOptions(ask="list").resolved_template(bare)
    with pytest.raises(InputError, match="split is set, and tasks of kind alfworld take data, notes"):
        TaskSource("alfworld", "x", split="train")


def test_an_episode_becomes_the_prompt_that_its_scout_was_trained_on(pipeline):
    records = [record for record in read_episodes(pipeline.episodes) if record["episodes"]]
    source = TaskSource("alfworld", str(pipeline.episodes))
    tasks = source.load("plan").tasks
    assert len(tasks) == sum(len(record["episodes"]) for record in records)
    first = records[0]
    assert tasks[0].id == f"{first['item']}#{first['episodes'][0]['draw']}"
    assert tasks[0].text.endswith("Write a plan.") and first["episodes"][0]["evidence"] in tasks[0].text
    assert tasks[0].metadata["episode"] == first["episodes"][0]
    assert "episodes" not in tasks[0].metadata["record"]
    assert source.load("list").tasks[0].text.endswith("names every place.")
    bare = TaskSource("alfworld", str(pipeline.episodes), notes=False).load("plan").tasks[0].text
    assert first["episodes"][0]["evidence"] not in bare and "Your task is to" in bare
