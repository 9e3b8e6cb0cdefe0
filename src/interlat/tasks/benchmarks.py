"""All benchmarks, by name: data sets of which every record is a task.

Another package adds one by an entry point of ``interlat.benchmarks``, or by ``BENCHMARKS.add(name, benchmark)``.
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
    """One benchmark: where its records are, and what task a record is."""

    name: str
    """As commands and recipes spell it; ids of tasks begin with it."""
    title: str
    """As papers spell it, and where it comes from."""
    data: str
    """Its data set on the hub."""
    task_of: Callable[[Mapping[str, Any], str], Task]
    """The task of a record, from the record and what errors call it."""
    size: int
    """Tasks of the split."""
    grader: str = "mathematics"
    """Who judges the replies, see `interlat.tasks.grading.GRADERS`."""
    split: str = "test"
    """The split that results are reported for."""
    configuration: str = ""
    """Its configuration on the hub."""

    def load(self, data: str = "", split: str = "", name: str = "", revision: str = "") -> TaskSet:
        """The tasks of one split, in the published order, with the ids ``<benchmark>/<split>/<record number>``.

        Args:
            data: another data set of the hub, or a local copy as `interlat.tasks.reading.read_records` reads it.
            split, name, revision: others than the benchmark's own.

        Raises:
            InputError: what `read_records` raises, or a record that is not of this benchmark.
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
    """The benchmark of that name, however it is spelled: ``arc-easy``, ``HumanEval+``.

    Raises:
        InputError: there is none.
    """
    for known in BENCHMARKS.names():
        if _folded(name) == _folded(known):
            return BENCHMARKS[known]
    raise InputError(f"there is no benchmark {name!r}; take one of {', '.join(BENCHMARKS.names())}")


def _folded(name: str) -> str:
    return "".join(character for character in name.casefold().replace("+", "plus") if character.isalnum())
