import json

import pytest

from hub_rows import HUB_ROWS
from interlat.errors import InputError
from interlat.tasks.grading import grade
from interlat.tasks.winogrande import WINOGRANDE


def test_options_keep_their_numbers(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(HUB_ROWS["winogrande"][0]) + "\n")
    [task] = WINOGRANDE.load(str(path)).tasks
    assert task.answer == "2" and task.text.endswith("\n\n1: cup\n2: box")
    assert grade(r"\boxed{2}", task).correct and grade("The answer is the box.", task).correct
    assert not grade("The answer is cup.", task).correct and not grade(r"\boxed{1}", task).correct


def test_the_split_without_answers_is_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(HUB_ROWS["winogrande"][0] | {"answer": ""}) + "\n")
    with pytest.raises(InputError, match="expected 1 or 2; the split test has none: take validation"):
        WINOGRANDE.load(str(path))
