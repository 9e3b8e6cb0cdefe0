"""The household as a task source: stored episodes of authored games, for `interlat collect`."""

from pathlib import Path
from typing import Any

from interlat.environments.alfworld.prompts import room_and_task
from interlat.errors import InputError
from interlat.experiments.household.episodes import read_episodes
from interlat.experiments.household.prompts import scout_prompt
from interlat.files import sha256_of
from interlat.tasks.base import Task, TaskSet
from interlat.tasks.sources import TEMPLATES, Ask, SourceKind, TaskSource


class HouseholdKind(SourceKind):
    """The kind ``alfworld``. The text of a task is all of the scout's prompt, request included, if it has its notes."""

    takes = ("data", "notes")
    needs_data = True
    ask = "plan"
    asks = ("text", "plan", "list", "solve")

    def load(self, source: TaskSource, ask: Ask) -> TaskSet:
        """One task for each stored episode, whose record goes into the metadata: training needs nothing else.

        Raises:
            InputError: there is no such file.
        """
        if not Path(source.data).is_file():
            raise InputError(f"there is no file {source.data}; make it with `interlat collect episodes`")
        tasks = []
        for record in read_episodes(source.data):
            scene = {key: value for key, value in record.items() if key != "episodes"}
            for episode in record["episodes"]:
                opening, evidence = record["opening"], episode["evidence"]
                asked = scout_prompt(opening, evidence, "list" if ask == "list" else "plan")
                tasks.append(
                    Task(
                        id=f"{record['item']}#{episode['draw']}",
                        text=asked if source.notes else room_and_task(opening),
                        split=record["split"],
                        task_type=record["task_type"],
                        metadata={"record": scene, "episode": episode},
                    )
                )
        return TaskSet(tuple(tasks), {"data": source.data, "sha256": sha256_of(Path(source.data).read_bytes())})

    def described(self, source: TaskSource) -> dict[str, Any]:
        return {"notes": source.notes}

    def template(self, source: TaskSource, ask: Ask) -> str:
        return TEMPLATES["text" if source.notes and ask in ("plan", "list") else ask]


HOUSEHOLD = HouseholdKind()
