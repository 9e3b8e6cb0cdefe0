"""What a team is worth: the same questions to one agent, to teams that write, to teams that think, and to controls."""

import dataclasses
import functools
import hashlib
import json
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from interlat.agents.agent import load_engine
from interlat.agents.sources import TaskSource, some_tasks
from interlat.agents.team import Member, Team
from interlat.agents.teamwork import Question, Teamwork, Work
from interlat.agents.topologies import TeamOptions, make_team
from interlat.align.identity import NormMatchedIdentity
from interlat.align.random import RandomAlignment
from interlat.align.ridge import ridge_map
from interlat.align.vocabulary import VocabularyMean
from interlat.engine.ranks import Ranks
from interlat.engine.template import TemplateOptions
from interlat.engine.transformers import Align, Engine
from interlat.errors import InputError
from interlat.evaluate.controls import cross_task_partners
from interlat.evaluate.household import content_digest
from interlat.files import append_line, read_lines
from interlat.tasks.base import Task, TaskSet
from interlat.tasks.graders.verdict import Verdict
from interlat.tasks.grading import ANSWER_FORMATS, grade
from interlat.tasks.parallel import map_in_order
from interlat.tasks.sandbox.execution import Limits

RESULTS_FILE = "results.jsonl"
METHODS = ("single", "text", "latent", "team")
CONTROLS = ("no_transfer", "steps_0", "random_alignment", "shuffled_memory")
GRADERS = 2
"""Replies that are graded at once."""
MOST_UNGRADED = 64
"""Replies that wait for a verdict; a killed run asks for them again."""

AlignName = Literal["identity", "ridge", "vocabulary"]


@dataclass(frozen=True)
class EvaluateTeams:
    """Ask one agent, teams and controls the same questions and grade their answers."""

    model: str
    """Folder or hub id of the model of all members that name none."""
    output: str
    """The run directory."""
    task: TaskSource
    """The questions; every one needs an answer to be graded against."""
    variants: tuple[str, ...] = ("single", "text", "latent", *CONTROLS)
    """single: one agent. text, latent: the team, writing or thinking. team: the members given below. Controls of the
    team that thinks: no_transfer hands nothing over; steps_0 hands over memories without a thought; random_alignment
    thinks along a random rotation; shuffled_memory hands over what was thought about another question."""
    team: TeamOptions = field(default_factory=TeamOptions)
    """Which of the teams that come along; its method is that of the variant."""
    members: tuple[Member, ...] = ()
    """A team of your own, in an order in which everybody comes after those whom they listen to."""
    models: dict[str, str] = field(default_factory=dict)
    """Folders or hub ids of further models, by the names that members use."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat templates, over those that a model was trained with; a member may have further ones."""
    align: AlignName = "identity"
    """From a state to the next input of a latent step: identity with the norm of an embedding, the ridge map of
    LatentMAS, or the mean of the embeddings of expected words."""
    share_question: bool = False
    """Read what all prompts of a question begin with once; see `interlat.agents.teamwork.Teamwork`."""
    allow_special_tokens: bool = False
    """Let control tokens that are written in a question or by a member, such as ``<|im_end|>``, be control tokens
    instead of words."""
    limit: int | None = None
    """Ask this many of the questions, chosen by chance, always the same ones; None asks all."""
    batch_size: int = 16
    """Questions under way at once."""
    seed: int = 0
    """Seed of samples and controls."""
    dtype: str = "auto"
    """Number format of the models; auto is bfloat16 where the hardware multiplies it natively, else float32."""
    device: str = "auto"
    """Where the models run; auto is the accelerator if there is one."""
    limits: Limits = field(default_factory=Limits)
    """What a program may take, in tasks that ask for one."""
    traces: int = 3
    """Keep what each latent of a thought decodes to: this many of the likeliest tokens. 0 keeps nothing."""

    def __post_init__(self) -> None:
        for variant in self.variants:
            if variant not in (*METHODS, *CONTROLS):
                raise InputError(f"there is no variant {variant!r}; take some of {', '.join((*METHODS, *CONTROLS))}")
            if (variant in ("single", "text", "latent")) and self.members:
                raise InputError(f"variant {variant!r} is of the teams that come along; members is set, so take team")
            if variant == "team" and not self.members:
                raise InputError("variant 'team' needs members; list them, or take latent")
        if not self.variants:
            raise InputError("no variant to run; name at least one")
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; give at least 1")

    def team_of(self, variant: str) -> Team:
        """The team that plays a variant.

        Raises:
            InputError: a control of a team in which nobody thinks.
        """
        options = replace(self.team, answer_format=self.team.answer_format or ANSWER_FORMATS[self.task.grader])
        if variant == "single":
            return make_team(replace(options, topology="single"))
        if variant == "text":
            return make_team(replace(options, method="text"))
        team = Team(self.members) if self.members else make_team(replace(options, method="latents"))
        if variant in CONTROLS and all(member.speaks == "text" for member in team.members):
            raise InputError(
                f"variant {variant!r} is a control of thoughts, and nobody in this team thinks; leave it out"
            )
        changes: dict[str, Any] = {"no_transfer": {"hands_over": "nothing"}, "steps_0": {"latent_steps": 0}}
        if variant not in changes:
            return team
        return Team(tuple(m if m.speaks == "text" else replace(m, **changes[variant]) for m in team.members))

    @functools.cached_property
    def hash(self) -> str:
        """Twelve digits of all that decides a result: not of the output, the batch size, the variants or the limit."""
        left_out = ["output", "batch_size", "variants", "limit", "traces", "device"]
        # Answers of before interlat had this setting are still answers.
        left_out += [] if self.allow_special_tokens else ["allow_special_tokens"]
        names = {one.name for one in dataclasses.fields(EvaluateTeams)}.difference(left_out)
        fields = {name: value for name, value in dataclasses.asdict(self).items() if name in names}
        described = [(self.template, fields)]
        described += [(member.template, found) for member, found in zip(self.members, fields["members"], strict=True)]
        for template, settings in described:
            settings["template"] = template.record
            if not settings["template"]:
                del settings["template"]
        fields["model"] = content_digest(self.model)
        fields["models"] = {name: content_digest(place) for name, place in self.models.items()}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


def evaluate_teams(config: EvaluateTeams, ranks: Ranks | None = None) -> Iterator[tuple[int, int]]:
    """Run or continue; yields (answers there are, answers in all) of this process's share as it goes.

    Under ``torchrun`` each process asks its share of the questions and writes ``results-<rank>.jsonl``.

    Raises:
        InputError: settings, team and task do not go together.
    """
    ranks = ranks or Ranks.from_environment()
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
    yield count, total
    if count == total:
        return
    engines = _engines(config, ranks)
    aligns = {name: _align(config.align, engine) for name, engine in engines.items()}
    path = Path(config.output) / (RESULTS_FILE if ranks.world_size == 1 else f"results-{ranks.rank}.jsonl")
    for variant, team in teams.items():
        for record in _ask(config, variant, team, engines, aligns, wanted[variant], everything):
            append_line(path, record)
            count += 1
            yield count, total


def results_of(config: EvaluateTeams) -> list[dict[str, Any]]:
    """The records of this configuration, of all processes."""
    lines = [line for path in sorted(Path(config.output).glob("results*.jsonl")) for line in read_lines(path)]
    return [line for line in lines if line["config_hash"] == config.hash]


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
        batch_size=config.batch_size,
        seed=config.seed,
        keep_latents=bool(config.traces),
        share_question=config.share_question,
        allow_special_tokens=config.allow_special_tokens,
    )
    by_key = {task.id: task for task in wanted}
    began = time.perf_counter()
    works = teamwork.run(Question(task.id, task.text, others.get(task.id, "")) for task in wanted)
    for work, verdict in _graded(config, team, works, by_key):
        now = time.perf_counter()
        record = _record(config, variant, team, engines, work, by_key[work.question.key], verdict, now - began)
        yield {**record, "data": dict(everything.origin)}
        began = now


def _graded(
    config: EvaluateTeams, team: Team, works: Iterator[Work], tasks: Mapping[str, Task]
) -> Iterator[tuple[Work, Verdict]]:
    """Each item with its verdict; programs run beside the team, so that a slow one holds nobody up."""

    def graded(work: Work) -> tuple[Work, Verdict]:
        reply = "" if work.failure else work.turns[team.answerer.name].text
        return work, grade(reply, tasks[work.question.key], config.limits)

    yield from map_in_order(graded, works, GRADERS, MOST_UNGRADED)


def _record(
    config: EvaluateTeams,
    variant: str,
    team: Team,
    engines: Mapping[str, Engine],
    work: Work,
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


def _engines(config: EvaluateTeams, ranks: Ranks) -> dict[str, Engine]:
    places = {"": config.model, **config.models}
    device = ranks.device(config.device)
    return {
        name: load_engine(place, config.template, dtype=config.dtype, device=device)[0]
        for name, place in places.items()
    }


def _align(name: AlignName, engine: Engine) -> Align:
    table = engine.model.get_input_embeddings().weight
    if name == "ridge":
        return ridge_map(engine)
    if name == "vocabulary":
        return VocabularyMean(engine.logits, engine.hidden_size, table.detach())
    return NormMatchedIdentity.of_embeddings(table)


def _random_align(engine: Engine, seed: int) -> Align:
    identity = NormMatchedIdentity.of_embeddings(engine.model.get_input_embeddings().weight)
    return RandomAlignment(identity, seed)
