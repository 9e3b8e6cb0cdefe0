import csv
import json

import pytest

from hub_rows import HUB_ROWS
from interlat.errors import InputError
from interlat.tasks.gpqa import GPQA


def test_options_are_found_in_the_question(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in HUB_ROWS["gpqa"]))
    first, second = GPQA.load(str(path)).tasks
    assert first.options == {"A": "neon", "B": "iron", "C": "gold", "D": "salt"} and first.answer == "A"
    assert second.options == {"A": "2", "B": "4", "C": "5", "D": "8"} and second.answer == "C"
    assert first.text == HUB_ROWS["gpqa"][0]["question"]


def test_the_authors_file_is_shuffled_once_and_for_all(tmp_path):
    rows = [
        {
            "Question": f"Question {number}?",
            "Correct Answer": "right ",
            **{f"Incorrect Answer {n}": f"wrong {n}" for n in (1, 2, 3)},
            "High-level domain": "Physics",
        }
        for number in range(40)
    ]

    def loaded(rows):
        with open(tmp_path / "gpqa_diamond.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return GPQA.load(str(tmp_path / "gpqa_diamond.csv"), "train").tasks

    tasks = loaded(rows)
    assert all(task.options[task.answer] == "right" and len(set(task.options.values())) == 4 for task in tasks)
    assert {task.answer for task in tasks} == set("ABCD")
    assert {task.task_type for task in tasks} == {"Physics"}
    assert [task.options for task in loaded(rows[5:])] == [task.options for task in tasks[5:]]


def test_an_answer_that_is_no_letter_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"question": "?", "answer": "neon"}\n')
    with pytest.raises(InputError, match="has the answer 'NEON', expected A, B, C or D"):
        GPQA.load(str(tmp_path / "x.jsonl"))
