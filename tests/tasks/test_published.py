"""Questions of the published benchmarks: ids by the published order, options and answers, the real problems."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest

from hub_rows import HUB_ROWS
from interlat.errors import InputError
from interlat.tasks.graders.mathematics import grade_mathematics
from interlat.tasks.grading import grade
from interlat.tasks.published import (
    AIME_2024,
    AIME_2025,
    ARC_CHALLENGE,
    ARC_EASY,
    GPQA,
    GSM8K,
    MEDQA,
    WINOGRANDE,
)  # fmt: skip
from interlat.tasks.verification import verified

REAL_GSM8K = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "gsm8k_test_400.jsonl"
GSM8K_ROWS = [
    {"question": "How many?", "answer": "She has 2*3=<<2*3=6>>6.\nSo #### is no answer.\n#### 6"},
    {"question": "How much?", "answer": "Much.\n#### 1,450,000"},
    {"question": "How cold?", "answer": "Cold.\n#### -2.5"},
]


def written(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_an_answer_is_the_number_after_the_last_mark(tmp_path: Path) -> None:
    found = GSM8K.load(written(tmp_path / "x.jsonl", GSM8K_ROWS))
    assert [task.answer for task in found.tasks] == ["6", "1450000", "-2.5"]
    assert [task.text for task in found.tasks] == ["How many?", "How much?", "How cold?"]
    assert found.tasks[0].metadata == {"solution": "She has 2*3=<<2*3=6>>6.\nSo #### is no answer."}


def test_ids_name_the_split_and_the_row(tmp_path: Path) -> None:
    data = written(tmp_path / "x.jsonl", GSM8K_ROWS)
    for split in ("train", "test"):
        tasks = GSM8K.load(data, split).tasks
        assert [task.id for task in tasks] == [f"gsm8k/{split}/{number}" for number in range(3)]
        assert {task.split for task in tasks} == {split}


def test_an_answer_without_the_mark_is_named(tmp_path: Path) -> None:
    data = written(tmp_path / "x.jsonl", [*GSM8K_ROWS, {"question": "?", "answer": "6"}])
    with pytest.raises(InputError, match=r"gsm8k/test/3 in .* has no ####"):
        GSM8K.load(data)


def test_another_data_set_is_refused_with_its_columns(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gsm8k/test/0 in .* has no 'answer'; its columns are problem"):
        GSM8K.load(written(tmp_path / "x.jsonl", [{"problem": "?"}]))


def test_the_hub_is_asked_for_the_main_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(*arguments: Any, **named: Any) -> datasets.Dataset:
        asked.append((arguments, named))
        return datasets.Dataset.from_list(GSM8K_ROWS)

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


@pytest.mark.skipif(not REAL_GSM8K.exists(), reason="the real problems are not on this machine")
def test_the_real_problems_load_and_their_solutions_are_right() -> None:
    tasks = GSM8K.load(str(REAL_GSM8K)).tasks
    assert len(tasks) == 400
    assert [task.answer for task in tasks if not task.answer.isdecimal()] == []
    assert {"2125", "114200", "276000", "5600"} <= {task.answer for task in tasks}
    published = [json.loads(line)["answer"] for line in REAL_GSM8K.read_text(encoding="utf-8").splitlines()]
    for task, reply in zip(tasks, published, strict=True):
        assert grade_mathematics(reply, task.answer).correct, task.id
        assert grade_mathematics(f"So the answer is ${task.answer}.", task.answer).correct, task.id
        for wrong in (int(task.answer) + 1, -int(task.answer) - 1, int(task.answer) * 10 + 1):
            assert not grade_mathematics(f"{task.metadata['solution']}\n#### {wrong}", task.answer).correct, task.id


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


def test_numbered_options_get_letters(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in HUB_ROWS["arc_easy"]))
    first, second = ARC_EASY.load(str(path)).tasks
    assert (first.answer, second.answer) == ("A", "B")
    assert second.options == {"A": "snow", "B": "fire", "C": "rain"}
    assert second.text == "What is hot?\n\nA: snow\nB: fire\nC: rain"


@pytest.mark.parametrize(
    "change", [{"answerKey": "E"}, {"choices": None}, {"choices": {"text": ["a"], "label": ["A", "B"]}}]
)
def test_options_that_do_not_fit_are_refused(change, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(HUB_ROWS["arc_easy"][0] | change) + "\n")
    with pytest.raises(InputError, match=r"arc_challenge/test/0 in .* no options that fit"):
        ARC_CHALLENGE.load(str(path))


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


REAL_MEDQA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "medqa_300.json"


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


@pytest.mark.skipif(not REAL_MEDQA.exists(), reason="the real questions are not on this machine")
def test_the_real_questions_load_and_can_be_graded():
    tasks = MEDQA.load(str(REAL_MEDQA)).tasks
    assert Counter(task.answer for task in tasks) == {"C": 93, "A": 85, "B": 66, "D": 56}
    assert all(task.text.count(f"\n{label}: ") == 1 for task in tasks for label in task.options)
    found = list(verified(tasks))
    assert len(found) == 300 and all(one.reference.correct and not one.corrupted.correct for one in found)
