"""Evaluate channels between a scout and an actor on held-out household games, with controls.

Variants: ``none``, ``text`` (greedy plan), ``text_sampled``, ``list`` (a plan that names every place), ``latent``,
``latent_unsent`` (the latent actor without a message), ``latent_told`` (the latent actor with the plan in words);
messages of K rows to the latent actor: ``compressed:K`` (a trained sender's latents), ``resampled:K``, ``rollout:K``
(the scout's own latent steps, untrained); and every control of `interlat.controls.latents`, which replaces the message
of the latent actor. One JSON line an episode in ``results.jsonl``; what is there is not played again.
"""

import dataclasses
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from interlat.agents.agent import Agent
from interlat.agents.inspection import inspect
from interlat.agents.loading import load
from interlat.agents.sender import SenderOutput
from interlat.agents.settings import AgentSettings, MessageKind
from interlat.channels.hidden import HiddenChannel
from interlat.channels.none import NoChannel
from interlat.channels.protocol import SendOptions
from interlat.channels.resampled import ResampledChannel
from interlat.channels.text import TextChannel
from interlat.channels.thought import ThoughtChannel
from interlat.connectors.resampler import Resampler
from interlat.controls.latents import INT8
from interlat.engine.distributed import Ranks
from interlat.engine.sampling import Sampling
from interlat.environments.protocol import EnvironmentOptions, Item
from interlat.errors import InputError
from interlat.evaluation.episodes import ENVIRONMENT, Episode
from interlat.evaluation.inspections import INSPECTIONS_FILE as INSPECTIONS_FILE
from interlat.evaluation.inspections import rows_of as inspected_rows
from interlat.evaluation.run import RESULTS_FILE as RESULTS_FILE
from interlat.evaluation.run import Arm, Play, Player, check_arms, is_cross_task, player_of, read_run, resumed, text_for
from interlat.evaluation.sends import Sends
from interlat.experiments.household.environment import HouseholdEnvironment
from interlat.experiments.household.prompts import SCOUT_REQUEST
from interlat.experiments.household.settings import COMPRESSED, ROLLOUT
from interlat.experiments.household.settings import DEFAULT_VARIANTS as DEFAULT_VARIANTS
from interlat.experiments.household.settings import Checkpoints as Checkpoints
from interlat.experiments.household.settings import EvaluateHousehold as EvaluateHousehold
from interlat.experiments.household.variants import rows_of
from interlat.files import append_line, read_lines, write_atomically
from interlat.messages import HiddenMessage, Message
from interlat.progress import completed
from interlat.results import Results
from interlat.tasks.sources import PLACE_OF_TEXT

EPISODE_FIELDS: Mapping[str, type] = {
    **dict.fromkeys(("split", "task_type", "actor", "message_kind", "plan"), str),
    **dict.fromkeys(("steps", "max_steps", "seed", "message_bytes", "message_rows", "prompt_tokens"), int),
    **dict.fromkeys(("decoded_tokens", "sender_tokens", "latent_steps", "forward_passes"), int),
    **dict.fromkeys(("sender_seconds", "receiver_seconds", "world_seconds"), float),
    "success": bool,
    "turns": list,
}
"""What every line of this configuration has beside item, variant and hash, so that a report can be made of it."""
PLANS_FILE = "plans.jsonl"
"""In the run directory: one line for each game, with what the latents of its plan decode to."""
TOKENS_SEEN = 5
"""Tokens that are kept of each latent."""
_PLANS = HiddenChannel()
_READS: dict[str, MessageKind] = {"none": "none", "text": "text", "list": "text", "latent": "hidden"}
"""Actor -> the kind of message that it was trained with."""


def evaluate_household(config: EvaluateHousehold, records: Sequence[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    """Run or continue the evaluation; yields (episodes done, episodes in all) as it goes.

    Args:
        config: the settings.
        records: games with one drawn evidence each, as `interlat collect episodes` writes them.

    Raises:
        InputError: no games, an unknown variant, results of the same games with other evidence, or an actor that
            was trained to read another kind of message.
        MessageError: the latent actor was not trained to read these senders.
        StorageError: another process writes to the folder, or it has lines that are no results.
    """
    games, arms, settings = [record for record in records if record["episodes"]], arms_of(config), play_settings(config)
    environment = HouseholdEnvironment(EnvironmentOptions(workers=config.workers), games, config.batch_size)

    evidence = {game["item"]: game["episodes"][0]["evidence"] for game in games}
    for line in results_of(config).records:
        # Results of earlier versions do not say on which evidence.
        if line.get("evidence") and line["evidence"] != evidence.get(line["item"], line["evidence"]):
            raise InputError(
                f"{config.output} has a result of {line['item']} with other evidence of the sender; give another output"
            )

    def begin() -> Player:
        agents = agents_of(config)
        check_arms(agents, arms)
        seen = set(_plans_seen(config))

        def more(arm: Arm, item: Item, made: SenderOutput, message: Message | None, episode: Episode) -> dict[str, Any]:
            if _is_greedy_plan(arm) and item.id not in seen:
                _see_plan(config, agents["scout"], item, made)
                seen.add(item.id)
            return _more(_dtype_of(agents), arm, message, made, episode)

        return player_of(environment, agents, arms, settings, Ranks(), more)

    try:
        yield from resumed(
            environment, config.variants, settings, begin, together=config.batch_size, fields=EPISODE_FIELDS
        )
    finally:
        environment.close()


def arms_of(config: EvaluateHousehold) -> list[Arm]:
    """The variants as senders, channels, controls and receivers."""
    return [_arm(variant, config.checkpoints.resampler) for variant in config.variants]


def _arm(variant: str, resampler: str | None) -> Arm:
    plain = {
        "none": Arm(variant, NoChannel(), receiver="none"),
        "text": Arm(variant, TextChannel(), sender="scout", receiver="text"),
        "text_sampled": Arm(variant, TextChannel("sampled"), sender="scout", receiver="text"),
        "list": Arm(variant, TextChannel(), sender="list_scout", receiver="list"),
        "latent": Arm(variant, HiddenChannel(), sender="scout", receiver="latent"),
        "latent_unsent": Arm(variant, NoChannel(), receiver="latent"),
        "latent_told": Arm(variant, TextChannel(), sender="scout", receiver="latent"),
    }
    if variant in plain:
        return plain[variant]
    name, latents = variant.partition(":")[0], rows_of(variant)
    if not latents:
        return Arm(variant, HiddenChannel(), variant, sender="scout", receiver="latent")
    if name == COMPRESSED:
        return Arm(variant, ThoughtChannel(str(latents)), sender="compressed", receiver="latent")
    if name == ROLLOUT:
        return Arm(variant, ThoughtChannel(str(latents), trained=False), sender="scout", receiver="latent")
    assert resampler is not None, "checked when the configuration was made"
    return Arm(variant, ResampledChannel(latents, Resampler.load(resampler)), sender="scout", receiver="latent")


def play_settings(config: EvaluateHousehold) -> Play:
    """How the games are played."""
    return Play(
        output=config.output,
        config_hash=config.hash,
        send=SendOptions(Sampling(max_new_tokens=config.max_plan_tokens), config.seed),
        reply=Sampling(max_new_tokens=HouseholdEnvironment.reply_tokens),
        seed=config.seed,
        batch_size=config.batch_size,
    )


def agents_of(config: EvaluateHousehold) -> dict[str, Agent]:
    """The agents that the variants need, by their roles.

    Raises:
        InputError: an actor was trained to read another kind of message.
    """
    arms = arms_of(config)
    for role in dict.fromkeys(arm.receiver for arm in arms):
        place = getattr(config.checkpoints, role)
        reads = AgentSettings.beside(place).message_kind
        # One that does not say is accepted.
        if reads not in ("", _READS[role]):
            raise InputError(
                f"checkpoints.{role} is {place}, which was trained with messages of the kind {reads!r}, expected "
                f"{_READS[role]!r}; give the actor that was trained for this"
            )
    needed = dict.fromkeys([arm.sender for arm in arms if arm.channel.kind != "none"] + [arm.receiver for arm in arms])
    loaded: dict[str, Agent] = {}
    for role in needed:
        kind = "scout" if role == "list_scout" else role
        if kind not in loaded:
            loaded[kind] = load(
                getattr(config.checkpoints, kind), dtype=config.dtype, device=config.device, template=config.template
            )
        style = "list" if role == "list_scout" else "plan"
        loaded[role] = loaded[kind] if role in _READS else as_scout(loaded[kind], style)
    # A variant without a message has a sender that never works.
    loaded.setdefault("sender", next(iter(loaded.values())))
    return loaded


def _dtype_of(agents: Mapping[str, Agent]) -> str:
    """What the models compute in, of which all have the same."""
    return next(iter(agents.values())).number_format


def as_scout(agent: Agent, style: str = "plan") -> Agent:
    """A sender that is asked what the scout was trained to be asked."""
    settings = dataclasses.replace(
        agent.settings, role="scout", prompt_template=f"{PLACE_OF_TEXT}\n{SCOUT_REQUEST[style]}"
    )
    return dataclasses.replace(agent, settings=settings)


def _is_greedy_plan(arm: Arm) -> bool:
    """Whether the sender wrote the plan of the very game that is played."""
    return (arm.sender, arm.channel.source) == ("scout", _PLANS.source) and not is_cross_task(arm)


def _more(dtype: str, arm: Arm, message: Message | None, made: SenderOutput, episode: Episode) -> dict[str, Any]:
    states = message.hidden_states if isinstance(message, HiddenMessage) else None
    size = 0 if message is None else message.byte_size
    if states is not None and arm.control == INT8:
        # One byte a number, and a float32 scale for each row.
        size = states.numel() + 4 * len(states)
    return {
        "dtype": dtype,
        "actor": arm.receiver,
        # A sender without words still sent a text, or no text at all.
        "message_kind": arm.channel.kind if states is None else "hidden",
        "message_bytes": size,
        "message_rows": 0 if states is None else len(states),
        "sender_seconds": sum(made.seconds.values()),
        "receiver_seconds": sum(value for phase, value in episode.seconds.items() if phase != ENVIRONMENT),
        "world_seconds": episode.seconds[ENVIRONMENT],
    }


def results_of(config: EvaluateHousehold) -> Results:
    """The results of this configuration in its folder. Raises StorageError: a line there is no result."""
    return read_run(config.output, config.hash, EPISODE_FIELDS)


def read_played(directory: str | Path) -> Results:
    """The results in the folder of an evaluation, of all configurations. Raises StorageError: as `results_of`."""
    return read_run(directory, fields={"split": str, "success": bool})


def inspect_plans(
    config: EvaluateHousehold, records: Sequence[dict[str, Any]]
) -> Generator[tuple[int, int], None, dict[str, Any]]:
    """What each latent of the scout's plans decodes to under its own LM head, for the report's reader.

    Yields (games done, games in all), and returns game -> what was found. Plans that were written while the games were
    played are not written again.
    """
    games = HouseholdEnvironment(EnvironmentOptions(), records).items()
    found = _plans_seen(config)
    missing = [game for game in games if game.id not in found]
    yield len(games) - len(missing), len(games)
    if missing:
        scout = as_scout(
            load(config.checkpoints.scout, dtype=config.dtype, device=config.device, template=config.template)
        )
        sends = Sends({game.id: text_for(game, "all") for game in games}, config.batch_size, play_settings(config).send)
        for start in range(0, len(missing), config.batch_size):
            part = missing[start : start + config.batch_size]
            for game, one in zip(part, sends.of(_PLANS, "scout", scout, [game.id for game in part]), strict=True):
                found[game.id] = _see_plan(config, scout, game, one)
            yield len(games) - len(missing) + start + len(part), len(games)
    return {game.id: found[game.id] for game in games}


def _see_plan(config: EvaluateHousehold, scout: Agent, game: Item, made: SenderOutput) -> dict[str, Any]:
    """Look into a plan and keep what was found in the run directory."""
    message = _PLANS.message(made, play_settings(config).send)
    seen = {
        "task": game.question.rsplit("Your task is to: ", 1)[-1],
        "evidence": game.notes,
        "plan": made.text,
        "rows": [] if message is None else inspected_rows(inspect(message, scout, top_k=TOKENS_SEEN)),
    }
    append_line(Path(config.output) / PLANS_FILE, {"config_hash": config.hash, "item": game.id, "seen": seen})
    return seen


def _plans_seen(config: EvaluateHousehold) -> dict[str, dict[str, Any]]:
    lines = read_lines(Path(config.output) / PLANS_FILE)
    return {line["item"]: line["seen"] for line in lines if line["config_hash"] == config.hash}


def played_under_seeds(
    config: EvaluateHousehold, drawn: Sequence[Sequence[dict[str, Any]]], begun: Callable[[], object]
) -> Results:
    """Play the same games with several draws of their evidence; the results of all.

    Args:
        config: the settings of the first draw; each further one has the next seed.
        drawn: for each draw the games with one evidence each.
        begun: called before the first episode, where nothing was refused.
    """
    first, *further = drawn
    found = [played_with_inspections(config, first, begun)]
    for number, records in enumerate(further, 1):
        seeded = dataclasses.replace(config, seed=config.seed + number)
        completed(evaluate_household(seeded, records), f"episodes, draw {number + 1} of {len(drawn)}")
        found.append(results_of(seeded))
    records = [record for one in found for record in one.records]
    return dataclasses.replace(found[-1], records=records)


def played_with_inspections(
    config: EvaluateHousehold, records: Sequence[dict[str, Any]], begun: Callable[[], object]
) -> Results:
    """Play with progress, and write `inspect_plans` into the run directory; the results of this configuration.

    Args:
        config, records: as for `evaluate_household`.
        begun: called before the first episode, where nothing was refused.
    """
    completed(evaluate_household(config, records), "episodes", begun=begun)
    seen = completed(inspect_plans(config, records), "plans looked into")
    inspections = json.dumps(seen, ensure_ascii=False)
    write_atomically(Path(config.output) / INSPECTIONS_FILE, inspections)
    return results_of(config)
