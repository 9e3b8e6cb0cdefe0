import json

from hub_rows import HUB_ROWS
from interlat.tasks.math_500 import MATH_500


def test_the_answer_has_a_column_of_its_own(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in HUB_ROWS["math500"]))
    _, second = MATH_500.load(str(path)).tasks
    assert (second.answer, second.task_type) == (r"\sqrt{2}", "Algebra")
    assert second.metadata == {"level": 2, "solution": r"$\boxed{\sqrt{2}}$"}
