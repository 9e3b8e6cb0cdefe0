"""Settings of trainings, one class each. They need no torch, so that the command line can read them at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from interlat.engine.options import TemplateOptions
from interlat.errors import InputError
from interlat.training.loss_weights import BranchWeights, CompressionWeights
from interlat.training.options import (
    ConversationOptions,
    Curriculum,
    Schedule,
    SmallModel,
    TrainedOn,
    TrainingOptions,
)
from interlat.typed import check_range


@dataclass(frozen=True)
class TrainActor(TrainingOptions):
    """Train an actor on expert episodes or conversations, with messages of one kind."""

    COMMAND: ClassVar[str] = "interlat train actor"
    PLACES: ClassVar[tuple[str, ...]] = (
        "episodes",
        "thoughts",
        "sender",
        "start",
        "tokenizer",
        "conversations.data",
    )
    """Settings that name files, folders or models; what is in them counts, and not how they are called."""

    output: str
    """Folder of the checkpoint; the finished model (and adapter) is in its ``model`` folder."""
    episodes: str | None = None
    """household: ``episodes.jsonl`` of the training games. None uses the episodes stored with the messages."""
    message: TrainedOn = "none"
    """Kind of message between <bop> and <eop>. none: no message. base: plans written from the exact belief, or nothing.
    text: the sender's plan. list: its plan that names every place. latent: its hidden states."""
    thoughts: tuple[str, ...] = ()
    """Latent stores of the scout's messages on the episodes, needed for text, list and latent.
    With several stores, each text message is taken from one of them. Hidden states come from the first."""
    sender: str | None = None
    """latent: folder of the scout. With it the adapter starts aligned, by a linear map.
    Each latent becomes (nearly) the receiver's embedding of the words that the scout expected there.
    The words are weighted by their probabilities."""
    start: str | None = None
    """Folder of the model to start from. None trains from scratch with ``tokenizer``."""
    tokenizer: str | None = None
    """Folder of the tokenizer, for training from scratch (without ``start``)."""
    corpus: str = "household"
    """What the actor learns from. household: expert episodes of games.
    conversations: any conversations, or questions with solutions. Or a plug-in."""
    conversations: ConversationOptions = field(default_factory=ConversationOptions)
    """conversations: the data and how they are written. The default is the data stored with the messages."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat template. They override those that ``start`` was trained with.
    The finished actor keeps them."""
    model: SmallModel = field(default_factory=SmallModel)
    """Shape of a model trained from scratch."""
    schedule: Schedule = field(default_factory=Schedule)
    """Settings of the optimiser."""
    none_share: float = 0.15
    """Fraction of examples without a message, so that the actor learns that case, too."""
    prefix_share: float = 0.25
    """latent: fraction of messages that are cut to a random number of first latents."""
    losses: BranchWeights = field(default_factory=BranchWeights)
    """latent: weights of the losses beside the cross-entropy."""
    curriculum: Curriculum = field(default_factory=Curriculum)
    """latent: how much of a message is latent in the course of training. The rest are the words of the plan."""
    direct_share: float = 0.0
    """base: fraction of episodes without useless visits, whose plan names the true places.
    They teach the actor to read a plan without noise and in few tokens. 1 uses no other episodes."""
    search_weight: float = 3.0
    """household: loss weight of the place in a go-to command. Every other token of a command weighs 1."""
    reading_weight: float = 0.0
    """base: loss weight of every token outside commands (rooms, tasks, plans, observations).
    A language model of the world learns to look things up long before one that learns commands only."""
    validation_share: float = 0.03
    """Fraction of the games held out for the validation loss."""
    adapter_heads: int = 4
    """Number of attention heads of the adapter."""
    adapter_dropout: float = 0.1
    """Dropout on the adapter's attention weights."""
    gradient_checkpointing: bool = False
    """Gradient checkpointing: keep only the inputs of each decoder layer and recompute the rest in the backward pass.
    This takes less memory and more time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.message in ("text", "list", "latent") and not self.thoughts:
            raise InputError(f"message kind {self.message!r} needs the scout's thoughts; set thoughts to their store")
        from interlat.training.corpus import CORPORA

        source = CORPORA[self.corpus]
        source.check(vars(self))
        if not source.has_games and (self.episodes or self.message == "base"):
            raise InputError(f"{self.corpus} has no games; leave out episodes and message base, or set corpus")
        if not self.conversations.place_for_message and self.message != "none":
            raise InputError("without a place for messages there is nothing to read; set message to none")
        check_range(self, "[0, 1]", "direct_share")
        check_range(self, "[0, inf)", "reading_weight")
        for name in ("direct_share", "reading_weight"):
            if getattr(self, name) and self.message != "base":
                raise InputError(f"{name} is {getattr(self, name)} and message {self.message}; only base has it")
        if self.message != "latent" and (self.losses != BranchWeights() or self.curriculum != Curriculum()):
            raise InputError("losses and curriculum are for latent messages; leave them out or set message to latent")
        if self.finetune == "adapter" and self.message != "latent":
            raise InputError("only latent messages have an adapter; set message to latent or finetune to full")
        if not self.start and not self.tokenizer:
            raise InputError("set start to a model to begin with, or tokenizer to begin from scratch")
        if not self.start and self.export == "adapter":
            raise InputError("export is adapter, but no start names a model to load it on; set export to merged")


@dataclass(frozen=True)
class TrainPreference(TrainingOptions):
    """Train an actor with DPO on pairs of a won and a lost trajectory with the same message."""

    COMMAND: ClassVar[str] = "interlat train preference"
    PLACES: ClassVar[tuple[str, ...]] = ("start", "thoughts", "trajectories")

    start: str
    """Folder of the actor to start from. It is also the reference of DPO."""
    thoughts: str
    """Latent store of the messages that the trajectories were played with."""
    trajectories: str
    """Folder that `interlat collect trajectories` wrote."""
    output: str
    """Folder of the checkpoint; the finished actor is in its ``model`` folder."""
    corpus: str = "household"
    """What the messages are about. It must be a corpus with games."""
    beta: float = 0.1
    """beta of DPO, the scale of a log-ratio. A larger beta keeps the actor nearer to the reference."""
    imitation_weight: float = 0.0
    """Weight of the mean cross-entropy of the won trajectory, beside the preference loss (arXiv 2404.19733)."""
    length_normalised: bool = False
    """Divide every log-probability by its number of tokens, since lost trajectories are mostly longer.
    This needs a larger beta."""
    pairs_per_thought: int = 2
    """Largest number of pairs for each message."""
    validation_share: float = 0.1
    """Fraction of the games with pairs that is held out for validation."""
    schedule: Schedule = field(
        default_factory=lambda: Schedule(
            steps=200,
            batch_size=16,
            learning_rate=1e-5,
            adapter_learning_rate=1e-5,
            warmup_steps=10,
            checkpoint_every=25,
            eval_every=25,
            load_best_at_end=True,
        )
    )
    """Settings of the optimiser. batch_size and micro_batch_size count pairs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        from interlat.training.corpus import CORPORA

        CORPORA[self.corpus]
        check_range(self, "(0, inf)", "beta")
        check_range(self, "[0, inf)", "imitation_weight")
        check_range(self, "[1, inf)", "pairs_per_thought")
        check_range(self, "(0, 1)", "validation_share")


@dataclass(frozen=True)
class Compress(TrainingOptions):
    """Train the sender to emit a few latents instead of text, against a frozen receiver."""

    COMMAND: ClassVar[str] = "interlat compress"
    PLACES: ClassVar[tuple[str, ...]] = ("receiver", "thoughts", "sender", "conversations.data", "on_policy")
    RENAMED: ClassVar[Mapping[str, str]] = {**TrainingOptions.RENAMED, "played": "on_policy", "corrected": "dagger"}

    receiver: str
    """Folder of the trained actor. Its model and adapter stay frozen."""
    thoughts: str
    """Latent store of the full messages that the receiver was trained on, with their prompts."""
    output: str
    """Folder of the checkpoint; the finished sender is in its ``model`` folder."""
    method: Literal["reasoner", "resampler"] = "reasoner"
    """What makes the latents. reasoner: a model that reads the sender's prompt and emits K latents without text.
    resampler: a Perceiver resampler with K queries over the full message, for comparison.
    Its sender still writes everything."""
    sender: str = ""
    """reasoner: folder or hub id of the model to train as the sender. Best is the model that made the full messages.
    Any other works with a map from its latents to the message's vectors.
    A compressed sender continues with its bridge: for another loss, length or receiver."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """reasoner: arguments of the sender's chat template. They override those of the collection.
    The finished sender keeps them. The receiver's prompts are written as in its own training."""
    latent_steps: tuple[int, ...] = (8,)
    """Numbers K of latents to train for.
    With several, every sample in every step is cut to one of them at random, each equally likely."""
    losses: CompressionWeights = field(default_factory=CompressionWeights)
    """Weights of the losses: cross-entropy, distillation, mean cosine, lens distillation."""
    schedule: Schedule = field(default_factory=lambda: Schedule(learning_rate=5e-4, adapter_learning_rate=5e-4))
    """Settings of the optimiser. ``adapter_learning_rate`` is that of the bridge or the resampler."""
    corpus: str = "household"
    """What the receiver does with the messages. household: expert episodes of games.
    conversations: any conversations, or questions with solutions. Or a plug-in."""
    conversations: ConversationOptions = field(default_factory=ConversationOptions)
    """conversations: the data and how they are written. Use those of the receiver's training."""
    search_weight: float = 3.0
    """household: loss weight of the place in a go-to command. Every other token of a command weighs 1."""
    on_policy: tuple[str, ...] = ()
    """household: ``results.jsonl`` of on-policy episodes.
    Run `interlat evaluate` with compressed messages on the episodes of ``thoughts`` to get it.
    The distillation is also trained on what the receiver did there, right or wrong.
    Expert episodes give no supervision in the states after the receiver's own mistakes.
    None of its commands is imitated (on-policy distillation: Agarwal et al., arXiv 2306.13649)."""
    dagger: bool = False
    """household: DAgger (dataset aggregation: Ross et al., arXiv 1011.0686).
    The cross-entropy is also trained on the on-policy episodes, with an expert's commands as labels.
    The expert knows the sender's evidence. It gives no label after a take or put that the task does not ask for."""
    validation_share: float = 0.03
    """Fraction of the games or tasks held out for validation, the same ones as in the receiver's training."""
    validation_limit: int | None = None
    """Validate on this many held-out examples. None uses all."""
    heads: int = 4
    """resampler: number of attention heads."""
    start: Literal["uncertain", "random"] = "uncertain"
    """reasoner: first value of the start vector.
    uncertain: the embedding of the token after which the next word in the sender's plans is least certain.
    random: a random vector. A model that did not make the full messages always starts at random.
    A compressed sender keeps its own vector."""
    gradient_checkpointing: bool = False
    """reasoner: gradient checkpointing.
    Keep only the inputs of each latent step and recompute the rest in the backward pass."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "[1, inf)", "latent_steps")
        if not self.latent_steps:
            raise InputError("latent_steps is empty; give the lengths to train")
        if self.method == "reasoner" and not self.sender:
            raise InputError("a reasoner needs a model to begin with; set sender, best to the model of the thoughts")
        if self.method == "resampler" and (self.sender or self.finetune != "full" or self.gradient_checkpointing):
            raise InputError(
                "a resampler has no model that thinks; leave out sender, finetune and gradient_checkpointing"
            )
        if self.losses.lens_distillation and (self.method == "resampler" or len(set(self.latent_steps)) > 1):
            raise InputError(
                "lens_distillation is for a reasoner of one length; leave it out of losses, or give one of latent_steps"
            )
        from interlat.training.corpus import CORPORA

        source = CORPORA[self.corpus]
        source.check(vars(self))
        if not source.has_games and self.search_weight != type(self).search_weight:
            raise InputError(f"{self.corpus} has no games; leave out search_weight")
        if self.on_policy and (not source.has_games or not (self.losses.distillation or self.dagger)):
            raise InputError(
                "on_policy is for games, and only the distillation learns of them without dagger; give "
                "losses.distillation a weight, set dagger, or leave out on_policy"
            )
        if self.dagger and not self.on_policy:
            raise InputError("there are no games to correct; give on_policy, or leave out dagger")


Tracker = Literal["none", "trackio", "wandb"]


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where the metrics of a training run go, beside its folder."""

    tracker: Tracker = "none"
    """Also log the metrics of every step to trackio or wandb. Both are in the extra interlat[track]."""
    project: str = "interlat"
    """Project of the tracker. The run there has the name of the output folder."""
