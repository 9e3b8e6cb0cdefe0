"""MATH: ids that no choice of subjects or levels moves, boxed answers, the real problems."""

import json
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest

from hub_rows import HUB_ROWS
from interlat.errors import InputError
from interlat.tasks.graders.mathematics import grade_mathematics as grade
from interlat.tasks.grading import grade as grade_task
from interlat.tasks.hendrycks_math import MATH, MATH_500, SUBJECTS, answers_of

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "math_test_500.jsonl"
TITLES = {subject: subject.replace("_and_", " & ").replace("_", " ").title() for subject in SUBJECTS}


def row(subject: str, number: int, level: str = "Level 1") -> dict[str, str]:
    return {
        "problem": f"{subject} {number}?",
        "level": level,
        "type": TITLES[subject],
        "solution": f"First $\\boxed{{0}}$, then $\\boxed{{\\frac{{{number}}}{{7}}}}$.",
    }


MIXED = [
    row("geometry", 0, "Level 5"),
    row("algebra", 0),
    row("counting_and_probability", 0, "Level 2"),
    row("geometry", 1, "Level ?"),
    row("algebra", 1, "Level 5"),
    row("geometry", 2, "Level 2"),
]


def written(path: Path, rows: list[dict[str, str]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_one_file_may_hold_all_subjects(tmp_path: Path) -> None:
    tasks = MATH.load(written(tmp_path / "x.jsonl", MIXED)).tasks
    assert [task.id for task in tasks] == [
        "math/test/algebra/0",
        "math/test/algebra/1",
        "math/test/counting_and_probability/0",
        "math/test/geometry/0",
        "math/test/geometry/1",
        "math/test/geometry/2",
    ]
    assert [task.metadata["level"] for task in tasks] == [1, 5, 2, 5, None, 2]
    assert tasks[1].answer == r"\frac{1}{7}"
    assert (tasks[1].text, tasks[1].task_type, tasks[1].split) == ("algebra 1?", "algebra", "test")
    assert tasks[1].metadata["solution"] == row("algebra", 1)["solution"]


@pytest.mark.parametrize("subjects", [(), ("geometry",), ("geometry", "algebra"), ("algebra", "geometry")])
@pytest.mark.parametrize("levels", [(), (5,), (2, 5)])
def test_ids_do_not_depend_on_the_subset(tmp_path: Path, subjects: tuple[str, ...], levels: tuple[int, ...]) -> None:
    data = written(tmp_path / "x.jsonl", MIXED)
    whole = MATH.load(data).tasks
    expected = [
        task
        for task in whole
        if (not subjects or task.task_type in subjects) and (not levels or task.metadata["level"] in levels)
    ]
    assert list(MATH.load(data, subjects=subjects, levels=levels).tasks) == expected


def test_ids_differ_between_splits(tmp_path: Path) -> None:
    data = written(tmp_path / "x.jsonl", MIXED)
    assert not {task.id for task in MATH.load(data, "train").tasks} & {task.id for task in MATH.load(data).tasks}


def test_a_folder_may_hold_a_file_or_a_folder_for_each_subject(tmp_path: Path) -> None:
    expected = MATH.load(written(tmp_path / "x.jsonl", MIXED))
    of = {subject: [line for line in MIXED if line["type"] == TITLES[subject]] for subject in SUBJECTS}
    for subject in ("algebra", "counting_and_probability"):
        written(tmp_path / "parts" / subject / "test.jsonl", of[subject])
        written(tmp_path / "parts" / subject / "train.jsonl", of[subject][:1])
    written(tmp_path / "parts" / "geometry.jsonl", of["geometry"])
    found = MATH.load(str(tmp_path / "parts"))
    assert found.tasks == expected.tasks
    assert found.origin["data"] == str(tmp_path / "parts")
    assert found.origin["sha256"] == MATH.load(str(tmp_path / "parts")).origin["sha256"]
    written(tmp_path / "parts" / "geometry.jsonl", of["geometry"][:1])
    assert found.origin["sha256"] != MATH.load(str(tmp_path / "parts")).origin["sha256"]
    with pytest.raises(InputError, match="has nothing of prealgebra"):
        MATH.load(str(tmp_path / "parts"), subjects=("algebra", "prealgebra"))


def test_a_folder_may_hold_a_mixed_file_for_each_split(tmp_path: Path) -> None:
    written(tmp_path / "all" / "test.jsonl", MIXED)
    assert len(MATH.load(str(tmp_path / "all")).tasks) == len(MIXED)


def test_the_hub_is_asked_for_each_subject_at_one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    resolved: list[Any] = []

    def load_dataset(path: str, name: str, **named: Any) -> datasets.Dataset:
        asked.append((path, name, named))
        return datasets.Dataset.from_list([row(name, 0), row(name, 1, "Level 4")])

    def dataset_info(self: object, name: str, revision: str | None) -> huggingface_hub.DatasetInfo:
        resolved.append(revision)
        return huggingface_hub.DatasetInfo(id=name, sha="a" * 40)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    found = MATH.load(split="train", subjects=("precalculus", "algebra"), levels=(4,))
    named = {"split": "train", "revision": "a" * 40}
    assert asked == [("EleutherAI/hendrycks_math", name, named) for name in ("algebra", "precalculus")]
    assert resolved == [None]
    assert found.origin == {"data": "EleutherAI/hendrycks_math", "revision": "a" * 40}
    assert [task.id for task in found.tasks] == ["math/train/algebra/1", "math/train/precalculus/1"]
    asked.clear()
    assert len(MATH.load().tasks) == 14
    assert [name for _, name, _ in asked] == list(SUBJECTS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"solution": "It is 7."}, r"math/test/algebra/1 has no \\boxed"),
        ({"level": "Level 6"}, r"math/test/algebra/1 has the level 'Level 6'"),
        ({"type": "Topology"}, "record 1 of .* has the type 'Topology', expected one of algebra"),
    ],
)
def test_a_row_that_is_not_of_math_is_named(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    data = written(tmp_path / "x.jsonl", [row("algebra", 0), row("algebra", 1) | changes])
    with pytest.raises(InputError, match=message):
        MATH.load(data)


def test_unknown_subjects_and_levels_are_refused_before_anything_is_read() -> None:
    with pytest.raises(InputError, match="subjects are algebra, topology; choose among algebra, counting"):
        MATH.load("nowhere.jsonl", subjects=("algebra", "topology"))
    for level in (0, 6):
        with pytest.raises(InputError, match=f"levels are {level}; choose among 1, 2, 3, 4, 5"):
            MATH.load("nowhere.jsonl", levels=(level,))


def test_a_subset_without_problems_is_an_error(tmp_path: Path) -> None:
    data = written(tmp_path / "x.jsonl", MIXED)
    with pytest.raises(InputError, match="has no tasks"):
        MATH.load(data, levels=(3,))
    with pytest.raises(InputError, match="has nothing of prealgebra"):
        MATH.load(data, subjects=("prealgebra",))


@pytest.mark.skipif(not REAL.exists(), reason="the real problems are not on this machine")
def test_the_real_problems_load_and_their_solutions_are_right() -> None:
    tasks = MATH.load(str(REAL)).tasks
    assert len(tasks) == 500
    assert {task.task_type for task in tasks} == set(SUBJECTS)
    assert {task.metadata["level"] for task in tasks} == {1, 2, 3, 4, 5}
    assert [task.id for task in tasks if not grade(task.metadata["solution"], task.answer).correct] == []


@pytest.mark.skipif(not REAL.exists(), reason="the real problems are not on this machine")
def test_the_real_numbers_changed_by_one_are_wrong() -> None:
    whole = [task for task in MATH.load(str(REAL)).tasks if task.answer.isdecimal()]
    assert len(whole) > 300
    for task in whole:
        assert not grade(f"\\boxed{{{int(task.answer) + 1}}}", task.answer).correct, task.id
        assert grade(f"The answer is {int(task.answer):,}.", task.answer).correct, task.id


LISTED = "Find all $x$. Enter the values separated by commas."


@pytest.mark.parametrize(
    ("problem", "solution", "answers"),
    [
        # One answer: an earlier result, another derivation, another way to write it.
        ("Find it.", r"First $\boxed{\frac{1}{3}}$, and so $1+3=\boxed{4}$.", ["4"]),
        ("Find it.", r"It is \boxed{\frac32}. Or: it is \boxed{\frac{3}{2}}.", [r"\frac{3}{2}"]),
        ("Find it.", r"This gives $\boxed{x+5}$ or $\boxed{5+x}$.", ["5+x"]),
        ("Find it.", r"\boxed{1\frac12}$, or $\boxed{\frac{3}{2}}", [r"\frac{3}{2}"]),
        (LISTED, r"\boxed{1,2} and once more \boxed{1,2}", ["1,2"]),
        (LISTED, r"\boxed{\boxed{1},2}", [r"\boxed{1},2"]),
        ("Find it.", "Nothing.", []),
        # All of them.
        ("Solve.", r"The roots are $x=\boxed{-4}$ and $x=\boxed{9}$.", ["-4, 9"]),
        ("Solve.", r"\[\boxed{(1,2)} \text{ and } \boxed{(3,4)}\]", ["(1,2), (3,4)"]),
        (LISTED, r"If $r=1$, $b=\boxed{-7}.$ If $r=-1$, then $b=\boxed{7}.$", ["-7, 7"]),
        (LISTED, "a &= \\boxed{5-i}, \\\\\nb &= \\boxed{11}, \\\\\nc &= \\boxed{i}.", ["5-i, 11, i"]),
        (LISTED, r"$x$ must be $\boxed{3}$ or $\boxed{\frac{2}{5}}$.", [r"3, \frac{2}{5}"]),
        (LISTED, r"This is \boxed{30^\circ}. So is \boxed{45^\circ}; the third, \boxed{105^\circ}.",
         [r"30^\circ, 45^\circ, 105^\circ"]),
        # Any of them.
        ("Find it.", r"So $d=\boxed{-3}$. Note: $\boxed{3}$ is also accepted as an answer.", ["3", "-3"]),
        ("Name one.", r"\boxed{(9,0)} and \boxed{(0,0)}. (Either point is an acceptable answer.)",
         ["(0,0)", "(9,0)", "(9,0), (0,0)"]),
    ],
)  # fmt: skip
def test_the_answer_may_be_in_several_boxes(problem: str, solution: str, answers: list[str]) -> None:
    assert answers_of(problem, solution) == answers


def test_each_accepted_answer_is_right(tmp_path: Path) -> None:
    rows = [
        row("algebra", 0) | {"solution": r"So $d=\boxed{-3}$. Note: $\boxed{3}$ is also accepted as an answer."},
        row("algebra", 1) | {"problem": LISTED, "solution": r"$b=\boxed{-7}.$ But if not, $b=\boxed{7}.$"},
    ]
    either, both = MATH.load(written(tmp_path / "x.jsonl", rows)).tasks
    assert [grade_task(f"\\boxed{{{answer}}}", either).correct for answer in ("3", "-3", "3,-3", "4")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert [grade_task(f"\\boxed{{{answer}}}", both).correct for answer in ("7,-7", "7", "-7")] == [True, False, False]


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
        assert grade_task(r"\boxed{9,-4}", task).correct and not grade_task(r"\boxed{9}", task).correct
