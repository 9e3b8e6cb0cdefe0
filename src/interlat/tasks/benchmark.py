"""The base of the benchmarks: a data set of which every row is a task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from interlat.tasks.base import Grader, Task, TaskSet
from interlat.tasks.records import read_rows


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: where its rows are, and what task a row is."""

    name: str
    """As commands and recipes spell it; ids of tasks begin with it."""
    title: str
    """As papers spell it, and where it comes from."""
    data: str
    """Its data set on the hub."""
    task_of: Callable[[Mapping[str, Any], str], Task]
    """The task of a row, from the row and what errors call it."""
    size: int
    """Tasks of the split."""
    grader: Grader = "mathematics"
    """Who judges the replies."""
    split: str = "test"
    """The split that results are reported for."""
    configuration: str = ""
    """Its configuration on the hub."""

    def load(self, data: str = "", split: str = "", name: str = "", revision: str = "") -> TaskSet:
        """The tasks of one split, in the published order, with the ids ``<benchmark>/<split>/<row number>``.

        Args:
            data: another data set of the hub, or a local copy as `interlat.tasks.records.read_rows` reads it.
            split: another split.
            name: another configuration.
            revision: branch, tag or commit on the hub.

        Raises:
            InputError: what `read_rows` raises, or a row that is not of this benchmark.
        """
        data, split = data or self.data, split or self.split
        rows, origin = read_rows(data, split, name or self.configuration, revision)
        tasks = []
        for number, row in enumerate(rows):
            id = f"{self.name}/{split}/{number}"
            tasks.append(replace(self.task_of(row, f"{id} in {data}"), id=id, split=split, grader=self.grader))
        return TaskSet(tuple(tasks), origin)
