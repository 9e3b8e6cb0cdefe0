"""HumanEval (arXiv 2107.03374), and HumanEval+ with many more tests (EvalPlus, arXiv 2305.01210): write a function."""

from collections.abc import Mapping
from typing import Any

from interlat.tasks.base import Task
from interlat.tasks.benchmark import Benchmark
from interlat.tasks.evalplus import complete
from interlat.tasks.records import value_of


def _task(row: Mapping[str, Any], where: str) -> Task:
    prompt, function = value_of(row, "prompt", where), value_of(row, "entry_point", where)
    return Task(
        id=where,
        text=(
            "Write the Python function that is begun here. Write all that it needs, with its imports.\n\n"
            f"```python\n{prompt.strip()}\n```"
        ),
        answer=prompt + value_of(row, "canonical_solution", where),
        metadata={
            "tests": complete(f"{value_of(row, 'test', where)}\ncheck({function})\n"),
            "functions": [function],
            # Some tests use the helper functions that stand there.
            "before": prompt,
        },
    )


HUMANEVAL = Benchmark(
    "humaneval", "HumanEval (arXiv 2107.03374)", data="openai/openai_humaneval", task_of=_task, size=164, grader="code"
)
HUMANEVAL_PLUS = Benchmark(
    "humanevalplus",
    "HumanEval+ (arXiv 2305.01210)",
    data="evalplus/humanevalplus",
    task_of=_task,
    size=164,
    grader="code",
)
