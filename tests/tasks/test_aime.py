import json

import pytest

from interlat.errors import InputError
from interlat.tasks.aime import AIME_2024, AIME_2025
from interlat.tasks.grading import grade


@pytest.mark.parametrize("benchmark", [AIME_2024, AIME_2025])
def test_zeros_in_front_and_numbers_as_answers(benchmark, tmp_path):
    """D7 of the released code compares 025 and 25 as texts; D9 dies of an answer that it cannot read."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"problem": "?", "answer": "025"}\n{"problem": "!", "answer": 25}\n')
    tasks = benchmark.load(str(path)).tasks
    assert [task.answer for task in tasks] == ["025", "25"]
    for task in tasks:
        assert grade(r"\boxed{25}", task).correct and grade(r"\boxed{025}", task).correct
        assert not grade(r"\boxed{250}", task).correct and not grade("I give up.", task).correct


@pytest.mark.parametrize("answer", ["1000", "-1", "x"])
def test_what_is_no_answer_of_aime_is_refused(answer, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"problem": "?", "answer": answer}) + "\n")
    with pytest.raises(InputError, match="number from 0 to 999"):
        AIME_2024.load(str(path))
