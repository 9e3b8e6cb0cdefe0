"""GSM8K: numbers as answers, ids by the published order, the real problems."""

import json
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest

from interlat.errors import InputError
from interlat.tasks.graders.mathematics import grade_mathematics as grade
from interlat.tasks.gsm8k import GSM8K

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "gsm8k_test_400.jsonl"
ROWS = [
    {"question": "How many?", "answer": "She has 2*3=<<2*3=6>>6.\nSo #### is no answer.\n#### 6"},
    {"question": "How much?", "answer": "Much.\n#### 1,450,000"},
    {"question": "How cold?", "answer": "Cold.\n#### -2.5"},
]


def written(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_an_answer_is_the_number_after_the_last_mark(tmp_path: Path) -> None:
    found = GSM8K.load(written(tmp_path / "x.jsonl", ROWS))
    assert [task.answer for task in found.tasks] == ["6", "1450000", "-2.5"]
    assert [task.text for task in found.tasks] == ["How many?", "How much?", "How cold?"]
    assert found.tasks[0].metadata == {"solution": "She has 2*3=<<2*3=6>>6.\nSo #### is no answer."}


def test_ids_name_the_split_and_the_row(tmp_path: Path) -> None:
    data = written(tmp_path / "x.jsonl", ROWS)
    for split in ("train", "test"):
        tasks = GSM8K.load(data, split).tasks
        assert [task.id for task in tasks] == [f"gsm8k/{split}/{number}" for number in range(3)]
        assert {task.split for task in tasks} == {split}


def test_an_answer_without_the_mark_is_named(tmp_path: Path) -> None:
    data = written(tmp_path / "x.jsonl", [*ROWS, {"question": "?", "answer": "6"}])
    with pytest.raises(InputError, match=r"gsm8k/test/3 in .* has no ####"):
        GSM8K.load(data)


def test_another_data_set_is_refused_with_its_columns(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gsm8k/test/0 in .* has no 'answer'; its columns are problem"):
        GSM8K.load(written(tmp_path / "x.jsonl", [{"problem": "?"}]))


def test_the_hub_is_asked_for_the_main_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(*arguments: Any, **named: Any) -> datasets.Dataset:
        asked.append((arguments, named))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(
        huggingface_hub.HfApi,
        "dataset_info",
        lambda self, name, revision: huggingface_hub.DatasetInfo(id=name, sha="c0"),
    )
    found = GSM8K.load(split="train")
    assert asked == [(("openai/gsm8k", "main"), {"split": "train", "revision": "c0"})]
    assert found.origin == {"data": "openai/gsm8k", "revision": "c0"}
    assert found.tasks[2].id == "gsm8k/train/2"


@pytest.mark.skipif(not REAL.exists(), reason="the real problems are not on this machine")
def test_the_real_problems_load_and_their_solutions_are_right() -> None:
    tasks = GSM8K.load(str(REAL)).tasks
    assert len(tasks) == 400
    assert [task.answer for task in tasks if not task.answer.isdecimal()] == []
    assert {"2125", "114200", "276000", "5600"} <= {task.answer for task in tasks}
    published = [json.loads(line)["answer"] for line in REAL.read_text(encoding="utf-8").splitlines()]
    for task, reply in zip(tasks, published, strict=True):
        assert grade(reply, task.answer).correct, task.id
        assert grade(f"So the answer is ${task.answer}.", task.answer).correct, task.id
        for wrong in (int(task.answer) + 1, -int(task.answer) - 1, int(task.answer) * 10 + 1):
            assert not grade(f"{task.metadata['solution']}\n#### {wrong}", task.answer).correct, task.id
