"""One evaluation: pairs, teams and controls play the items of an environment.

One JSON line an item and arm in ``results.jsonl`` of the run directory. What is there is not played again, so the same
command continues a run that was killed, and several processes share a run under ``torchrun``.
"""

import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from interlat.agents.agent import Agent
from interlat.agents.sender import SenderOutput
from interlat.channels.protocol import Channel, SendOptions
from interlat.controls.cross_task import CROSS_TASK, cross_task_partners
from interlat.controls.messages import control_named, controlled
from interlat.engine.distributed import Ranks
from interlat.engine.sampling import Sampling
from interlat.environments.protocol import Environment, Item
from interlat.errors import InputError, MessageError, PromptError
from interlat.evaluation.episodes import Episode, play
from interlat.evaluation.sends import Sends
from interlat.files import append_line
from interlat.messages import CacheMessage, HiddenMessage, Message
from interlat.results import Results, read_results

RESULTS_FILE = "results.jsonl"
RECORD_FIELDS: Mapping[str, type] = {"success": bool, "steps": int, "seed": int, "message_bytes": int}
"""What is read again of a record, beside item, variant and hash."""
ANSWER = "answer"
"""The fact of an item that says what its message stands for: the right answer, or where to look first."""
Sees = Literal["question", "notes", "all"]


@dataclass(frozen=True)
class Arm:
    """One way from a sender to a receiver."""

    name: str
    """Its name in results, unique in a run."""
    channel: Channel
    """What travels."""
    control: str = ""
    """What the message is replaced by, ``name`` or ``name:value``; empty is the true message."""
    sender: str = "sender"
    """Name of the agent that sends."""
    receiver: str = "receiver"
    """Name of the agent that acts."""


@dataclass(frozen=True)
class Play:
    """How the items of a run are played; all but the output and the batch decides results."""

    output: str
    """The run directory."""
    config_hash: str
    """Names the settings; results of other settings in the same directory are left alone."""
    send: SendOptions = field(default_factory=SendOptions)
    """How senders send."""
    reply: Sampling = field(default_factory=Sampling)
    """How receivers reply."""
    seed: int = 0
    """Of controls and of samples."""
    batch_size: int = 16
    """Items side by side."""
    sees: Sees = "all"
    """What the sender reads of an item: the question, the notes that only it may see, or both."""
    exact: bool = False
    """Play every item alone, so that a result is the same bit for bit whatever ran beside it."""


Extra = Callable[[Arm, Item, SenderOutput, Message | None, Episode], Mapping[str, Any]]
"""Further fields of a record."""
Player = Callable[[str, Sequence[Item]], Iterator[dict[str, Any]]]
"""Plays items under the arm of a name; gives their records as they are finished."""


def run(
    environment: Environment,
    agents: Mapping[str, Agent],
    arms: Sequence[Arm],
    settings: Play,
    ranks: Ranks | None = None,
) -> Iterator[tuple[int, int]]:
    """Run, or continue; yields (results there are, results in all) of this process's share as it goes.

    Args:
        environment: what is played.
        agents: senders and receivers by the names that the arms use.
        arms: what is compared.
        settings: how.
        ranks: the processes that share the run.

    Raises:
        InputError: no arms, an arm twice, an unknown control, or results of the same settings on other data.
        CheckpointError, MessageError: a receiver cannot read what an arm would send to it; nothing has been written.
        StorageError: another run writes to the folder, or it has lines that are no results.
    """
    ranks, size = ranks or Ranks(), 1 if settings.exact else settings.batch_size
    check_arms(agents, arms)

    def begin() -> Player:
        return player_of(environment, agents, arms, settings, ranks)

    yield from resumed(environment, [arm.name for arm in arms], settings, begin, ranks, together=size)


def resumed(
    environment: Environment,
    arms: Sequence[str],
    settings: Play,
    begin: Callable[[], Player],
    ranks: Ranks | None = None,
    *,
    together: int | None = None,
    fields: Mapping[str, type] = RECORD_FIELDS,
) -> Iterator[tuple[int, int]]:
    """Run what has no result yet; yields (results there are, results in all) of this process's share as it goes.

    Args:
        environment: what is played.
        arms: names of what is compared.
        settings: the output and its hash.
        begin: called before anything is written, and only where something is left to play.
        ranks: the processes that share the run.
        together: items that all arms play before the next ones begin, so that an environment keeps what it has loaded
            and a message serves all its controls; None lets every arm play all of them in turn.
        fields: what is read again of a record, see `read_run`.

    Raises:
        InputError: results of the same settings on other data.
        StorageError: another run writes to the folder, or it has lines that are no results.
    """
    ranks = ranks or Ranks()
    with ranks.alone_in(settings.output):
        found = read_run(settings.output, settings.config_hash, fields).records
        now = _content(environment.origin)
        other = next((line for line in found if _content(line.get("data", environment.origin)) != now), None)
        if other is not None:
            raise InputError(
                f"{settings.output} has results on other data ({other['data']}), the items are now those of "
                f"{dict(environment.origin)}; give another output folder"
            )
        done = {(line["variant"], line["item"]) for line in found}
        share = ranks.share(environment.items())
        count, total = sum((arm, item.id) in done for arm in arms for item in share), len(share) * len(arms)
        play_items = begin() if count < total else None
        yield count, total
        path = Path(settings.output) / (RESULTS_FILE if ranks.world_size == 1 else f"results-{ranks.rank}.jsonl")
        size = together or max(1, len(share))
        for batch in (share[start : start + size] for start in range(0, len(share), size)):
            for arm in arms:
                missing = [item for item in batch if (arm, item.id) not in done]
                if play_items is None or not missing:
                    continue
                for record in play_items(arm, missing):
                    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
                    known = {"config_hash": settings.config_hash, "data": dict(environment.origin)}
                    append_line(path, {**record, "peak_memory_bytes": peak, **known})
                    count += 1
                    yield count, total


def check_arms(agents: Mapping[str, Agent], arms: Sequence[Arm]) -> None:
    """Check that every receiver can read what its arm would send to it, before anything is made.

    Raises:
        InputError: no arms, one twice, an unknown control or one for another kind of message.
        CheckpointError, MessageError: a wrong pair; names everything that does not fit.
        PromptError: an agent has no chat template.
    """
    if not arms:
        raise InputError("no channel to evaluate; name at least one")
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{twice!r} is asked for twice; name each channel and control once")
    for arm in arms:
        if arm.control:
            if arm.channel.kind == "none":
                raise InputError(f"control {arm.control!r} needs a message, and channel none sends nothing")
            control_named(arm.control, arm.channel.kind)
    senders = [arm.sender for arm in arms if arm.channel.kind != "none"]
    for name in dict.fromkeys([*senders, *(arm.receiver for arm in arms)]):
        try:
            agents[name].check_speaks()
        except PromptError as error:
            raise PromptError(f"{agents[name].engine.name} cannot be {name}: {error}") from error
    for channel, sender, receiver in dict.fromkeys((arm.channel, arm.sender, arm.receiver) for arm in arms):
        agents[sender].check_sends(channel.name, channel.kind)
        header = channel.header(agents[sender])
        if header is None:
            continue
        try:
            agents[receiver].check(header)
        except MessageError as error:
            made, reads = agents[sender].engine.name, agents[receiver].engine.name
            raise MessageError(f"{channel.name} from {made} to {reads}: {error}") from error


def read_run(
    directory: str | Path, config_hash: str | None = None, fields: Mapping[str, type] = RECORD_FIELDS
) -> Results:
    """The results in a run directory, of all processes; of one configuration, or of all.

    Raises:
        StorageError: a line there is no result, or one that is kept lacks some of ``fields`` (name -> type).
    """
    return read_results(sorted(Path(directory).glob("results*.jsonl")), config_hash, fields=fields)


def player_of(
    environment: Environment,
    agents: Mapping[str, Agent],
    arms: Sequence[Arm],
    settings: Play,
    ranks: Ranks,
    extra: Extra | None = None,
) -> Player:
    """Plays the arms of a run; arguments as for `run`.

    Raises:
        InputError: the sender is to see notes that an item does not have, or there are too few items to swap messages.
    """
    everything, size = list(environment.items()), 1 if settings.exact else settings.batch_size
    bare = next((item for item in everything if not item.notes), None) if settings.sees == "notes" else None
    if bare is not None:
        raise InputError(
            f"the sender sees notes only, but {bare.id} has none; let it see question or all, or name the notes"
        )
    # This process's items first, so that its batches are whole; the others only send to swap messages.
    share = ranks.share(everything)
    mine = {item.id for item in share}
    ordered = [*share, *(item for item in everything if item.id not in mine)]
    sends = Sends({item.id: text_for(item, settings.sees) for item in ordered}, size, settings.send)
    partners = _partners(arms, everything, settings.seed)
    right = {item.id: item.facts.get(ANSWER, "") for item in everything}
    of_name = {arm.name: arm for arm in arms}

    def play_items(name: str, items: Sequence[Item]) -> Iterator[dict[str, Any]]:
        arm = of_name[name]
        receiver, swapped = agents[arm.receiver], is_cross_task(arm)
        makers = [partners[item.id] if swapped else item.id for item in items]
        made = sends.of(arm.channel, arm.sender, agents[arm.sender], makers)
        messages = [arm.channel.message(one, settings.send) for one in made]
        if arm.control and not swapped:
            messages = [
                None if message is None else controlled(arm.control, message, item.id, run_seed=settings.seed)
                for message, item in zip(messages, items, strict=True)
            ]
        seeds = [receiver.seed(settings.seed, item.id) for item in items]
        played = _played(environment, items, receiver, messages, settings.reply, seeds)
        for item, maker, one, message, (episode, failure) in zip(items, makers, made, messages, played, strict=True):
            donor = {"donor": maker, "donor_answer": right[maker]} if swapped else {}
            more = extra(arm, item, one, message, episode) if extra else {}
            yield {
                "environment": environment.name,
                "seed": settings.seed,
                "exact": settings.exact,
                "dtype": receiver.number_format,
                "failure": failure or ("" if arm.channel.kind == "none" else one.failure),
                **_record(arm, item, one, message, episode),
                **donor,
                **more,
            }

    return play_items


def _content(origin: Mapping[str, Any]) -> dict[str, Any]:
    """What data are known by: a file by its content, wherever it is."""
    return {name: value for name, value in origin.items() if name != "data" or "sha256" not in origin}


def _partners(arms: Sequence[Arm], items: Sequence[Item], seed: int) -> Mapping[str, str]:
    """Whose message each item gets under the control that swaps messages, over all items of the run."""
    if not any(is_cross_task(arm) for arm in arms):
        return {}
    ids = [item.id for item in items]
    families = [item.family or (item.id,) for item in items]
    chosen = cross_task_partners(ids, run_seed=seed, tasks=families)
    return {item: ids[partner] for item, partner in zip(ids, chosen, strict=True)}


def is_cross_task(arm: Arm) -> bool:
    """Whether each item gets the message of another one."""
    return arm.control.replace("-", "_") == CROSS_TASK


def text_for(item: Item, sees: Sees) -> str:
    """What a sender reads of an item."""
    if sees == "all":
        if item.everything:
            return item.everything
        return f"{item.question}\n{item.notes}" if item.notes else item.question
    return item.notes if sees == "notes" else item.question


def _played(
    environment: Environment,
    items: Sequence[Item],
    receiver: Agent,
    messages: Sequence[Message | None],
    sampling: Sampling,
    seeds: Sequence[int],
) -> list[tuple[Episode, str]]:
    """The episodes, with why one could not be played: what does not fit ends its own episode alone."""
    cached = [isinstance(message, CacheMessage) for message in messages]
    if any(cached) and not all(cached):
        # A conversation behind a cache cannot be beside one that has none, as where its sender could not read its text.
        found: dict[int, tuple[Episode, str]] = {}
        for kind in (True, False):
            chosen = [place for place, one in enumerate(cached) if one is kind]
            part = _played(
                environment,
                [items[place] for place in chosen],
                receiver,
                [messages[place] for place in chosen],
                sampling,
                [seeds[place] for place in chosen],
            )
            found.update(zip(chosen, part, strict=True))
        return [found[place] for place in range(len(items))]
    try:
        return [(one, one.failure) for one in play(environment, items, receiver, messages, sampling, seeds)]
    except (PromptError, MessageError) as error:
        if len(items) == 1:
            return [(Episode(), str(error))]
    return [
        _played(environment, [item], receiver, [message], sampling, [seed])[0]
        for item, message, seed in zip(items, messages, seeds, strict=True)
    ]


def _record(arm: Arm, item: Item, made: SenderOutput, message: Message | None, episode: Episode) -> dict[str, Any]:
    return {
        "item": item.id,
        "variant": arm.name,
        "channel": arm.channel.name,
        "control": arm.control,
        "split": item.split,
        "task_type": item.task_type,
        "success": episode.success,
        "score": episode.score,
        "steps": episode.steps,
        "max_steps": item.max_steps,
        "message_kind": "none" if message is None else message.kind,
        "message_bytes": 0 if message is None else message.byte_size,
        "latents": len(message.hidden_states) if isinstance(message, HiddenMessage) else 0,
        "prompt_tokens": episode.prompt_tokens,
        "decoded_tokens": episode.decoded_tokens,
        "sender_tokens": made.tokens,
        "latent_steps": made.latent_steps,
        "forward_passes": episode.forward_passes + made.forward_passes,
        "seconds": {**made.seconds, **episode.seconds},
        "stopped": episode.stopped,
        "plan": made.text,
        "turns": [{"action": action, "observation": observation} for action, observation in episode.turns],
        **item.facts,
        **episode.facts,
    }
