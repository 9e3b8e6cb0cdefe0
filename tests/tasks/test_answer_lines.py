import itertools
import json

import pytest

from hub_rows import HUB_ROWS
from interlat.tasks.answer_lines import LOADER, graded_lines
from interlat.tasks.grading import GRADERS

PROGRAM = "```python\ndef twice(n):\n    return 2 * n\n```"
LINES = [
    {"id": "m", "kind": "mathematics", "gold": "-4,9", "answer": r"\boxed{9} and \boxed{-4}"},
    {"id": "c", "kind": "choice", "gold": "B", "options": {"A": "one", "B": "two"}, "answer": "The answer is (B)."},
    {"id": "l", "kind": "choice", "gold": "B", "options": ["one", "two"], "answer": r"\boxed{A}"},
    {
        "id": "p",
        "kind": "code",
        "answer": PROGRAM,
        "tests": "assert twice(3) == 6",
        "functions": ["twice"],
        "before": "",
    },
    {"id": "s", "kind": "loader", "solution": r"So it is $\boxed{9}$.", "answer": "The answer is 9."},
    {"kind": "mathematics", "gold": 7, "answer": 7.0},
]


def encoded(rows):
    return [json.dumps(row).encode() + b"\n" for row in rows]


def test_every_kind_is_graded_in_order():
    found = list(graded_lines(encoded(LINES)))
    assert [one.as_json() for one in found] == [
        {"id": "m", "correct": True, "how": "symbolic", "extracted": "9, -4"},
        {"id": "c", "correct": True, "how": "exact", "extracted": "B"},
        {"id": "l", "correct": False, "how": "exact", "extracted": "A"},
        {"id": "p", "correct": True, "how": "executed", "extracted": "def twice(n):\n    return 2 * n\n"},
        {"id": "s", "correct": True, "how": "exact", "extracted": "9"},
        {"id": "6", "correct": True, "how": "numeric", "extracted": "7.0"},
    ]
    assert {row["kind"] for row in LINES} == {*GRADERS.names(), LOADER}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"nonsense", "this is no JSON"),
        (b"\xff\xfe", "this is no JSON"),
        (b"[" * 100_000, "this is no JSON"),
        (b"[1]", "this is list in JSON, expected an object"),
        (b'{"kind": "maths"}', "kind is 'maths', expected one of mathematics, choice, code, loader"),
        (b'{"kind": ["mathematics"]}', "kind is ['mathematics']"),
        (b'{"kind": "mathematics", "answer": "7"}', "gold is null, expected a text"),
        (b'{"kind": "mathematics", "gold": true, "answer": "7"}', "gold is true"),
        (b'{"kind": "mathematics", "gold": "7", "answer": null}', "answer is null"),
        (b'{"kind": "mathematics", "gold": " ", "answer": "7"}', "no right answer"),
        (b'{"kind": "choice", "gold": "C", "answer": "A", "options": ["a", "b"]}', "none of the options A, B"),
        (b'{"kind": "choice", "gold": "A", "answer": "A", "options": {"A": 1}}', "options is {'A': 1}"),
        (b'{"kind": "code", "answer": "x", "tests": "1", "functions": "f"}', "functions is 'f'"),
        (b'{"kind": "loader", "answer": "3", "solution": "no box"}', "no \\boxed"),
        (b'{"kind": "gsm8k", "answer": "3", "record": "?"}', 'record is "?", expected an object'),
        (b'{"kind": "gsm8k", "answer": "3", "record": {"question": "?"}}', "has no 'answer'; its columns are question"),
    ],
)
def test_a_bad_line_says_why_and_the_rest_goes_on(line, said):
    good = json.dumps(LINES[0]).encode()
    first, bad, last = graded_lines([good, line, b"\n", good])
    assert said in bad.error and bad.error.startswith("line 2: ") and "\n" not in bad.error
    assert bad.as_json() == {"id": "2", "correct": None, "how": None, "extracted": None, "error": bad.error}
    assert first.verdict.correct and last.verdict.correct


def test_half_a_character_is_an_answer_like_any_other():
    line = b'{"kind": "mathematics", "gold": "7", "answer": "so \\ud83d it is 7", "id": "\\ud83d"}'
    (found,) = graded_lines([line])
    assert found.verdict.correct and found.id == "\ud83d"


def test_lines_are_read_as_they_are_needed():
    endless = itertools.cycle(encoded(LINES[:1]))
    found = graded_lines(endless, workers=1)
    assert [next(found).id for _ in range(5)] == ["m"] * 5
    found.close()


def test_a_line_may_hold_the_row_of_a_benchmark():
    rows = {name: HUB_ROWS[name][0] for name in ("gsm8k", "medqa", "humaneval")}
    lines = [{"kind": name, "record": row, "answer": "\\boxed{A}"} for name, row in rows.items()]
    found = list(graded_lines(encoded(lines)))
    assert [one.error for one in found] == ["", "", ""]
    assert [one.verdict.how for one in found] == ["symbolic", "exact", "unparsed"]
