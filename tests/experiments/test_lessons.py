import dataclasses
import json
import re

import pytest

from interlat.errors import InputError
from interlat.experiments.lessons import CollectLessons, collect_lessons
from interlat.tasks.arithmetic import ArithmeticOptions, arithmetic_problems
from interlat.tasks.boxed import ASK_FOR_BOX, last_boxed
from interlat.tasks.grading import grade
from interlat.teams.topologies import TeamOptions, make_team
from interlat.training.conversations import _solution as training_solution

COUNT = 120


@pytest.fixture(scope="module")
def lessons(tmp_path_factory):
    path = tmp_path_factory.mktemp("lessons") / "lessons.jsonl"
    assert list(collect_lessons(CollectLessons(str(path), count=COUNT)))[-1] == (COUNT, COUNT)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = {}
    for row in rows:
        problem, _, kind = row["id"].partition("#")
        assert [turn["from"] for turn in row["conversations"]] == ["human", "gpt"] * (len(row["conversations"]) // 2)
        found.setdefault(kind, {})[problem] = [turn["value"] for turn in row["conversations"]]
    return found


TASKS = {task.id: task for task in arithmetic_problems(COUNT, "train").tasks}
OPTIONS = TeamOptions(answer_format=ASK_FOR_BOX)


def test_every_problem_gives_three_conversations(lessons):
    assert set(lessons) == {"alone", "words", "together"}
    assert all(found.keys() == TASKS.keys() for found in lessons.values())


def test_one_agent_learns_the_solution_with_a_box(lessons):
    solver = make_team(dataclasses.replace(OPTIONS, topology="single")).final_agent
    for problem, (asked, said) in lessons["alone"].items():
        task = TASKS[problem]
        assert asked == solver.filled(task.text)
        assert last_boxed(said) == task.answer
        for calculation in re.findall(r"(\d+ [-+*] \d+) = (\d+)", said):
            assert eval(calculation[0]) == int(calculation[1])


def test_a_team_in_one_conversation_has_the_prompts_of_one_that_thinks(lessons):
    members = make_team(OPTIONS).members
    for problem, turns in lessons["together"].items():
        task = TASKS[problem]
        assert turns[0::2] == [member.filled(task.text) for member in members]
        plan, check, again, solution = turns[1::2]
        assert plan == again == task.metadata["plan"] and check == "All steps are right."
        assert solution == lessons["alone"][problem][1]


def test_members_learn_what_is_right_whatever_they_read(lessons):
    """Read back from the prompts: the critic finds exactly what was done to the plan, the refiner mends it."""
    members = {member.name: member for member in make_team(dataclasses.replace(OPTIONS, method="text")).members}
    learners, wrong = set(), 0
    for problem, (asked, said) in lessons["words"].items():
        task = TASKS[problem]
        heard = re.search(r"\[planner\]\n(.*)", asked)
        plan = heard[1].split() if heard else None
        right = task.metadata["plan"].split()
        learner = next(name for name, member in members.items() if asked.endswith(member.prompt.rpartition("\n\n")[2]))
        learners.add(learner)
        assert task.text in asked
        if learner in ("planner", "refiner"):
            assert said == task.metadata["plan"]
        elif learner == "judger":
            assert last_boxed(said) == task.answer and "[refiner]\n" + task.metadata["plan"] in asked
        else:
            missing, useless = set(right) - set(plan), set(plan) - set(right)
            named = {f"{who}." for who in re.findall(r"(\w+) is missing", said)}
            strangers = {f"{who}." for who in re.findall(r"(\w+) is not needed", said)}
            assert (named, strangers) == (missing, useless)
            assert (said == "All steps are right.") == (plan == right)
        wrong += plan is not None and plan != right
    assert learners == set(members)
    assert 0.25 * COUNT < wrong < 0.5 * COUNT


def test_the_same_settings_write_the_same_file(tmp_path):
    files = [tmp_path / name for name in ("one", "two", "other")]
    for path, seed in zip(files, (1, 1, 2), strict=True):
        options = TeamOptions(topology="hierarchical")
        list(collect_lessons(CollectLessons(str(path), count=5, team=options, seed=seed)))
    one, two, other = (path.read_text() for path in files)
    assert one == two != other
    assert "summariser" in one or "mathematician" in one


def test_with_split_facts_a_sender_tells_what_the_answer_takes_and_a_solver_solves(tmp_path):
    problems = ArithmeticOptions(statements=(2, 6), split_facts=True)
    config = CollectLessons(str(tmp_path / "lessons.jsonl"), count=COUNT, problems=problems)
    assert config.run() == 2 * COUNT
    rows = [json.loads(line) for line in (tmp_path / "lessons.jsonl").read_text().splitlines()]
    said = {row["id"]: [turn["value"] for turn in row["conversations"]] for row in rows}
    assert len(said) == 2 * COUNT
    shorter = 0
    for task in arithmetic_problems(COUNT, "train", problems).tasks:
        (asked, told), (problem, solution) = said[f"{task.id}#sender"], said[f"{task.id}#solver"]
        assert asked.startswith(task.told) and "plan" in asked and problem == f"{task.text}\n{told}"
        assert grade(solution, task).correct
        # A stored thought about the same problem gives its receiver the same reply to learn.
        assert solution == training_solution(task.id, task)
        statements, facts = (re.findall(r"[^ .][^.]*\.", text) for text in (told, task.notes))
        kept = [one for one in facts if one in statements]
        assert statements[::-1] == kept, "the last first, and none that is not a fact"
        shorter += len(told) < len(task.notes)
    assert 0.2 * COUNT < shorter < 0.9 * COUNT, "some facts distract"


def test_settings_without_sense(tmp_path):
    with pytest.raises(InputError, match=r"wrong_plans is 1\.5"):
        CollectLessons(str(tmp_path / "x"), wrong_plans=1.5)
    with pytest.raises(InputError, match="ask for at least 1"):
        list(collect_lessons(CollectLessons(str(tmp_path / "x"), count=0)))
    assert not (tmp_path / "x").exists()
    with pytest.raises(InputError, match="are no team"):
        CollectLessons(str(tmp_path / "x"), wrong_plans=0.1, problems=ArithmeticOptions(split_facts=True))
    hard = CollectLessons(str(tmp_path / "x"), count=3, problems=ArithmeticOptions(statements=(2, 10)))
    assert len(list(collect_lessons(hard))) == 3
