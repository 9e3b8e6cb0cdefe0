"""What a team is worth: the same questions to one agent, to teams that write, to teams that think, and to controls."""

import dataclasses
import functools
import resource
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from interlat.agents.loading import load_engine
from interlat.agents.sources import some_tasks
from interlat.connectors.identity import NormMatchedIdentity
from interlat.connectors.random import RandomAlignment
from interlat.connectors.ridge import ridge_map
from interlat.connectors.vocabulary import VocabularyMean
from interlat.controls.cross_task import cross_task_partners
from interlat.engine.checkpoint import load_model_config
from interlat.engine.distributed import Ranks
from interlat.engine.hf import Align, Engine
from interlat.engine.origin import Origin
from interlat.errors import InputError
from interlat.evaluation.team_settings import CONTROLS as CONTROLS
from interlat.evaluation.team_settings import METHODS as METHODS
from interlat.evaluation.team_settings import AlignName as AlignName
from interlat.evaluation.team_settings import EvaluateTeams as EvaluateTeams
from interlat.files import append_line
from interlat.results import Results, read_results
from interlat.tasks.base import Task, TaskSet
from interlat.tasks.graders.verdict import Verdict
from interlat.tasks.grading import grade
from interlat.tasks.parallel import map_in_order
from interlat.teams.runner import Question, TeamRun, Teamwork, check_members, foreign_cache, hand_overs
from interlat.teams.team import Team

RESULTS_FILE = "results.jsonl"
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
    with ranks.alone_in(config.output):
        yield from _evaluate(config, ranks)


def _evaluate(config: EvaluateTeams, ranks: Ranks) -> Iterator[tuple[int, int]]:
    everything = config.task.load("solve")
    tasks = [task for _, task in some_tasks(everything, config.limit)]
    without = next((task for task in tasks if not task.answer.strip()), None)
    if without is not None:
        raise InputError(f"{without.id} has no answer to grade against; add it, or leave the task out")
    teams = {variant: config.team_of(variant) for variant in config.variants}
    found = results_of(config)
    if any(line["data"] != everything.origin for line in found):
        raise InputError(
            f"{config.output} holds answers to other data ({found[0]['data']}), the tasks are now those of "
            f"{dict(everything.origin)}; use another output folder"
        )
    done = {(line["variant"], line["item"]) for line in found}
    share = ranks.share(tasks)
    wanted = {variant: [task for task in share if (variant, task.id) not in done] for variant in config.variants}
    total, count = len(share) * len(teams), sum(len(share) - len(missing) for missing in wanted.values())
    # Before the first word of progress: what is refused here has written nothing.
    engines = _engines(config, ranks, list(teams.values())) if count < total else {}
    yield count, total
    if count == total:
        return
    aligns = {name: _align(config.align, engine) for name, engine in engines.items()}
    path = Path(config.output) / (RESULTS_FILE if ranks.world_size == 1 else f"results-{ranks.rank}.jsonl")
    for variant, team in teams.items():
        for record in _ask(config, variant, team, engines, aligns, wanted[variant], everything):
            append_line(path, record)
            count += 1
            yield count, total


def results_of(config: EvaluateTeams) -> list[dict[str, Any]]:
    """The records of this configuration, of all processes; each answer once."""
    return read_answers(config).records


def read_answers(config: EvaluateTeams) -> Results:
    """The records of this configuration, and how many lines repeat one.

    Raises:
        StorageError: a line there is no answer.
    """
    paths = sorted(Path(config.output).glob("results*.jsonl"))
    return read_results(paths, config.hash, fields=ANSWER_FIELDS)


def _ask(
    config: EvaluateTeams,
    variant: str,
    team: Team,
    engines: Mapping[str, Engine],
    aligns: Mapping[str, Align],
    wanted: Sequence[Task],
    everything: TaskSet,
) -> Iterator[dict[str, Any]]:
    if variant == "random_alignment":
        aligns = {name: _random_align(engine, config.seed) for name, engine in engines.items()}
    others: dict[str, str] = {}
    if variant == "shuffled_memory":
        # Over the whole set, so that a limit changes nobody's partner.
        partners = cross_task_partners([task.id for task in everything.tasks], run_seed=config.seed)
        others = {
            task.id: everything.tasks[partner].text for task, partner in zip(everything.tasks, partners, strict=True)
        }
    teamwork = Teamwork(
        team,
        engines,
        aligns,
        batch_size=1 if config.exact else config.batch_size,
        seed=config.seed,
        keep_latents=bool(config.traces),
        share_question=config.share_question,
        allow_foreign_cache=config.allow_foreign_cache,
        allow_special_tokens=config.allow_special_tokens,
    )
    by_key = {task.id: task for task in wanted}
    began = time.perf_counter()
    works = teamwork.run(Question(task.id, task.text, others.get(task.id, "")) for task in wanted)
    for work, verdict in _graded(config, team, works, by_key):
        now = time.perf_counter()
        record = _record(config, variant, team, engines, work, by_key[work.question.key], verdict, now - began)
        foreign = {"foreign_caches": teamwork.foreign_caches} if teamwork.foreign_caches else {}
        yield {**record, **foreign, "data": dict(everything.origin)}
        began = now


def _graded(
    config: EvaluateTeams, team: Team, works: Iterator[TeamRun], tasks: Mapping[str, Task]
) -> Iterator[tuple[TeamRun, Verdict]]:
    """Each item with its verdict; programs run beside the team, so that a slow one holds nobody up."""

    def graded(work: TeamRun) -> tuple[TeamRun, Verdict]:
        reply = "" if work.failure else work.turns[team.answerer.name].text
        return work, grade(reply, tasks[work.question.key], config.limits)

    yield from map_in_order(graded, works, GRADERS, MOST_UNGRADED)


def _record(
    config: EvaluateTeams,
    variant: str,
    team: Team,
    engines: Mapping[str, Engine],
    work: TeamRun,
    task: Task,
    verdict: Verdict,
    seconds: float,
) -> dict[str, Any]:
    turns = work.turns.values()
    return {
        "item": task.id,
        "variant": variant,
        "task_type": task.task_type,
        "success": verdict.correct,
        "how": verdict.how,
        "reason": verdict.reason,
        "isolation": list(verdict.isolation),
        "answer": task.answer,
        "reply": "" if work.failure else work.turns[team.answerer.name].text,
        "failure": work.failure,
        "seed": config.seed,
        "config_hash": config.hash,
        "dtype": str(next(iter(engines.values())).dtype).removeprefix("torch."),
        "exact": config.exact,
        "prompt_tokens": sum(turn.prompt_tokens for turn in turns),
        "latent_steps": sum(turn.latent_steps for turn in turns),
        "decoded_tokens": sum(turn.decoded_tokens for turn in turns),
        "message_bytes": sum(turn.message_bytes for name, turn in work.turns.items() if name != team.answerer.name),
        "forward_passes": sum(turn.forward_passes for turn in turns),
        # The time since the last answer: they add up to the time of the run.
        "seconds": seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "agents": {
            name: {
                **{k: v for k, v in dataclasses.asdict(turn).items() if k != "token_ids"},
                "latents": _words(engines[team.member(name).model], work.latents.get(name), config.traces),
            }
            for name, turn in work.turns.items()
        },
    }


def _words(engine: Engine, latents: Any, count: int) -> list[list[str]]:
    """The likeliest tokens of each latent under the model's own head."""
    if latents is None or not count:
        return []
    ids = engine.logits(latents).topk(count, dim=-1).indices.tolist()
    return [[str(engine.tokenizer.decode([token])) for token in row] for row in ids]


def _check_caches(config: EvaluateTeams, teams: Iterable[Team]) -> None:
    """Refuse, before any model is loaded, that a member reads a memory of another architecture, rotation or tokenizer.

    Weights are compared once they are there, in `Teamwork`.
    """
    places = {"": config.model, **config.models}
    origin = functools.cache(Origin.of_checkpoint)
    pairs = [pair for team in teams for pair in hand_overs(team)] if not config.allow_foreign_cache else []
    for sender, receiver in pairs:
        made, read = places.get(sender.model), places.get(receiver.model)
        if made is None or read is None or made == read:
            continue
        if differing := origin(read).differences(origin(made), weights=False):
            raise foreign_cache(sender, receiver, differing)


def _engines(config: EvaluateTeams, ranks: Ranks, teams: Sequence[Team]) -> dict[str, Engine]:
    places = {"": config.model, **config.models}
    # Their configurations say whether the models fit; the weights need not be read for that.
    layers = {name: (place, load_model_config(place).num_hidden_layers) for name, place in places.items()}
    for team in teams:
        check_members(team, layers)
    _check_caches(config, teams)
    device = ranks.device(config.device)
    return {
        name: load_engine(place, config.template, dtype=config.dtype, device=device)[0]
        for name, place in places.items()
    }


def _align(name: AlignName, engine: Engine) -> Align:
    table = engine.input_embeddings
    if name == "ridge":
        return ridge_map(engine)
    if name == "vocabulary":
        return VocabularyMean(engine.logits, engine.hidden_size, table)
    return NormMatchedIdentity.of_embeddings(table)


def _random_align(engine: Engine, seed: int) -> Align:
    identity = NormMatchedIdentity.of_embeddings(engine.input_embeddings)
    return RandomAlignment(identity, seed)
