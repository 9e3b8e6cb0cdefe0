"""Train a sender to say in a few latents what a frozen receiver reads in a full message."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from interlat.agents.prompting import PromptMaker, collected_options
from interlat.agents.settings import AgentSettings
from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.connectors.bridge import Bridge, BridgeConfig
from interlat.connectors.resampler import Resampler, ResamplerConfig
from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import companion_file, load_checkpoint
from interlat.engine.distributed import Ranks
from interlat.engine.embeddings import input_embeddings, score_factor
from interlat.engine.fingerprint import weights_fingerprint
from interlat.engine.prompt import token_ids_of, tokenize
from interlat.engine.template import TemplateOptions
from interlat.errors import InputError
from interlat.files import atomic_folder, write_atomically
from interlat.progress import say
from interlat.store.manifest import Manifest
from interlat.training.batch_sampler import Order
from interlat.training.card import CARD_FILE, base_model
from interlat.training.compression_objective import CompressionObjective, CompressionTotals
from interlat.training.compressors import Reasoner, Resampling, Sample, uncertain_token
from interlat.training.conversations import ConversationOptions
from interlat.training.corpus import CORPORA, Corpus
from interlat.training.examples import Example, Mixed
from interlat.training.finetune import choose_finetuned, merge_lora
from interlat.training.identity import Identity, examples_identity, thoughts_identity
from interlat.training.loop import MODEL_FOLDER, MicroBatches, Schedule, export_finished, load_finished, run_training
from interlat.training.losses import CompressionWeights
from interlat.training.messages import StoredMessages
from interlat.training.model import compiled_backbone
from interlat.training.sharding import split_again
from interlat.training.stage import (
    Steps,
    TrainingOptions,
    export_agent,
    mean_losses,
    place_objective,
    run_stage,
    training_card,
)

START_THOUGHTS = 512
"""Plans that the start vector is chosen by, at least if there are as many."""
_USE_OF_REASONER = (
    'agent = interlat.load("folder or hub id of this model")\nagent.think("...").save("thought.safetensors")'
)
_USE_OF_RESAMPLER = (
    'from interlat.connectors.resampler import Resampler\nresampler = Resampler.load("folder of this file")'
)


@dataclass(frozen=True)
class Compress(TrainingOptions):
    """Train a compressed sender against a frozen receiver."""

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
    """Optimiser settings; ``adapter_learning_rate`` is for the bridge or the resampler."""
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
        if not self.latent_steps or min(self.latent_steps) < 1:
            raise InputError(f"latent_steps is {list(self.latent_steps)}; give numbers of at least 1")
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


def compress(config: Compress, ranks: Ranks | None = None) -> Steps:
    """Run or continue the training; yields (finished steps, metrics). Ends with the exported sender.

    ``validation_loss`` is the mean over the trained lengths, ``validation_loss_K`` the loss at one,
    ``validation_distillation_K`` the distillation on the same examples, and
    ``validation_on_policy_distillation_K`` the same on on-policy games that are held out;
    ``validation_on_policy_loss_K`` is the loss on these with dagger. What
    the receiver loses with the full message and without one, the bounds in between which a compressed one lies, is
    said at the start.

    Args:
        config: the settings.
        ranks: the processes that take part, already connected; one by default.

    Raises:
        InputError: settings, thoughts and receiver do not go together.
        CheckpointError: the output folder holds another training, or a damaged one.
        StorageError: another process trains into that folder, or the file system refused.
    """
    ranks = ranks or Ranks()
    places = ("receiver", "thoughts", "sender", "conversations.data", "on_policy")
    return run_stage(Compress, config, places, lambda settings: _train(config, ranks, settings), ranks)


def _train(config: Compress, ranks: Ranks, settings: Identity) -> Steps:
    thoughts = StoredMessages([config.thoughts])
    receiver, tokenizer = load_checkpoint(config.receiver, torch.float32, "cpu", False)
    adapter = _adapter(config, thoughts.manifest)
    chat = ChatFormat(tokenizer, AgentSettings.beside(config.receiver).template)
    corpus = _corpus(config, thoughts, chat, ranks)
    on_policy: list[Example] = []
    on_policy_held_out: list[Example] = []
    if config.on_policy:
        on_policy, on_policy_held_out = CORPORA[config.corpus].on_policy(vars(config), chat, thoughts)
    compressor = _new_compressor(config, thoughts, adapter.config, receiver)
    identity = {
        **settings,
        "examples": examples_identity(corpus.training, on_policy, corpus.validation, on_policy_held_out),
        "thoughts": thoughts_identity(*thoughts.stores),
        "receiver": [weights_fingerprint(receiver), weights_fingerprint(adapter)],
        "sender": compressor.start,
    }
    source = _Source(config, thoughts, compressor)
    objective = CompressionObjective(
        compressor.module, receiver, adapter, config.losses, config.precision, compressor.head
    )
    models = [model for model in (compressor.model, receiver) if model is not None]
    place_objective(objective, config, models, ranks)
    objective.use_backbone(compiled_backbone(receiver, config.compile))
    order = Order([*corpus.training, *on_policy], config.schedule.batch_size, config.seed)
    held_out = list(corpus.validation[: config.validation_limit])
    on_policy_held_out = on_policy_held_out[: config.validation_limit]
    on_policy_measures = ("loss", "distillation") if config.dagger else ("distillation",)

    def micro_batches_of_step(step: int) -> MicroBatches:
        samples = []
        for place, example in enumerate(order.of(step)):
            rng = random.Random(f"lengths/{config.seed}/{step}/{place}")
            samples.append(source.sample(example, rng.choice(config.latent_steps)))
        totals = CompressionTotals.of(samples)
        for part in config.schedule.micro_batches_of(ranks.share(samples)):
            yield objective(part, totals)

    def measured(examples: Sequence[Example], steps: int) -> dict[str, float]:
        samples = [source.sample(example, steps) for example in examples]
        return mean_losses(objective, samples, CompressionTotals.of(samples), ranks)

    def validate() -> dict[str, float]:
        found: dict[str, float] = {}
        for steps in config.latent_steps:
            losses = measured(held_out, steps)
            found |= {f"{name}_{steps}": losses[name] for name in ("loss", "distillation") if name in losses}
            if on_policy_held_out:
                losses = measured(on_policy_held_out, steps)
                found |= {f"on_policy_{name}_{steps}": losses[name] for name in on_policy_measures if name in losses}
        loss = sum(found[f"loss_{steps}"] for steps in config.latent_steps) / len(config.latent_steps)
        return {"loss": loss, **found}

    _say_bounds(objective, [source.sample(example, 1) for example in held_out], ranks)
    parts = compressor.module.parts
    directory = Path(config.output)
    yield from run_training(
        directory, parts, config.schedule, config.seed, micro_batches_of_step, validate, ranks, identity
    )
    if ranks.is_first:
        export_finished(directory, lambda: _export(config, thoughts, adapter.config))


@dataclass(frozen=True, eq=False)
class _Compressor:
    """What is trained, with the tokenizer of the model that thinks if there is one, and its head if a hint is given."""

    module: Reasoner | Resampling
    tokenizer: Any = None
    head: Tensor | None = None
    start: str = ""
    """Fingerprint of the model that it began as."""

    @property
    def model(self) -> Any:
        return self.module.model if isinstance(self.module, Reasoner) else None


class _Source:
    """Makes samples of examples: the sender's prompt, as it was at collection, and its full message."""

    def __init__(self, config: Compress, thoughts: StoredMessages, compressor: _Compressor) -> None:
        self.thoughts = thoughts
        self.tokenizer = compressor.tokenizer
        self.make_prompt = None
        self.longest = max(config.latent_steps)
        if self.tokenizer is not None:
            self.context: int = compressor.model.config.get_text_config(decoder=True).max_position_embeddings
            self.make_prompt = PromptMaker.as_collected(thoughts.manifest.settings, self.tokenizer, config.template)

    def sample(self, example: Example, latent_steps: int) -> Sample:
        """An example with what its message is made of."""
        prompt: tuple[int, ...] = ()
        if self.make_prompt is not None:
            task = self.thoughts.stores[0].entry(example.item).task
            prompt = tuple(token_ids_of(tokenize(self.make_prompt(task), self.tokenizer)))
            if len(prompt) + self.longest > self.context:
                raise InputError(
                    f"the prompt of {example.item!r} has {len(prompt)} positions, with {self.longest} latents "
                    f"more than the context of the sender, {self.context}; leave the item out or take another sender"
                )
        return Sample(example, prompt, self.thoughts.states(example.item), latent_steps)


@torch.no_grad()
def _say_bounds(objective: CompressionObjective, samples: Sequence[Sample], ranks: Ranks) -> None:
    def full(part: Sequence[Sample], totals: CompressionTotals) -> tuple[Tensor, Any]:
        return objective(part, totals, [Mixed(sample.message, len(sample.message)) for sample in part])

    def none(part: Sequence[Sample], totals: CompressionTotals) -> tuple[Tensor, Any]:
        return objective(part, totals, [None] * len(part))

    totals = CompressionTotals.of(samples)
    with_all, without = (mean_losses(bound, samples, totals, ranks)["loss"] for bound in (full, none))
    split_again(objective)
    if ranks.is_first:
        say(
            f"the receiver's loss on {len(samples)} examples held out: {with_all:.4f} with the full message, "
            f"{without:.4f} without one"
        )


def _adapter(config: Compress, manifest: Manifest) -> CommunicationAdapter:
    adapter = CommunicationAdapter.load(config.receiver)
    known = adapter.config.sender_fingerprints
    if known and manifest.weights_fingerprint not in known:
        raise InputError(
            f"the receiver in {config.receiver} was not trained on the thoughts in {config.thoughts}, those of "
            f"{manifest.model or 'an unnamed model'}; give the store that it was trained with"
        )
    if manifest.hidden_size != adapter.source_size:
        raise InputError(
            f"the thoughts in {config.thoughts} have rows of size {manifest.hidden_size}, and the receiver reads "
            f"{adapter.source_size}; give the store that it was trained with"
        )
    return adapter


def _corpus(config: Compress, thoughts: StoredMessages, chat: ChatFormat, ranks: Ranks) -> Corpus:
    longest = max(config.latent_steps)
    corpus = CORPORA[config.corpus].load(vars(config), chat, thoughts, lambda item: max(longest, thoughts.rows(item)))
    if corpus.counts and ranks.is_first:
        say(corpus.counts)
    return corpus


def _new_compressor(
    config: Compress, thoughts: StoredMessages, adapter: AdapterConfig, receiver: nn.Module
) -> _Compressor:
    """What the training starts from."""
    manifest = thoughts.manifest
    receiver_fingerprint = weights_fingerprint(receiver)
    if config.method == "resampler":
        resampler = Resampler(
            ResamplerConfig(
                size=manifest.hidden_size,
                queries=max(config.latent_steps),
                heads=config.heads,
                latent_steps=config.latent_steps,
                sender_fingerprint=manifest.weights_fingerprint,
                receiver_fingerprint=receiver_fingerprint,
            )
        )
        resampler.begin(config.seed)
        return _Compressor(Resampling(resampler))
    model: Any
    model, tokenizer = load_checkpoint(config.sender, torch.float32, "cpu", False)
    start = weights_fingerprint(model)
    settings = BridgeConfig(
        hidden_size=model.config.get_text_config(decoder=True).hidden_size,
        message_size=manifest.hidden_size,
        project=start != manifest.weights_fingerprint,
        latent_steps=config.latent_steps,
        sender=manifest.model,
        sender_fingerprint=manifest.weights_fingerprint,
        layer=adapter.layer,
        norm=adapter.norm,
        offset=adapter.offset,
        receiver_fingerprint=receiver_fingerprint,
    )
    # A model that made the thoughts needs no projection. Asked here, before low-rank updates make another model of it.
    reads_thoughts = not settings.project and (adapter.layer, adapter.norm) == (-1, "post")
    if config.losses.lens_distillation and not reads_thoughts:
        raise InputError(
            f"lens_distillation reads the thoughts with the head of the sender, and {config.sender} did not make "
            f"those in {config.thoughts}; leave it out of losses, or give the model that made them"
        )
    bridge = _bridge(config, thoughts, settings, model, reads_thoughts)
    head = model.get_output_embeddings().weight * score_factor(model) if config.losses.lens_distillation else None
    choose_finetuned(model, config.finetune, config.lora, config.seed + 2)
    reasoner = Reasoner(model, bridge, config.gradient_checkpointing, config.precision)
    return _Compressor(reasoner, tokenizer, head, start)


def _bridge(
    config: Compress, thoughts: StoredMessages, settings: BridgeConfig, model: Any, reads_thoughts: bool
) -> Bridge:
    """A new bridge, or the one that the sender already has."""
    file = companion_file(config.sender, Bridge.FILE)
    if file is not None:
        bridge = Bridge.load(file.parent)
        known = bridge.config
        if known.sender_fingerprint != settings.sender_fingerprint:
            raise InputError(
                f"the compressed sender {config.sender} makes rows like those of {known.sender or 'an unnamed model'}, "
                f"and the thoughts in {config.thoughts} are those of "
                f"{settings.sender or 'another'}; give another sender"
            )
        bridge.config = replace(settings, project=known.project)
        return bridge.train()
    bridge = Bridge(settings)
    torch.manual_seed(config.seed)
    if bridge.projector is not None:
        bridge.projector.reset_parameters()
    table = input_embeddings(model)
    bridge.begin(table, config.seed)
    if config.start == "uncertain" and reads_thoughts:
        token = _start_token(model, thoughts)
        if token is not None:
            with torch.no_grad():
                bridge.start.copy_(table[token])
    return bridge


def _start_token(model: Any, thoughts: StoredMessages) -> int | None:
    """The token to begin behind."""
    store = thoughts.stores[0]
    # Evenly over the store.
    ids = store.ids[:: max(1, len(store) // START_THOUGHTS)]
    plans = ((thoughts.states(item), store.entry(item).token_ids) for item in ids)
    return uncertain_token(model, plans, thoughts.manifest.offset)


def _export(config: Compress, thoughts: StoredMessages, adapter: AdapterConfig) -> None:
    """Write the finished sender: what was trained and its bridge, nothing of the receiver."""
    receiver, _ = load_checkpoint(config.receiver, torch.float32, "cpu", False)
    compressor = _new_compressor(config, thoughts, adapter, receiver)
    load_finished(Path(config.output), compressor.module.parts, config.schedule)
    lengths = ", ".join(map(str, config.latent_steps))
    about = f"It was trained to send messages of {lengths} rows to `{base_model(config.receiver)}`."
    command, start = "interlat compress", config.sender or None
    if isinstance(compressor.module, Reasoner):
        merge_lora(compressor.model)
        export_agent(
            command,
            Compress,
            config,
            compressor.model,
            compressor.tokenizer,
            _settings(config, thoughts.manifest),
            start=start,
            beside=[compressor.module.bridge],
            about=about,
            use=_USE_OF_REASONER,
        )
        return
    role = AgentSettings(role="resampler")
    card = training_card(command, Compress, config, role, start=start, about=about, use=_USE_OF_RESAMPLER)
    with atomic_folder(Path(config.output) / MODEL_FOLDER) as temporary:
        compressor.module.resampler.save(temporary)
        write_atomically(temporary / CARD_FILE, card)


def _settings(config: Compress, manifest: Manifest) -> AgentSettings:
    """The settings with which `Agent.think` makes the prompts of the collection."""
    prompt = manifest.settings.get("prompt", {})
    return AgentSettings(
        role="sender",
        prompt_template=prompt.get("template", ""),
        system_prompt=prompt.get("system", ""),
        template=config.template.over(collected_options(manifest.settings)),
        allow_special_tokens=prompt.get("allow_special_tokens", False),
    )
