"""Train a sender to say in a few latents what a frozen receiver reads in a full message."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from interlat.engine.hardware import choose_device
from interlat.engine.prompt import token_ids_of, tokenize
from interlat.errors import InputError
from interlat.experiments.household.corpus import household_corpus, split_games
from interlat.experiments.household.on_policy import played_examples
from interlat.files import atomic_folder, write_atomically
from interlat.messages import check_receiver
from interlat.progress import say
from interlat.results import RESULT_FIELDS, read_results
from interlat.store.manifest import Manifest
from interlat.store.reading import LatentStore
from interlat.training.batch_sampler import Order
from interlat.training.card import CARD_FILE, base_model, model_card, settings_of
from interlat.training.compress.compressors import Reasoner, Resampling, Sample
from interlat.training.compress.objective import CompressionObjective, CompressionTotals
from interlat.training.compress.start import uncertain_token
from interlat.training.conversations import load_corpus
from interlat.training.corpus import Corpus
from interlat.training.examples import Example, Mixed
from interlat.training.identity import Identity, examples_identity, settings_identity, thoughts_identity
from interlat.training.loop import Passes, check_settings, export_finished, load_finished, run_training
from interlat.training.messages import ScoutMessages
from interlat.training.model import compiled_backbone, export_model
from interlat.training.settings import Compress as Compress
from interlat.training.sharding import check_ranks, shard, split_again
from interlat.training.trained import choose_trained, merge_low_rank, round_frozen
from interlat.training.validation import mean_loss, mean_losses

START_THOUGHTS = 512
"""Plans that the start vector is chosen by, at least if there are as many."""
_USE_OF_REASONER = (
    'agent = interlat.load("folder or hub id of this model")\nagent.think("...").save("thought.safetensors")'
)
_USE_OF_RESAMPLER = (
    'from interlat.connectors.resampler import Resampler\nresampler = Resampler.load("folder of this file")'
)


def compress(config: Compress, ranks: Ranks | None = None) -> Iterator[tuple[int, dict[str, float]]]:
    """Run or continue the training; yields (finished steps, metrics). Ends with the exported sender.

    ``validation_loss`` is the mean over the trained lengths, ``validation_loss_K`` that of one,
    ``validation_agreement_K`` the agreement on the same examples, and ``validation_played_agreement_K`` that on
    played games that are held out; ``validation_played_loss_K`` is the loss on these where they are corrected. What
    the receiver loses with the full message and without one, the bounds in between which a compressed one lies, is
    said at the start.

    Args:
        config: the settings.
        ranks: the processes that take part, already connected; one by default.

    Raises:
        InputError: settings, thoughts and sender do not go together.
        MessageError: the receiver was not trained to read thoughts like these.
        CheckpointError: the output folder holds another training, or a damaged one.
        StorageError: another process trains into that folder, or the file system refused.
    """
    ranks = ranks or Ranks()
    check_ranks(ranks, config.schedule.batch_size, config.compile)
    settings = settings_identity(Compress, config, ("receiver", "thoughts", "sender", "conversations.data", "played"))
    with ranks.alone_in(config.output):
        check_settings(config.output, settings)
        yield from _train(config, ranks, settings)


def _train(config: Compress, ranks: Ranks, settings: Identity) -> Iterator[tuple[int, dict[str, float]]]:
    torch.set_num_threads(config.threads)
    thoughts = ScoutMessages([config.thoughts])
    receiver, tokenizer = load_checkpoint(config.receiver, torch.float32, "cpu", False)
    adapter = _adapter(config, thoughts.stores[0])
    chat = ChatFormat(tokenizer, AgentSettings.beside(config.receiver).template)
    corpus = _corpus(config, thoughts, chat, ranks)
    played, played_held_out = _played(config, thoughts, chat)
    compressor = _new_compressor(config, thoughts, adapter.config, receiver)
    identity = {
        **settings,
        "examples": examples_identity(corpus.training, played, corpus.validation, played_held_out),
        "thoughts": thoughts_identity(*thoughts.stores),
        "receiver": [weights_fingerprint(receiver), weights_fingerprint(adapter)],
        "sender": compressor.start,
    }
    source = _Source(config, thoughts, compressor)
    device = choose_device(ranks.device(config.device))
    objective = CompressionObjective(
        compressor.module, receiver, adapter, config.losses, config.precision, compressor.head
    ).to(device)
    if config.precision == "bfloat16":
        for model in (receiver, compressor.model):
            if model is not None:
                round_frozen(model)
    shard(objective, [model for model in (compressor.model, receiver) if model is not None], ranks, device)
    objective.use_backbone(compiled_backbone(receiver, config.compile))
    order = Order([*corpus.training, *played], config.schedule.batch_size, config.seed)
    held_out = list(corpus.validation[: config.validation_limit])
    played_held_out = played_held_out[: config.validation_limit]
    played_measures = ("loss", "agreement") if config.corrected else ("agreement",)

    def passes_of_step(step: int) -> Passes:
        samples = []
        for place, example in enumerate(order.of(step)):
            rng = random.Random(f"lengths/{config.seed}/{step}/{place}")
            samples.append(source.sample(example, rng.choice(config.latent_steps)))
        totals = CompressionTotals.of(samples)
        for part in config.schedule.passes_of(ranks.share(samples)):
            yield objective(part, totals)

    def measured(examples: Sequence[Example], steps: int) -> dict[str, float]:
        samples = [source.sample(example, steps) for example in examples]
        return mean_losses(objective, samples, CompressionTotals.of(samples), ranks)

    def validate() -> dict[str, float]:
        found: dict[str, float] = {}
        for steps in config.latent_steps:
            losses = measured(held_out, steps)
            found |= {f"{name}_{steps}": losses[name] for name in ("loss", "agreement") if name in losses}
            if played_held_out:
                losses = measured(played_held_out, steps)
                found |= {f"played_{name}_{steps}": losses[name] for name in played_measures if name in losses}
        loss = sum(found[f"loss_{steps}"] for steps in config.latent_steps) / len(config.latent_steps)
        return {"loss": loss, **found}

    _say_bounds(objective, [source.sample(example, 1) for example in held_out], ranks)
    parts = compressor.module.parts
    directory = Path(config.output)
    yield from run_training(directory, parts, config.schedule, config.seed, passes_of_step, validate, ranks, identity)
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

    def __init__(self, config: Compress, thoughts: ScoutMessages, compressor: _Compressor) -> None:
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
    with_all, without = (mean_loss(bound, samples, totals, ranks) for bound in (full, none))
    split_again(objective)
    if ranks.is_first:
        say(
            f"the receiver's loss on {len(samples)} examples held out: {with_all:.4f} with the full message, "
            f"{without:.4f} without one"
        )


def _adapter(config: Compress, store: LatentStore) -> CommunicationAdapter:
    adapter = CommunicationAdapter.load(config.receiver)
    check_receiver(store.header(), adapter.config.expectations(), f"the store {store.directory}")
    return adapter


def _corpus(config: Compress, thoughts: ScoutMessages, chat: ChatFormat, ranks: Ranks) -> Corpus:
    if config.corpus == "household":
        return household_corpus(
            thoughts.episodes(),
            chat,
            validation_share=config.validation_share,
            search_weight=config.search_weight,
        )
    longest = max(config.latent_steps)
    found = load_corpus(
        config.conversations,
        chat,
        thoughts.stores[0],
        lambda item: max(longest, thoughts.rows(item)),
        config.validation_share,
    )
    if ranks.is_first:
        say(found.counts)
    return found.corpus


def _played(config: Compress, thoughts: ScoutMessages, chat: ChatFormat) -> tuple[list[Example], list[Example]]:
    """Conversations of the receiver under compressed messages: those that are learned, and those that are held out."""
    if not config.played:
        return [], []
    lines = []
    for path in config.played:
        # Other actors have other habits: what they do is not what the receiver meets.
        read = read_results([path], base={**RESULT_FIELDS, "actor": str, "turns": list})
        found = [line for line in read.records if line["actor"] == "latent"]
        if not found:
            raise InputError(f"no game of the latent actor in {path}; give results.jsonl of `interlat evaluate`")
        lines += found
    learned, held_out = split_games(thoughts.episodes(), config.validation_share)
    return (
        played_examples(lines, learned, chat, search_weight=config.search_weight, corrected=config.corrected),
        played_examples(lines, held_out, chat, corrected=config.corrected),
    )


def _new_compressor(
    config: Compress, thoughts: ScoutMessages, adapter: AdapterConfig, receiver: nn.Module
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
        state_at=adapter.state_at,
        receiver_fingerprint=receiver_fingerprint,
    )
    # A model that made the thoughts needs no projection. Asked here, before low-rank updates make another model of it.
    reads_thoughts = not settings.project and (adapter.layer, adapter.norm) == (-1, "post")
    if config.losses.hint and not reads_thoughts:
        raise InputError(
            f"the hint reads the thoughts with the head of the sender, and {config.sender} did not make those in "
            f"{config.thoughts}; leave out losses.hint, or give the model that made them"
        )
    bridge = _bridge(config, thoughts, settings, model, reads_thoughts)
    head = model.get_output_embeddings().weight * score_factor(model) if config.losses.hint else None
    choose_trained(model, config.trained, config.low_rank, config.seed + 2)
    reasoner = Reasoner(model, bridge, config.gradient_checkpointing, config.precision)
    return _Compressor(reasoner, tokenizer, head, start)


def _bridge(
    config: Compress, thoughts: ScoutMessages, settings: BridgeConfig, model: Any, reads_thoughts: bool
) -> Bridge:
    """A new bridge, or the one that the sender already has."""
    file = companion_file(config.sender, Bridge.FILE)
    if file is not None:
        bridge = Bridge.load(file.parent)
        known = bridge.config
        names = ("message_size", "sender_fingerprint", "layer", "norm", "state_at")
        other = [name for name in names if getattr(known, name) != getattr(settings, name)]
        if other:
            raise InputError(
                f"the compressed sender {config.sender} makes latents like those of "
                f"{known.sender or 'an unnamed model'}, and the thoughts in {config.thoughts} are of "
                f"{settings.sender or 'another'} (they differ in {', '.join(other)}); give another sender"
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


def _start_token(model: Any, thoughts: ScoutMessages) -> int | None:
    """The token to begin behind."""
    store = thoughts.stores[0]
    # Evenly over the store.
    ids = store.ids[:: max(1, len(store) // START_THOUGHTS)]
    plans = ((thoughts.states(item), store.entry(item).token_ids) for item in ids)
    return uncertain_token(model, plans, thoughts.manifest.state_at)


def _export(config: Compress, thoughts: ScoutMessages, adapter: AdapterConfig) -> None:
    """Write the finished sender: what was trained and its bridge, nothing of the receiver."""
    directory = Path(config.output)
    receiver, _ = load_checkpoint(config.receiver, torch.float32, "cpu", False)
    manifest = thoughts.manifest
    compressor = _new_compressor(config, thoughts, adapter, receiver)
    load_finished(directory, compressor.module.parts, config.schedule)
    lengths = ", ".join(map(str, config.latent_steps))
    is_reasoner = isinstance(compressor.module, Reasoner)
    card = model_card(
        directory,
        "interlat compress",
        role="sender" if is_reasoner else "resampler",
        settings=settings_of(Compress, config),
        kept=config.schedule.keep,
        start=config.sender or None,
        about=f"It was trained to send messages of {lengths} rows to `{base_model(config.receiver)}`.",
        use=_USE_OF_REASONER if is_reasoner else _USE_OF_RESAMPLER,
    )
    target = directory / "model"
    if isinstance(compressor.module, Reasoner):
        merge_low_rank(compressor.model)
        bridge, settings = compressor.module.bridge, _settings(config, manifest)
        export_model(compressor.model, compressor.tokenizer, target, settings=settings, beside=[bridge], card=card)
        return
    with atomic_folder(target) as temporary:
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
