import csv
import json

import pytest

from hub_rows import HUB_ROWS
from interlat.errors import InputError
from interlat.tasks.gpqa import GPQA
from interlat.tasks.grading import grade
from interlat.tasks.verification import verified


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


@pytest.mark.parametrize("style", ["{label}. {text}", "({label}) {text}", "{label}) {text}", "  {label}: {text}\n"])
def test_an_option_may_have_many_lines(tmp_path, style):
    options = {"A": "first x\nthen y", "B": "first x\nthen z", "C": "$$\na\n\nb\n$$", "D": "none\nof them"}
    listed = "\n".join(style.format(label=label, text=text) for label, text in options.items())
    question = f"Which order?\nA. is a chain, B. is another.\n\n{listed}"
    (tmp_path / "x.jsonl").write_text(json.dumps({"question": question, "answer": "B"}) + "\n")
    [task] = GPQA.load(str(tmp_path / "x.jsonl")).tasks
    assert task.options == options and task.text == question
    assert grade("The answer is first x\nthen y", task).correct is False
    assert grade(r"\boxed{first x then z}", task).correct and not grade(r"\boxed{first x then y}", task).correct


def test_a_question_without_options_has_labels_only(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"question": "A. or B.?\\nC. no", "answer": "(b)"}\n')
    [task] = GPQA.load(str(tmp_path / "x.jsonl")).tasks
    assert task.options == dict.fromkeys("ABCD", "") and task.answer == "B"
    assert grade(r"\boxed{B}", task).correct and not grade(r"\boxed{A}", task).correct


def test_two_options_with_the_same_text_are_both_right(tmp_path):
    row = {"Question": "Q?", "Correct Answer": "x", "Incorrect Answer 1": "x ", "Incorrect Answer 2": "y"}
    (tmp_path / "x.jsonl").write_text(json.dumps(row | {"Incorrect Answer 3": "z"}) + "\n")
    [task] = GPQA.load(str(tmp_path / "x.jsonl"), "train").tasks
    for label, text in task.options.items():
        assert grade(f"\\boxed{{{label}}}", task).correct == (text == "x")
        assert grade(f"\\boxed{{{text}}}", task).correct == (text == "x")
    [found] = verified([task])
    assert found.reference.correct and not found.corrupted.correct
