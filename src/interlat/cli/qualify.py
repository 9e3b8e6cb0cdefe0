"""`interlat qualify`: does a pair of models deliver messages at all, before anything is trained?"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from interlat.engine.options import TemplateOptions
from interlat.errors import InputError
from interlat.evaluation.settings import Evaluate
from interlat.files import write_atomically
from interlat.places import REMOTE
from interlat.progress import completed, say

if TYPE_CHECKING:
    from interlat.report.qualification import Check

ALONE, PAIR = "self", "pair"
"""Folders of the two evaluations in the run directory."""
QUALIFICATION_FILE = "qualification.json"
REPEAT = "Repeat this sentence word for word, and write nothing else:\n{text}"
CHANNELS_ALONE = ("none", "text", "embeddings", "hidden", "cache")
CONTROLS_ALONE = ("embeddings/zeros", "embeddings/random_rotation", "hidden/cross_task")
CHANNELS_OF_PAIR, CONTROLS_OF_PAIR = ("text", "hidden"), ("hidden/cross_task",)


@dataclass(frozen=True)
class Qualify:
    """Check whether two models that were not trained to exchange messages can do so at all.

    The sender repeats a secret (a number, a name, a word), and the receiver is asked for it. First the receiver sends
    messages to itself: its words, the input embeddings of the same words, its hidden states, its KV cache. Then the
    sender sends messages to it. The exit code is 1 if there is a fault that training cannot fix, or if the check could
    not tell.
    """

    sender: str
    """Folder or hub id of the sender."""
    output: str
    """The run directory. The same command continues an existing run."""
    receiver: str = ""
    """Folder or hub id of the receiver. Empty means the sender's model."""
    connector: str = "vocabulary"
    """How the receiver reads hidden states. See interlat evaluate."""
    count: int = 24
    """Number of secrets, a third of each kind."""
    sender_template: str = REPEAT
    """Prompt of the sender, with {text} in the place of the secret."""
    receiver_template: str = ""
    """Prompt of the receiver, with {text} in the place of the question. Empty uses the receiver's own."""
    max_plan_tokens: int = 32
    """Largest number of tokens that the sender writes."""
    max_new_tokens: int = 24
    """Largest number of tokens in an answer."""
    batch_size: int = 16
    """Number of secrets in one batch."""
    seed: int = 0
    """Seed of the controls."""
    engine: str = "hf"
    """The engine that runs the models. hf, or an engine of another package."""
    dtype: str = "auto"
    """Number format of the models. auto is bfloat16 where the hardware multiplies it natively, else float32."""
    device: str = "auto"
    """Device that the models run on. auto is the accelerator if there is one."""
    threads: int | None = None
    """Number of torch threads on a CPU. None leaves torch's default."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat templates. They override those that the models were trained with."""
    trust_remote_code: bool = False
    """Let `transformers` run code that the checkpoints contain."""
    json: bool = False
    """Print one JSON line per check on stdout."""

    def __post_init__(self) -> None:
        from interlat.report.donors import ENOUGH

        if self.count < ENOUGH:
            raise InputError(f"count is {self.count}, expected at least {ENOUGH}: fewer secrets tell nothing")
        for model in (self.sender, self.receiver):
            if model.startswith(REMOTE):
                raise InputError(
                    f"{model} runs behind a server, which gives words only, and here states and caches are tried; give "
                    "a folder or hub id"
                )

    @property
    def evaluations(self) -> dict[str, Evaluate]:
        """The two evaluations by the names of their folders; one where sender and receiver are the same."""
        receiver = self.receiver or self.sender
        names = {field.name for field in dataclasses.fields(Evaluate)} & {one.name for one in dataclasses.fields(self)}
        common = {name: getattr(self, name) for name in names - {"sender", "receiver", "output"}}
        folder = Path(self.output)

        def one(name: str, sender: str, channels: tuple[str, ...], controls: tuple[str, ...]) -> Evaluate:
            return Evaluate(
                sender=sender,
                receiver=receiver,
                environment="secret",
                output=str(folder / name),
                channels=channels,
                controls=controls,
                sender_sees="notes",
                message_dtype="model",
                **common,
            )

        alone = one(ALONE, receiver, CHANNELS_ALONE, CONTROLS_ALONE)
        if receiver == self.sender:
            return {ALONE: alone}
        return {ALONE: alone, PAIR: one(PAIR, self.sender, CHANNELS_OF_PAIR, CONTROLS_OF_PAIR)}

    def run(self) -> "list[Check]":
        """Run or continue both evaluations; the checks.

        Raises:
            InputError, CheckpointError, MessageError, StorageError: as `interlat.evaluate`.
        """
        import torch

        from interlat.config import write_config
        from interlat.connectors.reader import BETWEEN_MODELS
        from interlat.connectors.registry import parse_connector
        from interlat.evaluation.evaluate import evaluate_steps, results_of
        from interlat.report.qualification import checks_of

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        if PAIR in self.evaluations and parse_connector(self.connector)[0] != BETWEEN_MODELS:
            raise InputError(
                f"connector is {self.connector!r}, which stays within one model; take {BETWEEN_MODELS} for two, or "
                "leave out receiver"
            )
        results = {}
        for name, config in self.evaluations.items():
            completed(evaluate_steps(config), name, begun=lambda: write_config(self, self.output))
            results[name] = results_of(config).records
        checks = checks_of(results[ALONE], results.get(PAIR, results[ALONE]))
        lines = json.dumps([dataclasses.asdict(check) for check in checks], indent=1)
        write_atomically(Path(self.output) / QUALIFICATION_FILE, lines + "\n")
        return checks

    def report(self, checks: "list[Check]") -> int:
        """Show the checks; 1 where something is wrong that training cannot fix, or could not be told."""
        from rich.console import Console
        from rich.table import Table

        from interlat.report.qualification import is_sound

        if self.json:
            for check in checks:
                print(json.dumps(dataclasses.asdict(check)))
        table = Table(box=None, pad_edge=False)
        for head in ("check", "found", "numbers"):
            table.add_column(head)
        for check in checks:
            table.add_row(check.name, check.found, "; ".join(filter(None, (check.numbers, check.advice))))
        Console(stderr=True).print(table)
        sound = is_sound(checks)
        say("the delivery works" if sound else "the delivery does not work: see the checks that do not say yes")
        say(f"results in {self.output}")
        return int(not sound)
