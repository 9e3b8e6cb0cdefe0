"""Add a benchmark in one file: every record of a data set becomes a task, and a grader that is there judges replies.

Run it: ``python examples/add_a_benchmark.py``. A package of your own names it in its ``pyproject.toml`` instead::

    [project.entry-points."interlat.benchmarks"]
    squares = "your_package.squares:SQUARES"
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import interlat
from interlat.tasks.base import Task
from interlat.tasks.benchmarks import BENCHMARKS, Benchmark


def task_of(record: Mapping[str, Any], where: str) -> Task:
    """The task of a record ``{"n": 7}``."""
    return Task(id=where, text=f"What is {record['n']} times {record['n']}?", answer=str(record["n"] ** 2))


SQUARES = Benchmark("squares", "Squares of small numbers", data="your-name/squares", task_of=task_of, size=3)


def main() -> None:
    """Ask a bundled model, alone, from a local file of the same form as the data set."""
    BENCHMARKS.add("squares", SQUARES)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "squares.jsonl"
        data.write_text("".join(json.dumps({"n": n}) + "\n" for n in (2, 3, 4)))
        results = interlat.evaluate(
            sender=interlat.bundled("alfworld-mini/scout"),
            environment="squares",
            data=(str(data),),
            channels=("none",),
            max_new_tokens=4,
            output=f"{folder}/run",
        )
    for line in results.records:
        print(line["item"], "right" if line["success"] else "wrong")


if __name__ == "__main__":
    main()
