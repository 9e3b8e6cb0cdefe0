import json

from hub_rows import HUB_ROWS
from interlat.tasks.grading import grade
from interlat.tasks.math_500 import MATH_500


def test_the_answer_has_a_column_of_its_own(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in HUB_ROWS["math500"]))
    _, second = MATH_500.load(str(path)).tasks
    assert (second.answer, second.task_type) == (r"\sqrt{2}", "Algebra")
    assert second.metadata == {"level": 2, "solution": r"$\boxed{\sqrt{2}}$"}


def test_the_column_may_hold_one_of_several_boxes(tmp_path):
    row = HUB_ROWS["math500"][0] | {"solution": r"Both $\boxed{-4}$ and $\boxed{9}$ are roots.", "answer": "9"}
    (tmp_path / "x.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"answer": "-4, 9"}) + "\n")
    for task in MATH_500.load(str(tmp_path / "x.jsonl")).tasks:
        assert task.answer == "-4, 9"
        assert grade(r"\boxed{9,-4}", task).correct and not grade(r"\boxed{9}", task).correct
