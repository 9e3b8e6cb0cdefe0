"""Settings of the household's commands. They need no torch, so that the command line can read them at once."""

import dataclasses
import functools
import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import ClassVar

from interlat.engine.options import Sampling, TemplateOptions
from interlat.errors import InputError
from interlat.experiments.household.evidence import Language
from interlat.files import content_digest
from interlat.training.options import Schedule, SmallModel, TrainingOptions

COMPRESSED, RESAMPLED, ROLLOUT = "compressed", "resampled", "rollout"

DEFAULT_VARIANTS = ("none", "text", "latent", "cross_task", "zeros", "gaussian")


@dataclass(frozen=True)
class Checkpoints:
    """Folders of the trained models."""

    scout: str
    """The sender."""
    none: str
    """Actor trained without messages."""
    text: str
    """Actor trained on text plans."""
    latent: str
    """Actor and adapter trained on hidden states."""
    list: str | None = None
    """Actor trained on plans that name every place."""
    compressed: str | None = None
    """Sender trained to send a few latents to the latent actor."""
    resampler: str | None = None
    """Perceiver resampler trained to compress the scout's states into a few latents for the latent actor."""


@dataclass(frozen=True)
class EvaluateHousehold:
    """Play held-out games under several variants of the message."""

    checkpoints: Checkpoints
    """Folders of the trained models."""
    output: str
    """The run directory. An interrupted run continues there."""
    variants: tuple[str, ...] = DEFAULT_VARIANTS
    """What the scout sends to the actor, and the controls."""
    batch_size: int = 50
    """Number of games in one batch."""
    seed: int = 0
    """Seed of sampled plans and controls."""
    workers: int = 2
    """Number of processes that run the games."""
    max_plan_tokens: int = 80
    """Largest number of tokens in a plan."""
    dtype: str = "float32"
    """Number format of the models. auto is bfloat16 where the hardware multiplies it natively.
    bfloat16 pays off for large models. In bfloat16 an episode depends slightly on the others in its batch."""
    device: str = "auto"
    """Device that the models run on."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat templates. They override those that the models were trained with."""

    def __post_init__(self) -> None:
        from interlat.experiments.household.variants import check_variants

        check_variants(self.variants)
        for name, folder, what in (
            ("list", self.checkpoints.list, "an actor trained on list plans"),
            (COMPRESSED, self.checkpoints.compressed, "a compressed sender"),
            (RESAMPLED, self.checkpoints.resampler, "a resampler"),
        ):
            wanted = [variant for variant in self.variants if variant.partition(":")[0] == name]
            if wanted and folder is None:
                raise InputError(f"variant {wanted[0]!r} needs the checkpoint of {what}; name its folder")

    @functools.cached_property
    def hash(self) -> str:
        """Twelve digits of all that decides a result: every setting but output, workers and variants, and every model.

        A folder is known by its content and not by its name, so that a model that was trained on is another one.
        It is read once, at the first use: a run has one hash from its first episode to its last.
        """
        fields = {
            k: v for k, v in dataclasses.asdict(self).items() if k not in ("output", "workers", "variants", "device")
        }
        fields["template"] = self.template.record
        if not fields["template"]:
            del fields["template"]
        if self.dtype == "float32":
            # As in versions that had no other.
            del fields["dtype"]
        fields["checkpoints"] = {
            role: content_digest(place) for role, place in fields["checkpoints"].items() if place is not None
        }
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


LATENCY_VARIANTS = ("text", "latent", *(f"{COMPRESSED}:{2**power}" for power in range(8)))


@dataclass(frozen=True)
class MeasureLatency:
    """Measure the latency of messages, one at a time."""

    checkpoints: Checkpoints
    """Folders of the trained models."""
    output: str
    """Folder of the measurements."""
    variants: tuple[str, ...] = LATENCY_VARIANTS
    """Any of none, text, latent, ``compressed:K`` and ``rollout:K``."""
    repeats: int = 3
    """Number of measurements of each game under each variant."""
    max_plan_tokens: int = 80
    """Largest number of tokens in a plan."""

    def __post_init__(self) -> None:
        from interlat.experiments.household.variants import rows_of

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

    @property
    def evaluation(self) -> EvaluateHousehold:
        """The same messages as an evaluation."""
        return EvaluateHousehold(
            self.checkpoints, self.output, self.variants, max_plan_tokens=self.max_plan_tokens, batch_size=1
        )

    @functools.cached_property
    def hash(self) -> str:
        """Twelve digits of the models and settings that decide what is measured."""
        fields = {"max_plan_tokens": self.max_plan_tokens, "repeats": self.repeats}
        digests = {role: content_digest(place) for role, place in asdict(self.checkpoints).items() if place}
        return hashlib.sha256(json.dumps([fields, digests], sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class CollectEpisodes:
    """Play games with an expert that knows the scout's evidence, and save its observations and commands."""

    games: str
    """Folder of the games."""
    split: str
    """train, seen or unseen."""
    output: str
    """JSON-lines file to write. An existing file is continued."""
    draws: int = 3
    """Number of episodes for each game. Each draws its own evidence."""
    patience: int = 3
    """Steps that may be wasted. The step limit of an episode is its optimal number of steps plus this."""
    stumble: float = 0.12
    """Probability that a command after the first ``go to`` is replaced by a useless one.
    A useless command repeats a visit, goes back to a place, or opens the place where the expert is.
    A learner sees these mistakes and does not imitate them. It learns how to recover from its own."""
    play: bool = True
    """Play the expert's episode. False saves scene and evidence only."""
    language: Language = "short"
    """How notes and plans are written. short: few words, for models with the experiment's own vocabulary.
    plain: English sentences, for pretrained models."""
    seed: int = 0
    """Seed of the evidence."""
    workers: int = 2
    """Number of worker processes."""
    limit: int | None = None
    """Use only this many games, the first ones. None uses all."""

    def __post_init__(self) -> None:
        if self.draws < 1 or self.workers < 1 or self.patience < 0:
            raise InputError("draws and workers must be at least 1 and patience at least 0")


@dataclass(frozen=True)
class CollectTrajectories:
    """Let a trained actor play training games several times with the stored messages about them."""

    actor: str
    """Folder of the actor: model, agent.json, and an adapter if it reads hidden states."""
    thoughts: str
    """Latent store of messages about the games (collected with source.kind alfworld)."""
    output: str
    """Folder of ``trajectories.jsonl``. An existing file is continued."""
    attempts: int = 4
    """Number of trajectories with each message."""
    limit: int | None = None
    """Use a fixed random subset of this many messages."""
    temperature: float = 1.0
    """Temperature of the commands. 1 samples from the actor's own distribution."""
    max_command_tokens: int = 16
    """Largest number of tokens in a command."""
    seed: int = 0
    """Seed of the samples."""
    batch_size: int = 50
    """Number of games played at once."""
    workers: int = 2
    """Number of processes that run the games."""
    dtype: str = "float32"
    """Number format that the actor computes in."""
    device: str = "auto"
    """Device that the actor runs on."""
    threads: int | None = None
    """Number of torch threads on a CPU. None leaves torch's default."""

    def __post_init__(self) -> None:
        for name in ("attempts", "batch_size", "workers", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; give 1 or more")
        if self.attempts > 1 and self.temperature == 0:
            raise InputError(f"{self.attempts} greedy attempts with a thought would be the same; set temperature")

    @property
    def sampling(self) -> Sampling:
        """How a command is decoded. Raises InputError for settings that make no sense."""
        return Sampling(temperature=self.temperature, max_new_tokens=self.max_command_tokens)


@dataclass(frozen=True)
class TrainScout(TrainingOptions):
    """Train a scout, from scratch or from a pretrained model."""

    COMMAND: ClassVar[str] = "interlat train scout"
    PLACES: ClassVar[tuple[str, ...]] = ("episodes", "validation", "tokenizer", "start")

    episodes: str
    """``episodes.jsonl`` of the training games."""
    validation: str
    """``episodes.jsonl`` of the validation games."""
    output: str
    """Folder of the checkpoint; the finished model is in its ``model`` folder."""
    start: str | None = None
    """Model to start from: folder, hub id or known name. None trains from scratch with ``tokenizer``."""
    tokenizer: str | None = None
    """Folder of the tokenizer, for training from scratch (without ``start``)."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat template. The finished scout keeps them."""
    model: SmallModel = field(default_factory=SmallModel)
    """Shape of a model trained from scratch."""
    schedule: Schedule = field(default_factory=Schedule)
    """Settings of the optimiser."""
    list_share: float = 0.5
    """Fraction of plans that name every sighted place, in order of belief."""
    place_weight: float = 4.0
    """Loss weight of the tokens of an uncertain place. Every other token weighs 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.finetune == "adapter" or (self.finetune == "lora" and not self.start):
            raise InputError(f"finetune is {self.finetune}, expected full, or lora with a model in start")
        if not self.start and not self.tokenizer:
            raise InputError("set start to a model to begin with, or tokenizer to begin from scratch")
