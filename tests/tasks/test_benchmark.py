import json

import datasets
import huggingface_hub

from interlat.tasks.base import Task
from interlat.tasks.benchmark import Benchmark

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
