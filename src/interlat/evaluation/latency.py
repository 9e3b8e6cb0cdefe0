"""How long one message takes from the sender's prompt to the receiver's first action, phase by phase.

One game at a time and all variants of a game one after the other, so that whatever else the machine does falls on all
of them. One JSON line a measurement in ``latency.jsonl``; what is there is not measured again.
"""

import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interlat.agents.agent import load_engine
from interlat.agents.settings import MessageKind
from interlat.connectors.adapter import CommunicationAdapter
from interlat.connectors.bridge import Bridge, begin_thought, finish_thought
from interlat.connectors.identity import NormMatchedIdentity
from interlat.engine.hardware import describe_machine
from interlat.engine.prompt import Text
from interlat.engine.sampling import Sampling
from interlat.errors import InputError
from interlat.evaluation.pairing import check_role, check_sender
from interlat.experiments.household.evaluate import Checkpoints, content_digest
from interlat.experiments.household.player import Message, message_parts
from interlat.experiments.household.prompts import BEGIN_MESSAGE, END_MESSAGE, actor_prompt, scout_prompt
from interlat.experiments.household.sending import COMPRESSED, MESSAGE_DTYPE, ROLLOUT, rows_of, size_in_bytes
from interlat.files import append_line, locked
from interlat.reasoning import final_part
from interlat.results import RESULT_FIELDS, RESULT_KEY, Results, read_results

LATENCY_FILE = "latency.jsonl"
PHASES = ("sender_prefill", "thinking", "adapter", "receiver_prefill", "first_action")
"""Their sum is the latency of a message. Thinking is the writing of the plan, or the latent steps."""
LATENCY_VARIANTS = ("text", "latent", *(f"{COMPRESSED}:{2**power}" for power in range(8)))


@dataclass(frozen=True)
class MeasureLatency:
    """Measure the latency of messages, one at a time."""

    checkpoints: Checkpoints
    """The models."""
    output: str
    """Folder of the measurements."""
    variants: tuple[str, ...] = LATENCY_VARIANTS
    """none, text, latent, ``compressed:K`` and ``rollout:K``."""
    repeats: int = 3
    """Measurements of each game and variant."""
    max_plan_tokens: int = 80
    """Most tokens of a plan."""

    def __post_init__(self) -> None:
        for variant in self.variants:
            short = rows_of(variant) and variant.partition(":")[0] in (COMPRESSED, ROLLOUT)
            if variant not in ("none", "text", "latent") and not short:
                raise InputError(
                    f"variant {variant!r} has no latency of its own; choose from none, text, latent, {COMPRESSED}:8 "
                    f"and {ROLLOUT}:8"
                )
        if not self.variants or self.repeats < 1:
            raise InputError("give at least one variant and one repeat")
        if any(v.startswith(COMPRESSED) for v in self.variants) and not self.checkpoints.compressed:
            raise InputError("a compressed variant needs the checkpoint of a compressed sender; name its folder")

    @functools.cached_property
    def hash(self) -> str:
        """Twelve digits of the models and settings that decide what is measured."""
        fields = {"max_plan_tokens": self.max_plan_tokens, "repeats": self.repeats}
        digests = {role: content_digest(place) for role, place in asdict(self.checkpoints).items() if place}
        return hashlib.sha256(json.dumps([fields, digests], sort_keys=True).encode()).hexdigest()[:12]


def measure_latency(config: MeasureLatency, records: Sequence[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    """Measure, or go on measuring; yields (measurements done, measurements in all).

    The first game is played through all variants once without being measured.

    Args:
        config: the settings.
        records: games with one drawn evidence each.

    Raises:
        InputError: no games, or measurements of another machine in the same folder.
        StorageError: another process writes to the folder, or it has lines that are no measurements.
    """
    with locked(config.output):
        yield from _measure(config, records)


def read_measurements(directory: str | Path, config_hash: str | None = None) -> Results:
    """The measurements in a folder, of one configuration or of all.

    Raises:
        StorageError: a line there is no measurement.
    """
    numbers = dict.fromkeys([*(f"{phase}_seconds" for phase in PHASES), "seconds", "message_bytes"], float)
    return read_results(
        [Path(directory) / LATENCY_FILE],
        config_hash,
        base={**RESULT_FIELDS, "repeat": int},
        fields={**numbers, "message_rows": int, "machine": str},
        key=(*RESULT_KEY, "repeat"),
    )


def _measure(config: MeasureLatency, records: Sequence[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    games = [record for record in records if record["episodes"]]
    if not games:
        raise InputError("no game to measure with: none of the games is a search problem; author more games")
    path, machine = Path(config.output) / LATENCY_FILE, describe_machine()
    lines = read_measurements(config.output, config.hash).records
    if any(line["machine"] != machine for line in lines):
        raise InputError(f"{path} was measured on another machine or with other threads; name another output folder")
    done = {(line["item"], line["variant"], line["repeat"]) for line in lines}
    wanted = [
        (repeat, game, variant)
        for repeat in range(config.repeats)
        for game in games
        for variant in config.variants
        if (game["item"], variant, repeat) not in done
    ]
    total = len(games) * len(config.variants) * config.repeats
    line = _Line(config)
    if wanted:
        line.check()
    for variant in config.variants if wanted else ():
        line.send(games[0], variant)
    yield total - len(wanted), total
    for number, (repeat, game, variant) in enumerate(wanted, total - len(wanted) + 1):
        found = line.send(game, variant)
        record = {"item": game["item"], "variant": variant, "repeat": repeat, **found}
        append_line(path, {**record, "config_hash": config.hash, "machine": machine})
        yield number, total


class _Line:
    """Sender and receivers, each loaded when it is first needed."""

    def __init__(self, config: MeasureLatency) -> None:
        self.config = config
        self.engine = functools.cache(lambda role: load_engine(getattr(config.checkpoints, role), dtype="float32")[0])
        self.adapter = functools.cache(
            lambda: CommunicationAdapter.load(config.checkpoints.latent).to(self.engine("latent").device).eval()
        )
        self.bridge = functools.cache(
            lambda: Bridge.load(config.checkpoints.compressed or "", self.engine("compressed").device)
        )
        self.identity = functools.cache(
            lambda: NormMatchedIdentity.of_embeddings(self.engine("scout").input_embeddings)
        )

    def check(self) -> None:
        """Refuse models that do not belong together; see `interlat.evaluation.pairing`."""
        checkpoints = self.config.checkpoints
        hidden = [variant for variant in self.config.variants if variant not in ("none", "text")]
        roles: dict[str, MessageKind] = {"none": "none", "text": "text", "latent": "hidden"}
        for role, kind in roles.items():
            if role in self.config.variants or (role == "latent" and hidden):
                check_role(role, getattr(checkpoints, role), kind)
        if any(variant.startswith(COMPRESSED) for variant in hidden):
            check_sender(self.engine("compressed"), self.adapter(), self.bridge())
        if any(not variant.startswith(COMPRESSED) for variant in hidden):
            check_sender(self.engine("scout"), self.adapter())

    def send(self, game: dict[str, Any], variant: str) -> dict[str, Any]:
        """The seconds of every phase, and what was sent."""
        clock = _Clock()
        message = self._message(game, variant, clock)
        receiver = self.engine(variant if variant in ("none", "text") else "latent")
        adapted = None
        if isinstance(message, Tensor):
            with torch.no_grad():
                adapted = clock.time("adapter", lambda: self.adapter()(message[None].to(receiver.device))[0])
        content = [
            Text(actor_prompt(game["opening"]), literal=True),
            Text(BEGIN_MESSAGE),
            *message_parts(message, adapted),
            Text(END_MESSAGE),
        ]
        prompt = receiver.chat.opening([("user", content)])
        memory = clock.time("receiver_prefill", lambda: receiver.prefill([prompt]))
        decoded = clock.time("first_action", lambda: receiver.decode(memory, Sampling(max_new_tokens=16)))
        rows = len(message) if isinstance(message, Tensor) else 0
        return {
            **{f"{phase}_seconds": clock.seconds.get(phase, 0.0) for phase in PHASES},
            "seconds": sum(clock.seconds.values()),
            "message_rows": rows,
            "message_bytes": size_in_bytes(message),
            "prompt_tokens": int(memory.next_position[0]),
            "action": decoded.texts[0],
        }

    def _message(self, game: dict[str, Any], variant: str, clock: "_Clock") -> Message:
        if variant == "none":
            return None
        role = "compressed" if variant.startswith(COMPRESSED) else "scout"
        engine = self.engine(role)
        prompt = engine.chat.opening([("user", scout_prompt(game["opening"], game["episodes"][0]["evidence"], "plan"))])
        steps = rows_of(variant)
        if role == "compressed":
            bridge = self.bridge()
            memory = clock.time("sender_prefill", lambda: begin_thought(engine, bridge, [prompt], steps))
            rows = clock.time("thinking", lambda: bridge.message(finish_thought(engine, bridge, memory, steps)[1]))
            return rows[0].detach().to(MESSAGE_DTYPE)
        memory = clock.time("sender_prefill", lambda: engine.prefill([prompt], spare=steps))
        if steps:
            _, rows = clock.time("thinking", lambda: engine.think(memory, steps, self.identity()))
            return rows[0].to(MESSAGE_DTYPE)
        sampling = Sampling(max_new_tokens=self.config.max_plan_tokens)
        keep = variant == "latent"
        decoded = clock.time("thinking", lambda: engine.decode(memory, sampling, keep_hidden_states=keep))
        if keep:
            return decoded.hidden_states[0].to(MESSAGE_DTYPE)
        return final_part(engine.chat.opened_thought + decoded.texts[0]) or ""


class _Clock:
    """Seconds by phase, with an accelerator's work counted to its end."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, phase: str, action: Callable[[], Any]) -> Any:
        """The result of an action, with its time added to a phase."""
        _wait()
        began = time.perf_counter()
        result = action()
        _wait()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - began
        return result


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
