"""What a team is worth: the same questions to one agent, to teams that write, to teams that think, and to controls."""

import dataclasses
import functools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlat.agents.agent import Agent
from interlat.agents.loading import load_engine
from interlat.connectors.base import Connector, build_connector, connector_options, latent_connector
from interlat.controls.cross_task import cross_task_partners
from interlat.engine.distributed import Ranks
from interlat.engine.lens import logit_lens
from interlat.engine.origin import Origin
from interlat.engine.protocol import Engine
from interlat.environments.protocol import Environment, Item
from interlat.environments.question import QuestionEnvironment
from interlat.evaluation.run import RESULTS_FILE as RESULTS_FILE
from interlat.evaluation.run import Play, Player, read_run, resumed
from interlat.evaluation.team_settings import CONTROLS as CONTROLS
from interlat.evaluation.team_settings import EvaluateTeams as EvaluateTeams
from interlat.messages import Message
from interlat.results import Results
from interlat.tasks.base import Task, TaskSet
from interlat.tasks.parallel import map_in_order
from interlat.tasks.sources import some_tasks
from interlat.teams.runner import Teamwork
from interlat.teams.team import Member, Team
from interlat.teams.transfer import check_team, save_message
from interlat.teams.turns import Question, TeamRun

ANSWER_FIELDS: Mapping[str, type] = {
    "success": bool,
    "data": dict,
    **dict.fromkeys(("decoded_tokens", "latent_steps", "forward_passes", "message_bytes", "seconds"), float),
}
"""What is read again of an answer."""
GRADERS = 2
"""Replies that are graded at once."""
MOST_UNGRADED = 64
"""Replies that wait for a verdict; a killed run asks for them again."""


def evaluate_teams(config: EvaluateTeams, ranks: Ranks | None = None) -> Iterator[tuple[int, int]]:
    """Run or continue; yields (answers there are, answers in all) of this process's share as it goes.

    Under ``torchrun`` each process asks its share of the questions and writes ``results-<rank>.jsonl``.

    Raises:
        InputError: settings, team and task do not go together.
        StorageError: another run writes to the folder, or it has lines that are no answers.
    """
    ranks = ranks or Ranks.from_environment()
    connector_options(config.connector)
    everything = config.task.load("solve")
    some = TaskSet(tuple(task for _, task in some_tasks(everything, config.limit)), everything.origin)
    environment = QuestionEnvironment(config.task.kind, some, limits=config.limits, workers=1)
    teams = [config.team_of(variant) for variant in config.variants]

    def begin() -> Player:
        agents = load_agents(config, ranks.device(config.device), teams)

        def play_items(variant: str, items: Sequence[Item]) -> Iterator[dict[str, Any]]:
            played = make_arm(config, variant, agents, everything.tasks).play(items)
            began = time.perf_counter()
            for record in map_in_order(functools.partial(_graded, environment), played, GRADERS, MOST_UNGRADED):
                # The time since the last answer: they add up to the time of the run.
                seconds, began = time.perf_counter() - began, time.perf_counter()
                yield record | {"seconds": seconds}

        return play_items

    settings = Play(config.output, config.hash)
    yield from resumed(environment, config.variants, settings, begin, ranks, fields=ANSWER_FIELDS)


# What makes the arms.


@dataclass(frozen=True)
class TeamArm:
    """One variant: a team that is ready to play items. Knows no files and no answers."""

    variant: str
    teamwork: Teamwork
    others: Mapping[str, Task]
    """By item the task whose question all but the final agent are asked instead; empty but for shuffled_memory."""
    traces: int
    """Likeliest tokens of each latent in the records."""
    exact: bool = False

    def play(self, items: Iterable[Item]) -> Iterator[tuple[Item, dict[str, Any]]]:
        """Ask the team about each item; yields items as they are finished, with reply, failure, costs and traces.

        Raises:
            InputError: two items have one id.
        """
        known: dict[str, Item] = {}

        def questions() -> Iterator[Question]:
            for item in items:
                known[item.id] = item
                other = self.others.get(item.id)
                yield Question(item.id, item.question, "" if other is None else other.text)

        for run in self.teamwork.run(questions()):
            yield known.pop(run.question.key), self._record(run)

    def _record(self, run: TeamRun) -> dict[str, Any]:
        final, other = self.teamwork.team.final_agent.name, self.others.get(run.question.key)
        costs = ("prompt_tokens", "latent_steps", "decoded_tokens", "forward_passes")
        sent = [turn.message_bytes for name, turn in run.turns.items() if name != final]
        engines = {name: agent.engine for name, agent in self.teamwork.members.items()}
        foreign = self.teamwork.foreign_caches
        return {
            "variant": self.variant,
            "reply": "" if run.failure else run.turns[final].text,
            "failure": run.failure,
            "seed": self.teamwork.seed,
            "dtype": engines[final].number_format,
            "exact": self.exact,
            **{name: sum(getattr(turn, name) for turn in run.turns.values()) for name in costs},
            "message_bytes": sum(sent),
            "agents": {
                name: {
                    **{k: v for k, v in dataclasses.asdict(turn).items() if k != "token_ids"},
                    "latents": _logit_lens(engines[name], run.latents.get(name), self.traces),
                }
                for name, turn in run.turns.items()
            },
            **({"foreign_caches": foreign} if foreign else {}),
            **({} if other is None else {"donor": other.id, "donor_answer": other.answer}),
        }


def make_arm(config: EvaluateTeams, variant: str, agents: Mapping[str, Agent], tasks: Sequence[Task]) -> TeamArm:
    """The arm of a variant.

    Args:
        config: teams, connector and seeds.
        variant: one of ``METHODS`` and ``CONTROLS``.
        agents: by the names that members use.
        tasks: all of the data, so that a limit changes nobody's partner.
    """
    connectors = {name: _connector(config, variant, agent.engine) for name, agent in agents.items()}
    others = {}
    if variant == "shuffled_memory":
        partners = cross_task_partners([task.id for task in tasks], run_seed=config.seed)
        others = {task.id: tasks[partner] for task, partner in zip(tasks, partners, strict=True)}

    def send(question: Question, member: Member, message: Message) -> None:
        save_message(Path(config.save_messages) / variant, question.key, member.name, message)

    teamwork = Teamwork(
        config.team_of(variant),
        agents,
        connectors,
        batch_size=1 if config.exact else config.batch_size,
        seed=config.seed,
        keep_latents=bool(config.traces),
        share_question=config.share_question,
        allow_foreign_cache=config.allow_foreign_cache,
        allow_special_tokens=config.allow_special_tokens,
        send=send if config.save_messages else None,
    )
    return TeamArm(variant, teamwork, others, config.traces, config.exact)


def load_agents(config: EvaluateTeams, device: str, teams: Iterable[Team]) -> dict[str, Agent]:
    """The models of all members. What does not fit is refused before weights are read, and weights that differ by
    `Teamwork`.

    Raises:
        CheckpointError: there is no model in a place.
        InputError, MessageError: as `interlat.teams.transfer.check_team`.
    """
    places = {"": config.model, **config.models}
    models = {place: Origin.of_checkpoint(place) for place in set(places.values())}
    for team in teams:
        named = {name: models[place] for name, place in places.items()}
        check_team(team, named, allow_foreign_cache=config.allow_foreign_cache)
    return {
        name: Agent(load_engine(place, config.template, engine=config.engine, dtype=config.dtype, device=device)[0])
        for name, place in places.items()
    }


def _connector(config: EvaluateTeams, variant: str, engine: Engine) -> Connector:
    if variant == "random_alignment":
        return build_connector("random", engine, seed=config.seed)
    return latent_connector(config.connector, engine)


def _logit_lens(engine: Engine, latents: Any, count: int) -> list[list[str]]:
    """The likeliest tokens of each latent under the model's own head."""
    if latents is None or not count:
        return []
    ids = logit_lens(engine.logits, latents, count).token_ids.tolist()
    return [[str(engine.tokenizer.decode([token])) for token in row] for row in ids]


# Grading.


def results_of(config: EvaluateTeams) -> Results:
    """The results of an evaluation in its run directory. Raises StorageError: a line there is no answer."""
    return read_run(config.output, config.hash, ANSWER_FIELDS)


def _graded(environment: Environment, played: tuple[Item, dict[str, Any]]) -> dict[str, Any]:
    """The record with its verdict; on a thread, so that a slow program delays no other item."""
    item, record = played
    (outcome,) = environment.step([item], [record["reply"]])
    verdict = {"success": outcome.success, **outcome.facts, **item.facts}
    return {"item": item.id, "task_type": item.task_type, **verdict, **record}
