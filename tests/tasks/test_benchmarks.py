"""Every benchmark reads the form of its hub, asks the whole question, and can be graded."""

import json

import datasets
import huggingface_hub
import pyarrow
import pyarrow.parquet
import pytest

from hub_rows import HUB_ROWS
from interlat.errors import InputError
from interlat.tasks.base import Task
from interlat.tasks.benchmarks import BENCHMARKS, Benchmark, benchmark_named
from interlat.tasks.sources import TASK_SOURCES, TaskSource
from interlat.tasks.verification import verified


def test_every_benchmark_has_a_stand_in_and_a_kind():
    others = {"alfworld", "conversations", "arithmetic", "records", "secret"}
    assert set(BENCHMARKS.names()) == set(HUB_ROWS) == set(TASK_SOURCES.names()) - others


@pytest.mark.parametrize("name", BENCHMARKS.names())
def test_rows_of_the_hub_become_tasks_that_can_be_graded(name, tmp_path):
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(HUB_ROWS[name]), path)
    benchmark = BENCHMARKS[name]
    found = benchmark.load(str(path))
    assert set(found.origin) == {"data", "sha256"} and len(found.tasks) == 2
    assert {task.split for task in found.tasks} == {benchmark.split}
    assert {task.grader for task in found.tasks} == {benchmark.grader}
    assert all(task.id.startswith(f"{name}/{benchmark.split}/") for task in found.tasks)
    for row, task in zip(HUB_ROWS[name], found.tasks, strict=name != "math"):
        asked = row.get("question") or row.get("problem") or row.get("sentence") or row["prompt"].strip()
        assert name == "math" or asked in task.text
        assert all(text in task.text for text in task.options.values())
    assert [(one.reference.correct, one.corrupted.correct) for one in verified(found.tasks)] == [(True, False)] * 2
    assert TaskSource(kind=name, data=str(path)).load("solve") == found
    assert TaskSource(kind=name, data=str(path)).grader == benchmark.grader


@pytest.mark.parametrize("name", BENCHMARKS.names())
def test_rows_of_something_else_are_refused_with_their_place(name, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "nothing", "prompt": "x", "options": None}) + "\n")
    with pytest.raises(InputError, match=r"(0 in|record 0 of) .*rows.jsonl"):
        BENCHMARKS[name].load(str(path))


@pytest.mark.parametrize(
    ("spelled", "name"), [("ARC-Easy", "arc_easy"), ("HumanEval+", "humanevalplus"), ("GSM8K", "gsm8k")]
)
def test_names_may_be_spelled_as_in_papers(spelled, name):
    assert benchmark_named(spelled) is BENCHMARKS[name]


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(InputError, match="no benchmark 'mmlu'; take one of gsm8k, math, math500"):
        benchmark_named("mmlu")


EXAMPLE = Benchmark(
    "example",
    "An example",
    data="somebody/example",
    configuration="main",
    split="validation",
    task_of=lambda row, where: Task(id=where, text=row["q"], answer="1"),
    size=2,
    grader="choice",
)


def test_a_local_file_in_the_published_order(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"q": text}) + "\n" for text in "ab"))
    found = EXAMPLE.load(str(path))
    assert [(task.id, task.text, task.split, task.grader) for task in found.tasks] == [
        ("example/validation/0", "a", "validation", "choice"),
        ("example/validation/1", "b", "validation", "choice"),
    ]
    assert EXAMPLE.load(str(path), "test").tasks[1].id == "example/test/1"


def test_the_hub_is_asked_for_what_the_benchmark_or_the_user_names(monkeypatch):
    asked = []

    def load_dataset(*arguments, **named):
        asked.append((*arguments, named["split"], named["revision"]))
        return datasets.Dataset.from_list([{"q": "?"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(
        huggingface_hub.HfApi,
        "dataset_info",
        lambda self, name, revision: huggingface_hub.DatasetInfo(id=name, sha=f"commit of {revision}"),
    )
    assert EXAMPLE.load().origin == {"data": "somebody/example", "revision": "commit of None"}
    EXAMPLE.load("else/copy", "train", "other", "v2")
    assert asked == [
        ("somebody/example", "main", "validation", "commit of None"),
        ("else/copy", "other", "train", "commit of v2"),
    ]
