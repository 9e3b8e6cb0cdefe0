import json

import pytest

from interlat.agents.sources import HINT, PromptOptions, TaskSource, household_tasks, some_tasks
from interlat.engine.checkpoint import load_tokenizer
from interlat.engine.prompt import Text
from interlat.errors import InputError
from interlat.experiments.household.episodes import read_episodes
from interlat.tasks.base import Task, TaskSet


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    rows = [
        {"id": f"q{n}", "question": f"what is {n}?", "answer": str(n), "topic": "odd" if n % 2 else "even"}
        for n in range(6)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_an_episode_becomes_the_prompt_that_its_scout_was_trained_on(pipeline):
    records = [record for record in read_episodes(pipeline.episodes) if record["episodes"]]
    tasks = household_tasks(str(pipeline.episodes), "plan", True).tasks
    assert len(tasks) == sum(len(record["episodes"]) for record in records)
    first = records[0]
    assert tasks[0].id == f"{first['item']}#{first['episodes'][0]['draw']}"
    assert tasks[0].text.endswith("Write a plan.") and first["episodes"][0]["evidence"] in tasks[0].text
    assert tasks[0].metadata["episode"] == first["episodes"][0]
    assert "episodes" not in tasks[0].metadata["record"]
    assert household_tasks(str(pipeline.episodes), "list", True).tasks[0].text.endswith("names every place.")
    bare = household_tasks(str(pipeline.episodes), "plan", False).tasks[0].text
    assert first["episodes"][0]["evidence"] not in bare and "Your task is to" in bare


def test_any_records_are_tasks(questions):
    tasks = TaskSource("records", str(questions)).load("text")
    assert [(task.id, task.answer) for task in tasks.tasks][:2] == [("q0", "0"), ("q1", "1")]


def test_the_manifest_knows_a_file_by_its_content(questions, tmp_path):
    source = TaskSource("records", str(questions))
    described = source.describe(source.load("text").origin)
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(questions.read_bytes())
    other = TaskSource("records", str(copy))
    assert described == other.describe(other.load("text").origin)
    copy.write_text(questions.read_text().replace("what", "why"))
    assert described != other.describe(other.load("text").origin)


def test_kinds_without_a_place_of_their_own_need_data():
    with pytest.raises(InputError, match="set data"):
        TaskSource("alfworld")
    with pytest.raises(InputError, match="there is no file"):
        TaskSource("alfworld", "nowhere.jsonl").load("plan")


def test_a_smaller_limit_is_part_of_a_larger_one():
    tasks = TaskSet(tuple(Task(f"t{n}", "x") for n in range(50)), {"data": "x"})
    few, more = ({place for place, _ in some_tasks(tasks, limit)} for limit in (5, 20))
    assert few < more and len(few) == 5
    assert [place for place, _ in some_tasks(tasks, None)] == list(range(50))
    assert few != set(range(5)), "the first ones would be of one kind"


def test_every_kind_is_asked_for_what_suits_it(questions):
    assert PromptOptions().resolved_ask("gsm8k") == "solve"
    assert PromptOptions().resolved_ask("math") == "plan"
    assert PromptOptions().resolved_ask("records") == "text"
    assert PromptOptions().resolved_template(TaskSource("math")) == HINT
    assert r"\boxed{}" in PromptOptions().resolved_template(TaskSource("gsm8k"))
    assert PromptOptions().resolved_template(TaskSource("records", str(questions))) == "{text}"
    with pytest.raises(InputError, match="list"):
        PromptOptions(ask="list").resolved_ask("gsm8k")


def test_templates_of_one_s_own_may_hold_braces(questions, tmp_path, make_tokenizer):
    file = tmp_path / "template.txt"
    file.write_text("Given {x: {text}} answer as {json}.")
    source = TaskSource("records", str(questions))
    template = PromptOptions(template_file=str(file)).resolved_template(source)
    made = PromptOptions(chat=False).maker(template, make_tokenizer("chatml"))(source.load("text").tasks[1].text)
    assert made == [Text("Given {x: "), Text("what is 1?", literal=True), Text("} answer as {json}.")]


def test_bad_templates_are_refused(questions, tmp_path):
    source = TaskSource("records", str(questions))
    with pytest.raises(InputError, match=r"has no \{text\}"):
        PromptOptions(template="no place")
    with pytest.raises(InputError, match="not both"):
        PromptOptions(template="{text}", template_file="x")
    with pytest.raises(InputError, match="no template file"):
        PromptOptions(template_file=str(tmp_path / "x")).resolved_template(source)
    (tmp_path / "empty").write_text("nothing")
    with pytest.raises(InputError, match=r"has no \{text\}"):
        PromptOptions(template_file=str(tmp_path / "empty")).resolved_template(source)
    with pytest.raises(InputError, match="chat template"):
        PromptOptions(chat=False, system="be brief").maker("{text}", None)


def test_chat_prompts_have_the_turns_asked_for(pipeline):
    tokenizer = load_tokenizer(str(pipeline.scout))
    task = Task("a", "find the kettle")
    plain = PromptOptions().maker("{text}", tokenizer)(task.text)
    system = PromptOptions(system="be brief").maker("{text}!", tokenizer)(task.text)
    assert "find the kettle" in plain[0].text and "system" not in plain[0].text
    assert system[0].text.index("be brief") < system[0].text.index("find the kettle!")
