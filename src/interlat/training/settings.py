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
    """Train an actor on expert episodes with messages of one kind."""

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
    """household: the training games' ``episodes.jsonl``; None takes the episodes that stand beside the thoughts."""
    message: TrainedOn = "none"
    """What stands between <bop> and <eop>. "base": plans written from the exact belief, or nothing."""
    thoughts: tuple[str, ...] = ()
    """Latent stores of the scout's thoughts on the episodes, needed for text, list and latent. Of several, each text
    message is taken from one of them; states come from the first."""
    sender: str | None = None
    """Latent only: folder of the scout. With it the adapter begins aligned: a row becomes (nearly, by a linear map) the
    receiver's embedding of the words that the scout expected there, weighted by their probabilities."""
    start: str | None = None
    """Folder of the model to start from; None starts from scratch with the tokenizer in ``tokenizer``."""
    tokenizer: str | None = None
    """Folder of the tokenizer where there is no ``start``."""
    corpus: str = "household"
    """What is learned: household (expert episodes of games), conversations (any, and solutions), or a plug-in."""
    conversations: ConversationOptions = field(default_factory=ConversationOptions)
    """conversations: which ones, and how they are written; by default those that stand beside the thoughts."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat template, over those that ``start`` was trained with; the finished actor keeps them."""
    model: SmallModel = field(default_factory=SmallModel)
    """Shape of a model from scratch."""
    schedule: Schedule = field(default_factory=Schedule)
    """Optimiser settings."""
    none_share: float = 0.15
    """Share of episodes that come without a message, so that an actor knows that case."""
    prefix_share: float = 0.25
    """Latent only: share of messages cut to a random number of first rows."""
    losses: BranchWeights = field(default_factory=BranchWeights)
    """Latent only: weights of the losses beside the cross-entropy."""
    curriculum: Curriculum = field(default_factory=Curriculum)
    """Latent only: how much of a message is latent while training goes on; the rest are the words of the plan."""
    direct_share: float = 0.0
    """Base only: share of episodes without visits in vain, where the plan names the true places. The reading of a plan
    is learned there without noise and in few tokens; with 1 there are no others."""
    search_weight: float = 3.0
    """Loss weight of where to go; every other token of a command weighs 1."""
    reading_weight: float = 0.0
    """Base only: loss weight of every token that is not of a command (rooms, tasks, plans, what is seen). A language
    model of the world learns to look things up long before one that learns commands only."""
    validation_share: float = 0.03
    """Share of the games that is never trained on and gives the validation loss."""
    adapter_heads: int = 4
    """Attention heads of the adapter."""
    adapter_dropout: float = 0.1
    """Dropout on the adapter's attention weights."""
    gradient_checkpointing: bool = False
    """Keep only what goes into each decoder layer and compute the rest again for the gradient: less memory, more
    time."""

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
    """Train an actor on pairs of a won and a lost trajectory with the same message."""

    COMMAND: ClassVar[str] = "interlat train preference"
    PLACES: ClassVar[tuple[str, ...]] = ("start", "thoughts", "trajectories")

    start: str
    """Folder of the actor to begin with, which is also the reference."""
    thoughts: str
    """Latent store of the thoughts that the trajectories were played with."""
    trajectories: str
    """Folder that `interlat collect trajectories` wrote."""
    output: str
    """Folder of the checkpoint; the finished actor is in its ``model`` folder."""
    corpus: str = "household"
    """What the thoughts are about; a corpus with games."""
    beta: float = 0.1
    """How much a log-ratio counts: the larger, the nearer to the reference the actor stays."""
    imitation_weight: float = 0.0
    """Weight of the mean cross-entropy of the won trajectory's tokens beside the preference (arXiv 2404.19733)."""
    length_normalised: bool = False
    """Divide every log-probability by its number of tokens: lost trajectories are mostly the longer ones. It needs a
    larger beta."""
    pairs_per_thought: int = 2
    """Most pairs of one thought."""
    validation_share: float = 0.1
    """Share of the games with pairs that is never learned."""
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
    """Optimiser settings; batch_size and micro_batch_size count pairs."""

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
    """Train a compressed sender against a frozen receiver."""

    COMMAND: ClassVar[str] = "interlat compress"
    PLACES: ClassVar[tuple[str, ...]] = ("receiver", "thoughts", "sender", "conversations.data", "on_policy")
    RENAMED: ClassVar[Mapping[str, str]] = {**TrainingOptions.RENAMED, "played": "on_policy", "corrected": "dagger"}

    receiver: str
    """Folder of the trained actor: its model and adapter stay as they are."""
    thoughts: str
    """Latent store of the full messages that the receiver was trained on, with the prompts that they answer."""
    output: str
    """Folder of the training; the finished sender is in its ``model`` folder."""
    method: Literal["reasoner", "resampler"] = "reasoner"
    """reasoner: a model that reads the sender's prompt and thinks K latents, without a word. resampler: K queries over
    the full message, for comparison: its sender still writes everything."""
    sender: str = ""
    """reasoner: folder or hub id of the model that learns to think; best the one that made the thoughts, but any other
    works too, with a map from its latents to message rows. A compressed sender learns on, with its bridge: with another
    loss, for another length or another receiver."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """reasoner: arguments of the sender's chat template, over those of the collection; the finished sender keeps them.
    The receiver's prompts are written as in its own training."""
    latent_steps: tuple[int, ...] = (8,)
    """Lengths K to train. With several every sample in every step is cut to one of them, each as likely."""
    losses: CompressionWeights = field(default_factory=CompressionWeights)
    """Weights of agreement and direction beside the cross-entropy."""
    schedule: Schedule = field(default_factory=lambda: Schedule(learning_rate=5e-4, adapter_learning_rate=5e-4))
    """Optimiser settings; ``adapter_learning_rate`` is that of the bridge or the resampler."""
    corpus: str = "household"
    """What the receiver does with the messages: household (expert episodes of games), conversations, or a plug-in."""
    conversations: ConversationOptions = field(default_factory=ConversationOptions)
    """conversations: which ones; as in the training of the receiver."""
    search_weight: float = 3.0
    """household: loss weight of where to go; every other token of a command weighs 1."""
    on_policy: tuple[str, ...] = ()
    """household: ``results.jsonl`` of `interlat evaluate` on the episodes of the thoughts, where the receiver played
    with compressed messages. The distillation is learned on what it did there too, right or wrong, so that it finds the
    way on from its own mistakes, which no expert makes. Nothing of it is imitated (on-policy distillation: Agarwal et
    al., arXiv 2306.13649)."""
    dagger: bool = False
    """household: in on-policy games the cross-entropy learns what an expert who knows the sender's evidence would have
    done in each turn (dataset aggregation: Ross et al., arXiv 1011.0686)."""
    validation_share: float = 0.03
    """Share of the games or tasks that is never trained on; the same ones as in the training of the receiver."""
    validation_limit: int | None = None
    """Validate on this many of the examples held out; None takes all."""
    heads: int = 4
    """resampler: attention heads."""
    start: Literal["uncertain", "random"] = "uncertain"
    """reasoner: the first value of the start vector. uncertain: the embedding of the token after which the sender's
    plans leave most open; random: chance. A model that did not make the thoughts begins at
    random anyway, and a compressed sender where it was."""
    gradient_checkpointing: bool = False
    """reasoner: keep only what goes into each latent step and compute the rest again for the gradient."""

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
    """Where the metrics of a training go, beside its folder."""

    tracker: Tracker = "none"
    """Show the metrics of every step in trackio or wandb too; both are in the extra interlat[track]."""
    project: str = "interlat"
    """Project of the tracker. The run there has the name of the output folder."""
