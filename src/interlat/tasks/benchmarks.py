"""All benchmarks by name. A benchmark is a data set in which every record is a task.

Another package adds one with an entry point in ``interlat.benchmarks``, or with ``BENCHMARKS.add(name, benchmark)``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from interlat.errors import InputError
from interlat.registry import Registry
from interlat.tasks.base import Task, TaskSet
from interlat.tasks.reading import read_records


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: the place of its records, and how a record becomes a task."""

    name: str
    """Name in commands and recipes. Ids of tasks begin with it."""
    title: str
    """Name in papers, and its source."""
    data: str
    """Its data set on the hub."""
    task_of: Callable[[Mapping[str, Any], str], Task]
    """Makes a task from a record and the record's name in errors."""
    size: int
    """Number of tasks in the split."""
    grader: str = "mathematics"
    """Name of the grader of the replies, see `interlat.tasks.grading.GRADERS`."""
    split: str = "test"
    """Split for which results are reported."""
    configuration: str = ""
    """Its configuration on the hub."""

    def load(self, data: str = "", split: str = "", name: str = "", revision: str = "") -> TaskSet:
        """The tasks of one split, in the published order, with the ids ``<benchmark>/<split>/<record number>``.

        Args:
            data: another data set of the hub, or a local copy that `interlat.tasks.reading.read_records` can read.
            split, name, revision: values to use instead of the benchmark's own.

        Raises:
            InputError: as for `read_records`, or a record does not belong to this benchmark.
        """
        data, split = data or self.data, split or self.split
        records, origin = read_records(data, split, name or self.configuration, revision)
        tasks = []
        for number, record in enumerate(records):
            id = f"{self.name}/{split}/{number}"
            tasks.append(replace(self.task_of(record, f"{id} in {data}"), id=id, split=split, grader=self.grader))
        return TaskSet(tuple(tasks), origin)


_HOMES = {
    "gsm8k": "published:GSM8K", "math": "hendrycks_math:MATH", "math500": "hendrycks_math:MATH_500",
    "aime2024": "published:AIME_2024", "aime2025": "published:AIME_2025", "gpqa": "published:GPQA",
    "arc_easy": "published:ARC_EASY", "arc_challenge": "published:ARC_CHALLENGE",
    "winogrande": "published:WINOGRANDE", "medqa": "published:MEDQA", "mbppplus": "programming:MBPP_PLUS",
    "humaneval": "programming:HUMANEVAL", "humanevalplus": "programming:HUMANEVAL_PLUS",
}  # fmt: skip
BENCHMARKS: Registry[Benchmark] = Registry(
    "benchmarks", {name: f"interlat.tasks.{home}" for name, home in _HOMES.items()}
)


def benchmark_named(name: str) -> Benchmark:
    """The benchmark of that name, in any spelling, such as ``arc-easy`` or ``HumanEval+``.

    Raises:
        InputError: there is no such benchmark.
    """
    for known in BENCHMARKS.names():
        if _folded(name) == _folded(known):
            return BENCHMARKS[known]
    raise InputError(f"there is no benchmark {name!r}; take one of {', '.join(BENCHMARKS.names())}")


def _folded(name: str) -> str:
    return "".join(character for character in name.casefold().replace("+", "plus") if character.isalnum())
