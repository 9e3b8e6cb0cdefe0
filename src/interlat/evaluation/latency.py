"""How long one message takes from the sender's prompt to the receiver's first action, phase by phase.

One item at a time and all arms of an item one after the other, so that whatever else the machine does falls on all of
them. One JSON line a measurement in ``latency.jsonl``; what is there is not measured again.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from interlat.agents.agent import Agent
from interlat.agents.conversations import REPLYING
from interlat.engine.hardware import describe_machine
from interlat.environments.protocol import Item
from interlat.errors import InputError
from interlat.evaluation.run import Arm, Play, check_arms, text_for
from interlat.files import append_line
from interlat.messages import HiddenMessage
from interlat.results import RESULT_KEY, Results, read_results

LATENCY_FILE = "latency.jsonl"
PHASES = ("sender_prefill", "thinking", "adapter", "receiver_prefill", "first_action")
"""Their sum is the latency of a message. Thinking is the writing of the plan, or the latent steps."""


def measure(
    items: Sequence[Item], agents: Mapping[str, Agent], arms: Sequence[Arm], settings: Play, repeats: int
) -> Iterator[tuple[int, int]]:
    """Measure, or go on measuring, in a folder that the caller has locked; yields (measurements done, in all).

    The first item goes through all arms once without being measured.

    Args:
        items: what is asked; the receiver reads the question.
        agents: by the names that the arms use.
        arms: what is compared.
        settings: output folder, hash, how senders and receivers write.
        repeats: measurements of each item and arm.

    Raises:
        InputError: measurements of another machine in the same folder.
        CheckpointError, MessageError: a receiver cannot read what an arm would send to it.
    """
    path, machine = Path(settings.output) / LATENCY_FILE, describe_machine()
    lines = read_measurements(settings.output, settings.config_hash).records
    if any(line["machine"] != machine for line in lines):
        raise InputError(f"{path} was measured on another machine or with other threads; name another output folder")
    done = {(line["item"], line["variant"], line["repeat"]) for line in lines}
    wanted = [
        (repeat, item, arm)
        for repeat in range(repeats)
        for item in items
        for arm in arms
        if (item.id, arm.name, repeat) not in done
    ]
    total = len(items) * len(arms) * repeats
    if wanted:
        check_arms(agents, arms)
        for arm in arms:
            send_once(items[0], agents, arm, settings)
    yield total - len(wanted), total
    for number, (repeat, item, arm) in enumerate(wanted, total - len(wanted) + 1):
        found = send_once(item, agents, arm, settings)
        record = {"item": item.id, "variant": arm.name, "repeat": repeat, **found}
        append_line(path, {**record, "config_hash": settings.config_hash, "machine": machine})
        yield number, total


def read_measurements(directory: str | Path, config_hash: str | None = None) -> Results:
    """The measurements in a folder, of one configuration or of all.

    Raises:
        StorageError: a line there is no measurement.
    """
    numbers = dict.fromkeys([*(f"{phase}_seconds" for phase in PHASES), "seconds", "message_bytes"], float)
    return read_results(
        [Path(directory) / LATENCY_FILE],
        config_hash,
        fields={**numbers, "repeat": int, "message_rows": int, "machine": str},
        key=(*RESULT_KEY, "repeat"),
    )


def send_once(item: Item, agents: Mapping[str, Agent], arm: Arm, settings: Play) -> dict[str, Any]:
    """The seconds of every phase of one message, and what was sent."""
    texts, keys = [text_for(item, settings.sees)], [item.id]
    [made] = arm.channel.make(agents[arm.sender], texts, keys, settings.send)
    message = arm.channel.message(made, settings.send)
    receiver = agents[arm.receiver]
    talk = receiver.converse([item.question], [message])
    [turn] = talk.reply(settings.reply, [receiver.seed(settings.seed, item.id)])
    seconds = {**made.seconds, **talk.clock.seconds}
    seconds["first_action"] = seconds.pop(REPLYING)
    if not isinstance(message, HiddenMessage):
        seconds["adapter"] = 0.0
    return {
        **{f"{phase}_seconds": seconds.get(phase, 0.0) for phase in PHASES},
        "seconds": sum(seconds.get(phase, 0.0) for phase in PHASES),
        "message_rows": len(message.hidden_states) if isinstance(message, HiddenMessage) else 0,
        "message_bytes": 0 if message is None else message.byte_size,
        "prompt_tokens": turn.prompt_tokens,
        "action": turn.text,
    }
