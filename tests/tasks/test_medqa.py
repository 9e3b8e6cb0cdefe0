import json
from collections import Counter
from pathlib import Path

import pytest

from hub_rows import HUB_ROWS
from interlat.errors import InputError
from interlat.tasks.medqa import MEDQA
from interlat.tasks.verification import verified

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "medqa_300.json"


def test_the_right_option_is_the_same_text_not_one_that_contains_it(tmp_path):
    """D8 of the released code, which takes XII for X."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps(HUB_ROWS["medqa"]))
    assert [task.answer for task in MEDQA.load(str(path)).tasks] == ["C", "D"]


def test_options_in_a_list_lose_their_letters_and_are_asked_once(tmp_path):
    options = ["A. one", "B. two"]
    block = "\n".join(options)
    row = {"question": f"How many?\n{block}\n\n{block}", "options": options, "answer": "two"}
    (tmp_path / "x.json").write_text(json.dumps([row]))
    [task] = MEDQA.load(str(tmp_path / "x.json")).tasks
    assert (task.answer, task.text) == ("B", "How many?\n\nA: one\nB: two")


def test_a_text_that_begins_like_a_letter_is_kept(tmp_path):
    row = {"question": "Which one grows?", "options": ["E. coli", "S. aureus"], "answer": "E. coli"}
    (tmp_path / "x.json").write_text(json.dumps([row]))
    [task] = MEDQA.load(str(tmp_path / "x.json")).tasks
    assert task.options == {"A": "E. coli", "B": "S. aureus"} and task.answer == "A"


@pytest.mark.parametrize(
    ("options", "said"), [(["a", "b"], "0 options"), (["c", "c"], "2 options"), ("c", "no options")]
)
def test_a_row_without_one_right_option_is_refused(options, said, tmp_path):
    (tmp_path / "x.json").write_text(json.dumps([{"question": "?", "options": options, "answer": "c"}]))
    with pytest.raises(InputError, match=said):
        MEDQA.load(str(tmp_path / "x.json"))


@pytest.mark.skipif(not REAL.exists(), reason="the real questions are not on this machine")
def test_the_real_questions_load_and_can_be_graded():
    tasks = MEDQA.load(str(REAL)).tasks
    assert Counter(task.answer for task in tasks) == {"C": 93, "A": 85, "B": 66, "D": 56}
    assert all(task.text.count(f"\n{label}: ") == 1 for task in tasks for label in task.options)
    found = list(verified(tasks))
    assert len(found) == 300 and all(one.reference.correct and not one.corrupted.correct for one in found)
