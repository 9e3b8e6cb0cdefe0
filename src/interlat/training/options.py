"""Settings that several trainings share. They need no torch, so that the command line can read them at once."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

from interlat.agents.settings import AgentSettings, MessageKind
from interlat.choices import TokenizerFamily
from interlat.errors import InputError
from interlat.tasks.conversations import TASK_TURN
from interlat.tasks.records import RecordFields
from interlat.typed import check_choices, check_range

Precision = Literal["float32", "bfloat16"]
"""What a model computes in; bfloat16 by autocast, which leaves the weights as they are."""


@dataclass(frozen=True)
class SmallModel:
    """Shape of a model trained from scratch."""

    family: TokenizerFamily = "qwen2"
    """Architecture: Qwen2 or Llama."""
    hidden_size: int = 128
    """Hidden size D."""
    layers: int = 4
    """Number of decoder layers."""
    heads: int = 4
    """Number of attention heads. Keys and values have as many."""
    intermediate_size: int = 384
    """Width of the gated MLP."""
    context_length: int = 1024
    """Largest number of positions."""
    tied: bool = True
    """Tie the output head to the input embeddings."""


Sample = TypeVar("Sample")


def in_parts(samples: Sequence[Sample], size: int) -> Iterator[Sequence[Sample]]:
    """The samples in their order, ``size`` at once."""
    return (samples[start : start + size] for start in range(0, len(samples), size))


@dataclass(frozen=True)
class Schedule:
    """Settings of the optimiser."""

    steps: int = 1000
    """Number of optimiser steps in the learning-rate schedule."""
    stop_at: int | None = None
    """Stop after this many steps, in the middle of the learning-rate schedule. None stops after `steps`."""
    batch_size: int = 32
    """Examples in one optimiser step, over all micro-batches and processes."""
    micro_batch_size: int | None = None
    """Examples in one forward and backward pass of a process.
    Gradient accumulation adds up the micro-batches of a step; the result is the same. Lower it when memory runs out.
    None takes all examples at once."""
    learning_rate: float = 1e-3
    """Peak learning rate. It warms up linearly, then falls along a cosine to a tenth."""
    adapter_learning_rate: float = 2e-4
    """Peak learning rate of what is trained beside the model, such as an adapter.
    Too large a step makes an aligned adapter lose its map.
    A wider sender needs a lower rate (128 dimensions: 2e-4, 576: 1e-5). A warning appears if the rate is too large."""
    warmup_steps: int = 50
    """Number of linear warm-up steps."""
    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW, on matrices only."""
    max_grad_norm: float = 1.0
    """Clip the gradient to this norm."""
    checkpoint_every: int = 100
    """Steps between checkpoints."""
    eval_every: int = 200
    """Steps between validations."""
    patience: int | None = None
    """Early stopping: stop after this many validations without a better loss. None never stops early."""
    load_best_at_end: bool = False
    """Finish with the parameters of the lowest validation loss instead of the last ones."""
    RENAMED: ClassVar[Mapping[str, str]] = {
        "pass_size": "micro_batch_size",
        "gradient_clip": "max_grad_norm",
        "validate_every": "eval_every",
        "keep": "load_best_at_end",
    }
    RENAMED_VALUES: ClassVar[Mapping[str, Mapping[str, Any]]] = {"load_best_at_end": {"best": True, "last": False}}

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "checkpoint_every", "eval_every", "micro_batch_size", "patience", "stop_at")
        check_range(self, "[1, inf)", *counts)

    def micro_batches_of(self, samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
        """The samples of a step, or a process's share of them, as many at once as one micro-batch takes."""
        return in_parts(samples, self.micro_batch_size or max(1, len(samples)))

    @property
    def last_step(self) -> int:
        """Steps that are taken if none is spared by ``patience``."""
        return self.steps if self.stop_at is None else min(self.steps, self.stop_at)


Finetune = Literal["full", "lora", "adapter"]
Export = Literal["merged", "adapter"]


@dataclass(frozen=True)
class Lora:
    """LoRA on linear maps of the model: ``W + alpha / rank * B A`` (arXiv 2106.09685)."""

    rank: int = 8
    """Rank of the update."""
    alpha: float = 16.0
    """Scale of the update."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Names of the linear maps that get an update."""

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.targets:
            raise InputError(f"a low-rank update of rank {self.rank} of {len(self.targets)} maps changes nothing")


TrainedOn = Literal["base", "none", "text", "list", "latent"]


@dataclass(frozen=True)
class Curriculum:
    """Fraction of a message's latents that is kept in the course of training, from the first latent on.

    Interlat (arXiv 2511.09149) draws the fraction uniformly from 0.1 to 0.9 throughout, and never trains on the whole
    message, which is all that an actor gets when it plays. Here the whole message takes over.
    """

    kind: Literal["none", "uniform", "linear"] = "none"
    """Fraction of the latents that is kept. none: always the whole message.
    uniform: 0.1 to 0.9 as published, or the whole message with a probability that grows from ``whole_at_start`` to 1.
    linear: uniform between a bound that grows from 0 to 1, and 1."""
    whole_at_start: float = 0.1
    """uniform: probability of the whole message in the first step."""
    full_after: float = 0.8
    """Fraction of the training after which every message is whole."""

    def __post_init__(self) -> None:
        check_choices(self, "kind", owner="curriculum")
        check_range(self, "[0, 1]", "whole_at_start")
        check_range(self, "(0, 1]", "full_after")

    def ratio(self, progress: float, rng: random.Random) -> float:
        """The latent share of one message when the share ``progress`` of the training is over, in [0, 1]."""
        done = min(1.0, progress / self.full_after)
        if self.kind == "none" or done >= 1.0:
            return 1.0
        if self.kind == "linear":
            return done + (1.0 - done) * rng.random()
        whole = self.whole_at_start + (1.0 - self.whole_at_start) * done
        return 1.0 if rng.random() < whole else rng.randint(1, 9) / 10


@dataclass(frozen=True)
class ConversationOptions:
    """Which conversations the actor learns from, and how they are written."""

    data: str = ""
    """File, folder or hub id of the conversations. Empty uses those stored with the messages."""
    kind: Literal["conversations", "records"] = "conversations"
    """conversations: ids with lists of turns. records: questions with their solutions, one per record."""
    split: str = ""
    """Split of the data."""
    name: str = ""
    """records: configuration of a hub data set."""
    fields: RecordFields = field(default_factory=RecordFields)
    """records: which columns hold what. The actor learns the column ``solution``, or the answer if there is none."""
    task_turn: int = TASK_TURN
    """Number of the turn that holds the task. The human turns before it and the task become one user turn.
    The replies before it are left out.
    2 is for ALFWorld (instruction, OK, task), 0 for chats that begin with the task."""
    prompt_template: str = ""
    """First user turn, with ``{text}`` in the place of the task.
    Of a conversation, ``{text}`` is what comes before the first reply. Empty means the text alone."""
    system_prompt: str = ""
    """System prompt. Empty means none."""
    connector: str = AgentSettings.connector
    """Text between the first user turn and the message."""
    place_for_message: bool = True
    """End the first user turn with ``<bop>`` and ``<eop>`` even if there is no message.
    False writes conversations as they are, for models that get no such messages, such as the members of a team."""
    allow_special_tokens: bool = False
    """Read control tokens in the data, such as ``<|im_end|>``, as control tokens. By default they are plain text."""
    max_length: int | None = None
    """Largest number of positions of a conversation with its message. The rest is cut off. None cuts nothing."""
    missing: Literal["error", "drop"] = "error"
    """What to do with a task that has no message in the store: stop with an error, or drop it."""
    too_long: Literal["error", "drop"] = "error"
    """What to do with an item that has no reply left within max_length: stop with an error, or drop it."""

    def __post_init__(self) -> None:
        if self.task_turn < 0 or self.task_turn % 2:
            raise InputError(f"task_turn is {self.task_turn}, expected an even number: every second turn is a human's")
        check_range(self, "[1, inf)", "max_length")
        # Checks the template.
        self.settings()

    def settings(self, message_kind: MessageKind = "") -> AgentSettings:
        """The settings with which an agent's prompts are those of the training."""
        return AgentSettings(
            role="actor",
            system_prompt=self.system_prompt,
            prompt_template=self.prompt_template,
            connector=self.connector,
            message_kind=message_kind,
            allow_special_tokens=self.allow_special_tokens,
        )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of every training that starts from a model."""

    RENAMED: ClassVar[Mapping[str, str]] = {"trained": "finetune", "low_rank": "lora"}
    RENAMED_VALUES: ClassVar[Mapping[str, Mapping[str, Any]]] = {"finetune": {"everything": "full", "low_rank": "lora"}}

    finetune: Finetune = "full"
    """Which parameters are trained. full: all. lora: LoRA on the model, and the adapter or bridge.
    adapter: the adapter or bridge alone."""
    lora: Lora = field(default_factory=Lora)
    """Shape of LoRA's updates."""
    export: Export = "merged"
    """How LoRA's updates are saved. merged: into the weights, as a whole model.
    adapter: as a PEFT adapter of a few MB on the model that the training started from.
    If that model was itself a PEFT adapter, its updates are trained further."""
    seed: int = 0
    """Seed of initial values, order, and all other random choices."""
    device: str = "auto"
    """Device to train on. auto is the accelerator if there is one."""
    precision: Precision = "float32"
    """Number format that the models compute in.
    Trained parameters, the adapter and the optimiser's state stay float32."""
    threads: int = 1
    """Number of torch threads on a CPU."""
    compile: bool = False
    """Compile the step of the receiving model. On a CPU this takes a minute and a C++ compiler.
    It pays off in long training runs."""

    def __post_init__(self) -> None:
        if self.export == "adapter" and self.finetune != "lora":
            raise InputError(f"export is adapter and finetune {self.finetune}; only lora makes an adapter, set it")
