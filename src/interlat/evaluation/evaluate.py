"""`interlat.evaluate`: one call runs a whole evaluation and returns its results."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from interlat.agents.agent import Agent
from interlat.agents.loading import load
from interlat.channels.protocol import SendOptions, channel_named
from interlat.config import did_you_mean
from interlat.controls.messages import control_named, controls_of, fits
from interlat.engine.distributed import Ranks
from interlat.engine.openai import address_of
from interlat.engine.sampling import Sampling
from interlat.environments.protocol import ENVIRONMENTS, Environment, EnvironmentOptions
from interlat.environments.question import QuestionEnvironment
from interlat.errors import InputError
from interlat.evaluation.inspections import write_inspections
from interlat.evaluation.run import Arm, Play, check_arms, read_run, run
from interlat.evaluation.settings import ALL, Evaluate
from interlat.files import content_digest
from interlat.places import REMOTE
from interlat.results import Results
from interlat.tasks.base import TaskSet
from interlat.tasks.grading import GRADERS, PLACE_OF_FORMAT
from interlat.tasks.secret import SecretOptions
from interlat.tasks.sources import TASK_SOURCES, TEMPLATES, TaskSource, some_tasks

SENDER, RECEIVER = "sender", "receiver"
_UNHASHED = ("output", "batch_size", "workers", "device", "channels", "controls", "limit", "data", "inspected", "draws")
"""Settings that change no single result. Data are identified by their content, which every result names."""


def arms_of(channels: Sequence[str], controls: Sequence[str]) -> list[Arm]:
    """The arms of an evaluation: each channel, followed by its controls.

    Args:
        channels: names of the channels.
        controls: names of the controls. A bare name applies to all channels whose kind of message it fits, and
            ``hidden/zeros`` to one channel.

    Raises:
        InputError: a channel or control is unknown, a control is named twice, or a control fits none of the channels.
    """
    if twice := next((one for one in controls if controls.count(one) > 1), ""):
        raise InputError(f"control {twice!r} is asked for twice; name each once")
    arms: list[Arm] = []
    used: set[str] = set()
    for name in channels:
        channel = channel_named(name)
        arms.append(Arm(channel.name, channel))
        if channel.kind == "none":
            continue
        if ALL in controls:
            chosen = list(controls_of(channel.kind))
        else:
            own = f"{channel.name}/"
            meant = [one for one in controls if one.startswith(own) or "/" not in one]
            meant = [one for one in meant if fits(one.removeprefix(own), channel.kind)]
            chosen = list(dict.fromkeys(one.removeprefix(own) for one in meant))
            used.update(meant)
        arms += [Arm(f"{channel.name}/{control}", channel, control) for control in chosen]
    unused = [control for control in controls if control not in used and control != ALL]
    if unused:
        # Says what is wrong with it: an unknown name, or a kind of message that no channel has.
        named, _, bare = unused[0].rpartition("/")
        kinds = [arm.channel.kind for arm in arms if arm.channel.kind != "none" and named in ("", arm.channel.name)]
        if kinds:
            control_named(bare, kinds[-1])
        raise InputError(f"control {unused[0]!r} is for none of the channels {', '.join(channels)}; leave it out")
    return arms


def evaluate_steps(config: Evaluate, ranks: Ranks | None = None) -> Iterator[tuple[int, int]]:
    """Load and check everything, then run or continue the evaluation. Yields (results so far, results in all).

    Raises:
        InputError: settings, environment, channels, connector and controls do not go together.
        CheckpointError, MessageError: a model cannot be used, or a receiver cannot read what would be sent to it.
        StorageError: another run writes to the folder, or the folder has lines that are not results.
    """
    ranks = ranks or Ranks()
    arms = arms_of(config.channels, config.controls)
    names = tuple(dict.fromkeys((*ENVIRONMENTS.names(), *TASK_SOURCES.names())))
    if config.environment not in names:
        guess = did_you_mean(config.environment, names)
        raise InputError(f"environment is {config.environment!r}, expected one of {', '.join(names)}{guess}")
    agents = load_agents(config, ranks)
    check_arms(agents, arms)
    environment = environment_of(config, agents[RECEIVER])
    try:
        for draw, seeded in enumerate(_draws(config)):
            for count, total in run(environment, agents, arms, play_of(seeded, environment), ranks):
                yield draw * total + count, config.draws * total
        if ranks.rank == 0:
            write_inspections(environment, agents, arms, play_of(config, environment), config.inspected)
    finally:
        environment.close()


def load_agents(config: Evaluate, ranks: Ranks) -> dict[str, Agent]:
    """Load sender and receiver with their prompts. If both are the same model, it is loaded once."""
    device, names = ranks.device(config.device), ("engine", "dtype", "template", "trust_remote_code", "base_url")
    options: dict[str, Any] = {name: getattr(config, name) for name in names}
    sender = load(config.sender, device=device, **options)
    alone = config.receiver in ("", config.sender)
    receiver = sender if alone else load(config.receiver, device=device, **options)
    if config.connector:
        receiver = receiver.with_connector(config.connector, sender.engine)
    return {
        SENDER: _with_template(sender, config.sender_template),
        RECEIVER: _with_template(receiver, config.receiver_template),
    }


def _with_template(agent: Agent, template: str) -> Agent:
    if not template:
        return agent
    return dataclasses.replace(agent, settings=dataclasses.replace(agent.settings, prompt_template=template))


def environment_of(config: Evaluate, receiver: Agent) -> Environment:
    """The environment of an evaluation.

    Raises:
        InputError: there is no environment of that name, or its data cannot be read.
    """
    if config.environment in ENVIRONMENTS:
        return ENVIRONMENTS[config.environment](
            EnvironmentOptions(config.data, config.split, config.limit, config.workers, config.options)
        )
    if config.options:
        raise InputError(
            f"options has {', '.join(config.options)}, and {config.environment} takes none: they are for the "
            "environments of many actions; leave them out"
        )
    if len(config.data) > 1:
        raise InputError(f"data is {list(config.data)}, expected one file, folder or hub id of {config.environment}")
    source = TaskSource(
        kind=config.environment,
        data="".join(config.data),
        split=config.split,
        fields=config.fields,
        count=config.count,
        problems=config.problems,
        secrets=config.secrets,
    )
    ask = config.ask if config.ask != "default" else "text" if receiver.marks_messages else "solve"
    tasks = source.load(ask)
    chosen = tuple(task for _, task in some_tasks(tasks, config.limit))
    template = TEMPLATES[ask].replace(PLACE_OF_FORMAT, GRADERS[source.grader].answer_format)
    return QuestionEnvironment(
        config.environment, TaskSet(chosen, tasks.origin), template=template, workers=config.workers
    )


def play_of(config: Evaluate, environment: Environment) -> Play:
    """The settings with which the items are played."""
    dtype = None if config.message_dtype == "model" else getattr(torch, config.message_dtype)
    return Play(
        output=config.output,
        config_hash=settings_hash(config),
        send=SendOptions(Sampling(config.temperature, max_new_tokens=config.max_plan_tokens), config.seed, dtype),
        reply=Sampling(config.temperature, max_new_tokens=config.max_new_tokens or environment.reply_tokens),
        seed=config.seed,
        batch_size=config.batch_size,
        sees=config.sender_sees,
        exact=config.exact,
    )


def settings_hash(config: Evaluate) -> str:
    """Twelve digits of a hash over everything that decides a result. Models are identified by their content."""
    # Not the fields that a command adds.
    names = {one.name for one in dataclasses.fields(Evaluate)}.difference(_UNHASHED)
    fields = {name: value for name, value in dataclasses.asdict(config).items() if name in names}
    del fields["base_url"]
    if any(model.startswith(REMOTE) for model in (config.sender, config.receiver)):
        fields["base_url"] = address_of(config.base_url)
    for name, first in (("secrets", SecretOptions()), ("connector", ""), ("options", {})):
        if getattr(config, name) == first:
            del fields[name]  # as hashes had it before there were others
    fields["template"] = config.template.record
    fields["sender"] = content_digest(config.sender)
    fields["receiver"] = content_digest(config.receiver or config.sender)
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


def evaluate(config: Evaluate | None = None, /, **settings: Any) -> Results:
    """Run or continue an evaluation, and return all its results.

    Args:
        config: the settings. Or pass them by name, like the options of `interlat evaluate`.

    Raises:
        InputError, CheckpointError, MessageError, StorageError: as for `evaluate_steps`.
    """
    chosen = config or Evaluate(**settings)
    for _ in evaluate_steps(chosen):
        pass
    return results_of(chosen)


def results_of(config: Evaluate) -> Results:
    """The results of an evaluation in its run directory."""
    found = [read_run(config.output, settings_hash(seeded)) for seeded in _draws(config)]
    names = {arm.name for arm in arms_of(config.channels, config.controls)}
    records = [line for one in found for line in one.records if line["variant"] in names]
    return Results(records, sum(one.repeated for one in found), found[0].place)


def _draws(config: Evaluate) -> list[Evaluate]:
    """The settings of each draw: those of a run with a single draw and its own seed."""
    return [dataclasses.replace(config, draws=1, seed=config.seed + draw) for draw in range(config.draws)]
