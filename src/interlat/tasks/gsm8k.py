"""GSM8K (arXiv 2110.14168): grade-school word problems whose answer is one number."""

from interlat.errors import InputError
from interlat.tasks.base import Task, TaskSet
from interlat.tasks.records import read_rows, value_of

ANSWER_MARK = "####"
"""Stands between a solution and its answer."""


def load_gsm8k(data: str = "openai/gsm8k", split: str = "test", revision: str = "") -> TaskSet:
    """The problems of one split, in the published order.

    The id is ``gsm8k/<split>/<row number>``, counted from 0. The answer is the number after ``####`` without
    thousands commas; the text before it is ``metadata["solution"]``, with the ``<<...>>`` notes of the calculator.

    Args:
        data: the hub's data set, or a local copy as `read_rows` reads it.
        split: train or test.
        revision: branch, tag or commit on the hub.

    Raises:
        InputError: what `read_rows` raises, or a row that is not of GSM8K.
    """
    rows, origin = read_rows(data, split, "main", revision)
    tasks = []
    for number, row in enumerate(rows):
        identifier = f"gsm8k/{split}/{number}"
        where = f"{identifier} in {data}"
        solution, mark, answer = value_of(row, "answer", where).rpartition(ANSWER_MARK)
        if not mark:
            raise InputError(
                f"{where} has no {ANSWER_MARK} in its answer, expected the solution, {ANSWER_MARK}, a number"
            )
        task = Task(
            id=identifier,
            text=value_of(row, "question", where),
            answer=answer.replace(",", "").strip(),
            split=split,
            metadata={"solution": solution.strip()},
        )
        tasks.append(task)
    return TaskSet(tuple(tasks), origin)
