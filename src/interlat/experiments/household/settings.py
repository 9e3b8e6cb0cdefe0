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
    """Sender trained to send the latent actor a few latents."""
    resampler: str | None = None
    """Resampler trained to sum the scout's states up for the latent actor."""


@dataclass(frozen=True)
class EvaluateHousehold:
    """Play held-out games under several variants of the message."""

    checkpoints: Checkpoints
    """The models."""
    output: str
    """The run directory."""
    variants: tuple[str, ...] = DEFAULT_VARIANTS
    """What stands between scout and actor."""
    batch_size: int = 50
    """Games in one batch."""
    seed: int = 0
    """Seed of sampled plans and controls."""
    workers: int = 2
    """Processes that run the games."""
    max_plan_tokens: int = 80
    """Most tokens of a plan."""
    dtype: str = "float32"
    """Number format of the models. In bfloat16, which pays for large ones, an episode depends a little on those beside
    it; auto is that where the hardware multiplies it natively."""
    device: str = "auto"
    """Where they compute."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat templates, over those that the models were trained with."""

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
    """Play games with an expert that knows the scout's evidence, and keep what it saw and did."""

    games: str
    """Folder of the games."""
    split: str
    """train, seen or unseen."""
    output: str
    """The JSON-lines file to write or continue."""
    draws: int = 3
    """Evidence draws (episodes) for each game."""
    patience: int = 3
    """Steps that may be wasted: the step cap of an episode is its optimal number of steps plus this."""
    stumble: float = 0.12
    """Probability before each command after the first that the expert is pushed into a useless one: repeating
    a visit, going back to a place, opening what cannot be opened. A learner sees those and does not imitate them; it
    learns what to do after a mistake of its own."""
    play: bool = True
    """Play the expert's episode; False keeps scene and evidence only."""
    language: Language = "short"
    """How notes and plans are written. short: few words, for models with a vocabulary of the experiment; plain: English
    sentences, for pretrained models."""
    seed: int = 0
    """Seed of the evidence."""
    workers: int = 2
    """Worker processes."""
    limit: int | None = None
    """Use the first games only."""

    def __post_init__(self) -> None:
        if self.draws < 1 or self.workers < 1 or self.patience < 0:
            raise InputError("draws and workers must be at least 1 and patience at least 0")


@dataclass(frozen=True)
class CollectTrajectories:
    """Let a trained actor play training games several times with the stored thoughts about them."""

    actor: str
    """Folder of the actor: model, agent.json, and an adapter where it reads hidden states."""
    thoughts: str
    """Latent store of the thoughts about the games (collected with source.kind alfworld)."""
    output: str
    """Folder of ``trajectories.jsonl``, to begin or to continue."""
    attempts: int = 4
    """Trajectories with each thought."""
    limit: int | None = None
    """Use a fixed random subset of this many thoughts."""
    temperature: float = 1.0
    """Of the sampled commands; 1 is the actor's own distribution."""
    max_command_tokens: int = 16
    """Most tokens of a command."""
    seed: int = 0
    """Seed of the samples."""
    batch_size: int = 50
    """Games at once."""
    workers: int = 2
    """Processes that run the games."""
    dtype: str = "float32"
    """Number format that the actor computes in."""
    device: str = "auto"
    """Where it computes."""
    threads: int | None = None
    """Threads of torch on a CPU; None leaves them."""

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
    """The training games' ``episodes.jsonl``."""
    validation: str
    """``episodes.jsonl`` of games to validate on."""
    output: str
    """Folder of the checkpoint; the finished model is in its ``model`` folder."""
    start: str | None = None
    """Folder, hub id or known name of the model to start from; None starts from scratch with ``tokenizer``."""
    tokenizer: str | None = None
    """Folder of the tokenizer where there is no ``start``."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat template; the finished scout keeps them."""
    model: SmallModel = field(default_factory=SmallModel)
    """Shape of the model."""
    schedule: Schedule = field(default_factory=Schedule)
    """Optimiser settings."""
    list_share: float = 0.5
    """Share of plans that name every sighted place in order of belief."""
    place_weight: float = 4.0
    """Loss weight of a place in doubt; every other token weighs 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.finetune == "adapter" or (self.finetune == "lora" and not self.start):
            raise InputError(f"finetune is {self.finetune}, expected full, or lora with a model in start")
        if not self.start and not self.tokenizer:
            raise InputError("set start to a model to begin with, or tokenizer to begin from scratch")
