"""Settings that several trainings share. They need no torch, so that the command line can read them at once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from interlat.agents.settings import AgentSettings, MessageKind
from interlat.choices import TokenizerFamily
from interlat.errors import InputError
from interlat.tasks.conversations import TASK_TURN
from interlat.tasks.records import RecordFields

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class SmallModel:
    """Shape of a model."""

    family: TokenizerFamily = "qwen2"
    """Architecture: Qwen2 or Llama."""
    hidden_size: int = 128
    """D."""
    layers: int = 4
    """Decoder layers."""
    heads: int = 4
    """Attention heads; keys and values have as many."""
    intermediate_size: int = 384
    """Width of the gated MLP."""
    context_length: int = 1024
    """Most positions."""
    tied: bool = True
    """Whether the head is the transposed table of input embeddings."""


Sample = TypeVar("Sample")


def in_parts(samples: Sequence[Sample], size: int) -> Iterator[Sequence[Sample]]:
    """The samples in their order, ``size`` at once."""
    return (samples[start : start + size] for start in range(0, len(samples), size))


@dataclass(frozen=True)
class Schedule:
    """How the parameters are moved."""

    steps: int = 1000
    """Optimiser steps over which the learning rate runs its course."""
    stop_at: int | None = None
    """End after this many steps, with the learning rate where it then is; None ends after `steps`."""
    batch_size: int = 32
    """Examples in one step, of all passes and processes together."""
    pass_size: int | None = None
    """Examples in one forward and backward pass of a process; a step takes as many passes as it needs and comes out
    the same. None takes all of them at once."""
    learning_rate: float = 1e-3
    """Peak learning rate; linear warm-up, then cosine to a tenth."""
    adapter_learning_rate: float = 2e-4
    """Peak learning rate of what is trained beside the model, such as an adapter. At ten times as much an aligned one
    loses its map."""
    warmup_steps: int = 50
    """Steps of linear warm-up."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay, on matrices only."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    checkpoint_every: int = 100
    """Steps between checkpoints."""
    validate_every: int = 200
    """Steps between validations."""
    patience: int | None = None
    """End after this many validations without a better loss; None never does."""
    keep: Literal["best", "last"] = "last"
    """Which parameters the finished model has: those of the lowest validation loss, or the last ones."""

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "checkpoint_every", "validate_every", "pass_size", "patience", "stop_at")
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; give 1 or more")

    def passes_of(self, samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
        """The samples of a step, or a process's share of them, as many at once as one pass takes."""
        return in_parts(samples, self.pass_size or max(1, len(samples)))

    @property
    def last_step(self) -> int:
        """Steps that are taken if none is spared by ``patience``."""
        return self.steps if self.stop_at is None else min(self.steps, self.stop_at)


@dataclass(frozen=True)
class PreferenceSchedule(Schedule):
    """How the parameters are moved; batch_size and pass_size count pairs."""

    steps: int = 200
    """Optimiser steps over which the learning rate runs its course."""
    batch_size: int = 16
    """Pairs in one step."""
    learning_rate: float = 1e-5
    """Peak learning rate; linear warm-up, then cosine to a tenth."""
    adapter_learning_rate: float = 1e-5
    """Peak learning rate of the adapter."""
    warmup_steps: int = 10
    """Steps of linear warm-up."""
    checkpoint_every: int = 25
    """Steps between checkpoints."""
    validate_every: int = 25
    """Steps between validations."""
    keep: Literal["best", "last"] = "best"
    """Which parameters the finished model has: those of the lowest validation loss, or the last ones."""


LN2 = math.log(2.0)
WEIGHT_FLOOR = 0.01


@dataclass(frozen=True)
class BranchWeights:
    """``L = L_task + w_S L_sep + w_A L_align`` (Interlat, arXiv 2511.09149); weights of 0 leave a loss out."""

    separation: float = 0.0
    """w_S: the reply under the own message must differ from that under another task's."""
    alignment: float = 0.0
    """w_A: the reply under the own message must be like that under the plan in words."""
    adaptive: bool = False
    """Let each weight follow its loss: ``0.01 + (w - 0.01) min(1, L / scale)`` for each sample, where the scale is the
    margin for L_sep and 4 nats for L_align, as published; here no gradient flows through the weights, and a sample's
    weight does not depend on the others."""
    margin: float = 0.69
    """Divergence in nats that is enough; at most ln 2."""
    kl_share: float = 0.7
    """Share of the divergence in L_align, the rest is the cosine's."""

    def __post_init__(self) -> None:
        if self.separation < 0 or self.alignment < 0:
            raise InputError("separation and alignment are weights; give 0 or more")
        if not 0 < self.margin <= LN2 or not 0 <= self.kl_share <= 1:
            raise InputError(f"give a margin above 0 and at most ln 2 = {LN2:.4f}, and a kl_share from 0 to 1")

    @classmethod
    def published(cls) -> "BranchWeights":
        """The weights of the released code: 0.01 to 0.5 for separation, 0.01 to 0.05 for alignment, adaptive."""
        return cls(separation=0.5, alignment=0.05, adaptive=True)

    def weighted(self, weight: float, losses: "Float[Tensor, 'S']", scale: float) -> "Float[Tensor, 'S']":
        """The losses of some samples times the weight that each of them gets."""
        if not self.adaptive:
            return weight * losses
        return (WEIGHT_FLOOR + (weight - WEIGHT_FLOOR) * (losses.detach() / scale).clamp_max(1.0)) * losses


@dataclass(frozen=True)
class CompressionWeights:
    """``L = L_CE + w_agree L_agree + w_dir L_dir + w_hint L_hint``; weights of 0 leave a loss out.

    The first three are those of Interlat (arXiv 2511.09149); the hint is ours.
    """

    agreement: float = 1.0
    """Weight of the agreement with the reply under the full message."""
    direction: float = 0.1
    """Weight of the direction of the mean adapted row."""
    hint: float = 0.0
    """Weight of what the latents say under the sender's own head (see `hint`): for few latents, which
    find out late what to say by themselves. For one length, and for the model that made the thoughts."""
    temperature: float = 1.0
    """tau of the agreement: ``tau^2 KL(p_full^(1/tau) || p^(1/tau))``."""
    reference_rows: int | None = None
    """How many first rows of the full message the agreement and the direction compare with; None is all of them."""
    clip_quantile: float = 0.95
    """Weights of the agreement above this quantile of a reply's positive ones are cut to it."""
    floor: float = 0.0
    """Least weight of a position in the agreement, in nats (ours). Where the full message makes the receiver no surer
    a position has no weight of its own, and what a compressed message spoils there is not seen."""

    def __post_init__(self) -> None:
        if min(self.agreement, self.direction, self.hint, self.floor) < 0:
            raise InputError("agreement, direction, hint and floor are weights; give 0 or more")
        if self.temperature <= 0 or not 0 < self.clip_quantile <= 1:
            raise InputError("give a temperature above 0 and a clip_quantile above 0 and at most 1")
        if self.reference_rows is not None and self.reference_rows < 1:
            raise InputError(f"reference_rows is {self.reference_rows}; give at least 1, or leave it out")

    @classmethod
    def published(cls, latent_steps: int) -> "CompressionWeights":
        """The weights of the released code: both .1, tau 4, compared with as many first rows as there are latents."""
        return cls(agreement=0.1, direction=0.1, temperature=4.0, reference_rows=latent_steps)


Trained = Literal["everything", "low_rank", "adapter"]


@dataclass(frozen=True)
class LowRank:
    """Low-rank updates of the backbone's linear maps: ``W + alpha / rank * B A`` (LoRA, arXiv 2106.09685)."""

    rank: int = 8
    """Rank of the update."""
    alpha: float = 16.0
    """Its scale."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Names of the linear maps that get one."""

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.targets:
            raise InputError(f"a low-rank update of rank {self.rank} of {len(self.targets)} maps changes nothing")


Precision = Literal["float32", "bfloat16"]
TrainedOn = Literal["base", "none", "text", "list", "latent"]


@dataclass(frozen=True)
class ConversationOptions:
    """Which conversations an actor learns, and how they are written."""

    data: str = ""
    """File, folder or hub id of the conversations; empty takes those that stand beside the thoughts in their store."""
    kind: Literal["conversations", "records"] = "conversations"
    """conversations: ids with lists of turns. records: questions with their solutions, one a row."""
    split: str = ""
    """Which split of the data."""
    name: str = ""
    """records: configuration of a hub data set."""
    fields: RecordFields = field(default_factory=RecordFields)
    """records: which columns hold what. Learned is the column ``solution``, and where there is none, the answer."""
    task_turn: int = TASK_TURN
    """Which turn of a conversation is the task. The human turns before it and the task are one user turn, and the
    replies before it are left out: 2 for ALFWorld (instruction, OK, task), 0 for chats that begin with the task."""
    prompt_template: str = ""
    """The first user turn, with ``{text}`` in the place of the task (of a conversation: of what comes before the first
    reply); empty is the text itself."""
    system_prompt: str = ""
    """System turn; empty is no system turn."""
    connector: str = AgentSettings.connector
    """What stands between the first user turn's text and the message."""
    place_for_message: bool = True
    """Whether ``<bop>`` and ``<eop>`` stand at the end of the first user turn even where there is no message. False
    writes conversations as they are, for models that get no such messages, as the members of a team."""
    allow_special_tokens: bool = False
    """Let control tokens that are written in the data, such as ``<|im_end|>``, be control tokens instead of words."""
    max_length: int | None = None
    """Most positions of a conversation with its message; what is behind them is cut off. None cuts nothing."""
    missing: Literal["error", "drop"] = "error"
    """What to do with a task of the data without a thought in the store."""
    too_long: Literal["error", "drop"] = "error"
    """What to do with an item of which max_length leaves no reply."""

    def __post_init__(self) -> None:
        if self.task_turn < 0 or self.task_turn % 2:
            raise InputError(f"task_turn is {self.task_turn}, expected an even number: every second turn is a human's")
        if self.max_length is not None and self.max_length < 1:
            raise InputError(f"max_length is {self.max_length}, expected a positive number; raise it or leave it out")
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
