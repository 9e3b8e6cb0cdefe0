"""Conversations in which generated word problems are solved, alone and by a team, to train small models from scratch.

A model that was trained on nothing else can then play every member of a team. Nothing of it is latent: what members
hand over in training are words, in the prompt or as earlier turns of one conversation.

Where the facts are split off, a model learns instead to be either side of a channel: to tell somebody who has only the
question what it takes, and to solve a problem.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from interlat.errors import InputError
from interlat.files import write_atomically
from interlat.progress import completed, say
from interlat.tasks.arithmetic import PEOPLE, ArithmeticOptions, arithmetic_problems
from interlat.tasks.base import Task
from interlat.tasks.boxed import ASK_FOR_BOX
from interlat.tasks.published import ANSWER_MARK
from interlat.tasks.sources import PLACE_OF_TEXT, PLAN_REQUEST
from interlat.teams.team import Team, joined_messages
from interlat.teams.topologies import TeamOptions, make_team

PLANNERS = ("planner", "refiner")
"""Members who write a plan."""
CRITIC = "critic"


@dataclass(frozen=True)
class CollectLessons:
    """Write conversations about word problems: one agent, members that read words, a team in one conversation.
    With split facts: a sender and a solver."""

    output: str
    """JSON-lines file to write. Each line has an id and the turns of a conversation."""
    count: int = 10_000
    """Number of problems, all of the split train. Each gives three conversations, or two with split facts."""
    problems: ArithmeticOptions = field(default_factory=ArithmeticOptions)
    """Which problems are generated."""
    team: TeamOptions = field(default_factory=TeamOptions)
    """The team whose prompts are learned. Its method has no effect."""
    wrong_plans: float = 0.5
    """Fraction of the plans in prompts that have a mistake, for the critic to find and the refiner to correct."""
    seed: int = 0
    """Seed of the mistakes and of the member whose turn is learned."""

    def __post_init__(self) -> None:
        if not 0 <= self.wrong_plans <= 1:
            raise InputError(f"wrong_plans is {self.wrong_plans}; give 0 to 1")
        if self.problems.split_facts and (self.team != TeamOptions() or self.wrong_plans != type(self).wrong_plans):
            raise InputError(
                "a sender and a solver are no team; leave out team and wrong_plans, or problems.split_facts"
            )

    def run(self) -> int:
        """Write the file; the number of conversations."""
        completed(collect_lessons(self), "problems")
        return (2 if self.problems.split_facts else 3) * self.count

    def report(self, conversations: int) -> None:
        """How many there are."""
        say(f"{conversations} conversations in {self.output}")


def collect_lessons(config: CollectLessons) -> Iterator[tuple[int, int]]:
    """Write the file; yields (problems done, problems in all). It appears when it is whole.

    Raises:
        InputError: settings make no sense together.
    """
    tasks = arithmetic_problems(config.count, "train", config.problems).tasks
    options = replace(config.team, answer_format=config.team.answer_format or ASK_FOR_BOX)
    alone = make_team(replace(options, topology="single"))
    writing, thinking = (make_team(replace(options, method=method)) for method in ("text", "latents"))
    lines = []
    for number, task in enumerate(tasks, start=1):
        rng = random.Random(f"lessons/{config.seed}/{task.id}")
        lessons = (
            {"sender": _telling(task), "solver": _solving(task)}
            if config.problems.split_facts
            else {
                "alone": _one_conversation(alone, task),
                "words": _one_member(writing, task, rng, config.wrong_plans),
                "together": _one_conversation(thinking, task),
            }
        )
        for kind, turns in lessons.items():
            spoken = [{"from": "gpt" if place % 2 else "human", "value": text} for place, text in enumerate(turns)]
            lines.append(json.dumps({"id": f"{task.id}#{kind}", "conversations": spoken}, ensure_ascii=False))
        yield number, len(tasks)
    write_atomically(config.output, "\n".join(lines) + "\n")


def _telling(task: Task) -> list[str]:
    """A sender that is asked as a collection asks it tells what the answer takes, from the question backwards."""
    return [PLAN_REQUEST.replace(PLACE_OF_TEXT, task.told), str(task.metadata["evidence"])]


def _solving(task: Task) -> list[str]:
    """The question and what its answer takes, as a receiver reads them, and a solution as a store gives it to one."""
    return [f"{task.text}\n{task.metadata['evidence']}", f"{task.metadata['solution']}\n{ANSWER_MARK} {task.answer}"]


def _one_conversation(team: Team, task: Task) -> list[str]:
    """All members one after the other, who find in memory what the others wrote."""
    plan = _plan(task)
    return [text for member in team.members for text in (member.filled(task.text), _said(member.name, task, plan))]


def _one_member(team: Team, task: Task, rng: random.Random, wrong: float) -> list[str]:
    """One member's turn, with what the others wrote in its prompt."""
    plan = _plan(task)
    given = _with_mistake(plan, rng) if rng.random() < wrong else plan
    learner = rng.choice(team.members)
    # What is learned is right, what is read need not be.
    heard = [(name, " ".join(given) if name == "planner" else _said(name, task, given)) for name in learner.inputs]
    return [learner.filled(task.text, joined_messages(heard)), _said(learner.name, task, given)]


def _said(name: str, task: Task, plan: Sequence[str]) -> str:
    """What a member says to a plan: the right plan, what is wrong with it, or the solution."""
    if name in PLANNERS:
        return " ".join(_plan(task))
    if name == CRITIC:
        return _check(_plan(task), plan)
    solution = str(task.metadata["solution"])
    return f"{solution[: solution.rindex('Answer:')]}\\boxed{{{task.answer}}}"


def _plan(task: Task) -> list[str]:
    """Whose numbers to find, in order, and the answer; each with its full stop."""
    return str(task.metadata["plan"]).split(" ")


def _with_mistake(plan: Sequence[str], rng: random.Random) -> list[str]:
    """The plan with somebody missing, or with somebody who has nothing to do with it."""
    people, end = list(plan[:-1]), plan[-1]
    strangers = [f"{who}." for who in PEOPLE if f"{who}." not in people]
    if len(people) > 1 and (not strangers or rng.random() < 0.5):
        people.pop(rng.randrange(len(people)))
    else:
        people.insert(rng.randint(0, len(people)), rng.choice(strangers))
    return [*people, end]


def _check(right: Sequence[str], given: Sequence[str]) -> str:
    missing = [f"{who.removesuffix('.')} is missing." for who in right if who not in given]
    useless = [f"{who.removesuffix('.')} is not needed." for who in given if who not in right]
    return " ".join([*missing, *useless]) or "All steps are right."
