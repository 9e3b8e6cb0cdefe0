import dataclasses
import json

import pytest
import tyro

from interlat.agents.sources import PromptOptions
from interlat.cli.main import main
from interlat.config import from_mapping, read_config, write_config
from interlat.errors import InputError
from interlat.tasks.arithmetic import ArithmeticOptions
from interlat.tasks.base import Task, TaskSet
from interlat.tasks.benchmarks import BENCHMARKS, benchmark_named
from interlat.tasks.grading import GRADERS
from interlat.tasks.records import RecordFields
from interlat.tasks.secret import SecretOptions
from interlat.tasks.sources import TASK_SOURCES, TaskSource, some_tasks


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    rows = [
        {"id": f"q{n}", "question": f"what is {n}?", "answer": str(n), "topic": "odd" if n % 2 else "even"}
        for n in range(6)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


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


def test_what_older_versions_did_not_know_is_neither_in_manifests_nor_in_hashes(questions):
    source = TaskSource("records", str(questions))
    assert "notes" not in source.describe({})["fields"] and "notes" not in source.record["fields"]
    assert source.record["problems"] == {"statements": (3, 5), "seed": 0}
    noted = TaskSource("records", str(questions), fields=RecordFields(notes="topic"))
    assert noted.describe({})["fields"]["notes"] == noted.record["fields"]["notes"] == "topic"
    split = TaskSource("arithmetic", problems=ArithmeticOptions(split_facts=True))
    assert split.record["problems"]["split_facts"] is True


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "records", "data": "QUESTIONS", "fields": RecordFields(notes="topic")},
        {"kind": "arithmetic", "count": 6, "problems": ArithmeticOptions(split_facts=True)},
    ],
)
def test_a_source_may_leave_out_its_notes(source, questions):
    source = {name: str(questions) if value == "QUESTIONS" else value for name, value in source.items()}
    noted, bare = TaskSource(**source), TaskSource(**source, notes=False)
    with_notes, without = noted.load("text"), bare.load("text")
    assert all(task.notes for task in with_notes.tasks) and not any(task.notes for task in without.tasks)
    assert [task.text for task in with_notes.tasks] == [task.text for task in without.tasks]
    assert bare.describe(without.origin) == {**noted.describe(with_notes.origin), "notes": False}


def test_kinds_without_a_place_of_their_own_need_data():
    for kind in ("alfworld", "conversations", "records"):
        with pytest.raises(InputError, match="set data"):
            TaskSource(kind)
    with pytest.raises(InputError, match="there is no file"):
        TaskSource("alfworld", "nowhere.jsonl").load("plan")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "gsm8k", "subjects": ["algebra"]}, "subjects is set, and tasks of kind gsm8k take data"),
        ({"kind": "math500", "levels": [1]}, "levels is set"),
        ({"kind": "math", "fields": {"text": "problem"}}, "fields is set"),
        ({"kind": "records", "data": "x.json", "count": 3}, "count is set"),
        ({"kind": "conversations", "data": "x.json", "problems": {"seed": 1}}, "problems is set"),
        ({"kind": "arc_easy", "notes": False}, "notes is set"),
        ({"kind": "arithmetic", "data": "x.json"}, "data is set, and tasks of kind arithmetic take split, count"),
        ({"kind": "gsm8"}, "kind is 'gsm8', expected one of .*medqa.*, did you mean 'gsm8k'"),
    ],
)
def test_a_field_of_another_kind_is_refused_by_its_name(fields, said):
    with pytest.raises(InputError, match=said) as caught:
        from_mapping(TaskSource, fields, "mine.yaml")
    assert str(caught.value).startswith("mine.yaml: ") and "\n" not in str(caught.value)


def test_all_fields_at_their_defaults_are_read_back(tmp_path):
    """A resolved configuration names every field."""
    for kind in ("gsm8k", "math", "arithmetic", "secret"):
        write_config(TaskSource(kind), tmp_path)
        assert read_config(TaskSource, tmp_path / "config.yaml") == TaskSource(kind)


TOY = """
from interlat.tasks.sources import SourceKind
from interlat.tasks.base import Task, TaskSet
from interlat.tasks.benchmarks import Benchmark
from interlat.tasks.graders.verdict import Grader, Verdict


class Backwards(Grader):
    answer_format = "Spell it backwards."

    def grade(self, reply, task, limits=None):
        return Verdict(reply == task.answer[::-1], "exact")

    def extracted(self, reply, task):
        return reply[::-1]

    def reference(self, task):
        return task.answer[::-1]

    def corruptions(self, task):
        yield task.answer


BACKWARDS = Backwards()
SPELLING = Benchmark(
    "spelling",
    "Spelling",
    data="them/spelling",
    task_of=lambda record, where: Task(where, record["ask"], record["word"]),
    size=1,
    grader="backwards",
)


class Words(SourceKind):
    takes = ("count",)
    asks = ("solve",)

    def load(self, source, ask):
        tasks = [Task(str(n), "x" * (n + 1), "ab", grader="backwards") for n in range(source.count)]
        return TaskSet(tuple(tasks), {"data": "words"})

    def grader(self, source):
        return "backwards"


WORDS = Words()
"""
ENTRY_POINTS = """
[interlat.graders]
backwards = toy_of_others:BACKWARDS
[interlat.benchmarks]
spelling = toy_of_others:SPELLING
[interlat.task_sources]
words = toy_of_others:WORDS
"""


@pytest.fixture
def toy_package(tmp_path, monkeypatch):
    """Another package, installed beside this one: one file and its entry points."""
    (tmp_path / "toy_of_others.py").write_text(TOY)
    metadata = tmp_path / "toy_of_others-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-of-others\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    for registry in (GRADERS, BENCHMARKS, TASK_SOURCES):
        monkeypatch.setattr(registry, "_places", {**registry._places})
        monkeypatch.setattr(registry, "_found", False)
    return tmp_path


def test_another_package_adds_a_benchmark_a_grader_and_a_kind_of_source(toy_package, capsys):
    assert main(["tasks", "list", "--json"]) == 0
    listed = {one["name"]: one["grader"] for one in map(json.loads, capsys.readouterr().out.splitlines())}
    assert listed["spelling"] == "backwards" and listed["gsm8k"] == "mathematics"
    data = toy_package / "rows.jsonl"
    data.write_text('{"ask": "A word?", "word": "ab"}\n')
    assert main(["tasks", "verify", "Spelling", "--file", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["how"] == {"exact": 1}
    lines = [
        {"kind": "spelling", "record": {"ask": "A word?", "word": "ab"}, "answer": "ba"},
        {"kind": "backwards", "gold": "ab", "answer": "ab"},
    ]
    (toy_package / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["tasks", "grade", str(toy_package / "answers.jsonl"), "--json"]) == 0
    assert [json.loads(line)["correct"] for line in capsys.readouterr().out.splitlines()] == [True, False]
    source = tyro.cli(TaskSource, args=["--kind", "spelling", "--data", str(data)])
    assert [(task.id, task.grader) for task in source.load("solve").tasks] == [("spelling/test/0", "backwards")]
    assert PromptOptions().resolved_template(source).endswith("Spell it backwards.")
    (toy_package / "words.yaml").write_text("kind: words\ncount: 3\n")
    assert main(["tasks", "verify", str(toy_package / "words.yaml")]) == 0
    assert "3 tasks of" in capsys.readouterr().err
    with pytest.raises(InputError, match="ask is plan, and tasks of kind words take solve"):
        PromptOptions(ask="plan").resolved_ask("words")


def test_a_script_adds_a_benchmark_by_itself(toy_package):
    spelling = dataclasses.replace(BENCHMARKS["spelling"], name="mine")
    BENCHMARKS.add("mine", spelling)
    assert TaskSource("mine").grader == "backwards" and benchmark_named("MINE") is spelling
    with pytest.raises(InputError, match="'gsm8k'"):
        BENCHMARKS.add("gsm8k", spelling)


def test_a_smaller_limit_is_part_of_a_larger_one():
    tasks = TaskSet(tuple(Task(f"t{n}", "x") for n in range(50)), {"data": "x"})
    few, more = ({place for place, _ in some_tasks(tasks, limit)} for limit in (5, 20))
    assert few < more and len(few) == 5
    assert [place for place, _ in some_tasks(tasks, None)] == list(range(50))
    assert few != set(range(5)), "the first ones would be of one kind"


def test_which_secrets_are_drawn_is_in_the_record_only_where_it_is_said():
    source = TaskSource("secret", count=4, secrets=SecretOptions(("digits",), length=6))
    assert {len(task.answer) for task in source.load("text").tasks} == {6}
    assert source.record["secrets"]["length"] == 6 and "secrets" not in TaskSource("secret").record
    with pytest.raises(InputError, match="secrets is set"):
        TaskSource("arithmetic", secrets=SecretOptions(length=6))


def test_secrets_come_without_data_and_their_notes_can_be_left_out():
    source = TaskSource("secret", count=9, split="train")
    found = source.load("text")
    assert len(found.tasks) == 9 and all(task.answer in task.notes for task in found.tasks)
    assert not any(task.notes for task in TaskSource("secret", count=9, notes=False).load("text").tasks)
