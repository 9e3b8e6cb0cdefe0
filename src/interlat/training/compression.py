"""Train a sender to send a few latents that a frozen receiver reads like a full message."""

import functools
import random
from collections.abc import Callable, Sequence
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
from interlat.engine.fingerprint import loaded_fingerprint, weights_fingerprint
from interlat.engine.prompt import token_ids_of, tokenize
from interlat.errors import InputError
from interlat.files import atomic_folder, write_atomically
from interlat.progress import say
from interlat.store.manifest import Manifest
from interlat.training.card import CARD_FILE, base_model
from interlat.training.checkpoint_file import Identity, examples_identity, thoughts_identity
from interlat.training.compression_objective import CompressionObjective, CompressionTotals
from interlat.training.compressors import Reasoner, Resampling, Sample, uncertain_token
from interlat.training.corpus import CORPORA, StoredMessages
from interlat.training.examples import Example, Mixed, Order
from interlat.training.loop import MODEL_FOLDER, load_finished, split_again
from interlat.training.low_rank import start_identity
from interlat.training.model import choose_finetuned, compiled_backbone
from interlat.training.settings import Compress
from interlat.training.stage import (
    Steps,
    export_agent,
    load_corpus,
    mean_losses,
    model_to_train,
    place_objective,
    run_stage,
    take_steps,
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


def compress(config: Compress, ranks: Ranks | None = None) -> Steps:
    """Run or continue the training. Yields (finished steps, metrics), and finally exports the sender.

    ``validation_loss`` is the mean over the trained lengths, ``validation_loss_K`` the loss at one,
    ``validation_distillation_K`` the distillation on the same examples, and
    ``validation_on_policy_distillation_K`` the same on on-policy games that are held out;
    ``validation_on_policy_loss_K`` is the loss on these with dagger. The start of the training reports the receiver's
    loss with the full message and without a message. The loss with a compressed message lies between these bounds.

    Args:
        config: the settings.
        ranks: the connected processes that take part. The default is one process.

    Raises:
        InputError: settings, thoughts and sender do not go together.
        MessageError: the receiver was not trained to read thoughts like these.
        CheckpointError: the output folder holds another training, or a damaged one.
        StorageError: another process trains in that folder, or the file system refused.
    """
    ranks = ranks or Ranks()
    return run_stage(config, functools.partial(_train, config, ranks), ranks)


def _train(config: Compress, ranks: Ranks, settings: Identity) -> Steps:
    thoughts = StoredMessages([config.thoughts])
    receiver, tokenizer = load_checkpoint(config.receiver, torch.float32, "cpu", False)
    adapter = CommunicationAdapter.load(config.receiver)
    store = thoughts.stores[0]
    adapter.config.check(store.header(), f"the store {store.directory}")
    told = AgentSettings.beside(config.receiver)
    _check_prompts(config, told)
    chat = ChatFormat(tokenizer, told.template)
    longest = max(config.latent_steps)
    corpus = load_corpus(config, chat, thoughts, lambda item: max(longest, thoughts.rows(item)), ranks)
    on_policy, on_policy_held_out = (
        CORPORA[config.corpus].on_policy(vars(config), chat, thoughts) if config.on_policy else ([], [])
    )
    compressor = _new_compressor(config, thoughts, adapter.config, receiver)
    identity = {
        **settings,
        "examples": examples_identity(corpus.training, on_policy, corpus.validation, on_policy_held_out),
        "thoughts": thoughts_identity(*thoughts.stores),
        "receiver": [weights_fingerprint(receiver), weights_fingerprint(adapter)],
        "sender": compressor.start,
    }
    sample = _sampler(config, thoughts, compressor)
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

    def samples_of_step(step: int) -> list[Sample]:
        rngs = (random.Random(f"lengths/{config.seed}/{step}/{place}") for place in range(config.schedule.batch_size))
        return [
            sample(example, rng.choice(config.latent_steps)) for example, rng in zip(order.of(step), rngs, strict=True)
        ]

    def measured(examples: Sequence[Example], steps: int) -> dict[str, float]:
        samples = [sample(example, steps) for example in examples]
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

    _say_bounds(objective, [sample(example, 1) for example in held_out], ranks)
    yield from take_steps(
        config,
        ranks,
        compressor.module.parts,
        objective,
        samples_of_step,
        CompressionTotals.of,
        validate,
        identity,
        lambda: _export(config, thoughts, adapter.config),
    )


@dataclass(frozen=True, eq=False)
class _Compressor:
    """What is trained, with the tokenizer of the model that thinks, and its head for the lens distillation."""

    module: Reasoner | Resampling
    model: Any = None
    tokenizer: Any = None
    head: Tensor | None = None
    start: str = ""
    """Fingerprint of the model that it began as."""


def _sampler(config: Compress, thoughts: StoredMessages, compressor: _Compressor) -> Callable[[Example, int], Sample]:
    """Makes samples of examples: the sender's prompt, as it was at collection, and its full message."""
    tokenizer, longest = compressor.tokenizer, max(config.latent_steps)
    if tokenizer is None:
        return lambda example, latent_steps: Sample(example, (), thoughts.states(example.item), latent_steps)
    context = compressor.model.config.get_text_config(decoder=True).max_position_embeddings
    make_prompt = PromptMaker.as_collected(thoughts.manifest.settings, tokenizer, config.template)

    def sample(example: Example, latent_steps: int) -> Sample:
        task = thoughts.stores[0].entry(example.item).task
        prompt = tuple(token_ids_of(tokenize(make_prompt(task), tokenizer)))
        if len(prompt) + longest > context:
            raise InputError(
                f"the prompt of {example.item!r} has {len(prompt)} positions, with {longest} latents more than the "
                f"context of the sender, {context}; leave the item out or take another sender"
            )
        return Sample(example, prompt, thoughts.states(example.item), latent_steps)

    return sample


@torch.no_grad()
def _say_bounds(objective: CompressionObjective, samples: Sequence[Sample], ranks: Ranks) -> None:
    def with_message(is_full: bool, part: Sequence[Sample], totals: CompressionTotals) -> tuple[Tensor, Any]:
        return objective(part, totals, [Mixed(one.message, len(one.message)) if is_full else None for one in part])

    totals = CompressionTotals.of(samples)
    with_all, without = (
        mean_losses(functools.partial(with_message, is_full), samples, totals, ranks)["loss"]
        for is_full in (True, False)
    )
    split_again(objective)
    if ranks.is_first:
        say(
            f"the receiver's loss on {len(samples)} examples held out: {with_all:.4f} with the full message, "
            f"{without:.4f} without one"
        )


def _new_compressor(
    config: Compress, thoughts: StoredMessages, adapter: AdapterConfig, receiver: nn.Module
) -> _Compressor:
    """What the training starts from."""
    manifest, receiver_fingerprint = thoughts.manifest, loaded_fingerprint(receiver)
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
    model, tokenizer = model_to_train(config, config.sender)
    fingerprint, start = loaded_fingerprint(model), start_identity(model)
    settings = BridgeConfig(
        hidden_size=model.config.get_text_config(decoder=True).hidden_size,
        message_size=manifest.hidden_size,
        project=fingerprint != manifest.weights_fingerprint,
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
    if config.losses.lens_distillation and not reads_thoughts:
        raise InputError(
            f"lens_distillation reads the thoughts with the head of the sender, and {config.sender} did not make "
            f"those in {config.thoughts}; leave it out of losses, or give the model that made them"
        )
    bridge = _bridge(config, thoughts, settings, model, reads_thoughts)
    head = model.get_output_embeddings().weight * score_factor(model) if config.losses.lens_distillation else None
    choose_finetuned(model, config.finetune, config.lora, config.seed + 2)
    reasoner = Reasoner(model, bridge, config.gradient_checkpointing, config.precision)
    return _Compressor(reasoner, model, tokenizer, head, start)


def _bridge(
    config: Compress, thoughts: StoredMessages, settings: BridgeConfig, model: Any, reads_thoughts: bool
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
        store = thoughts.stores[0]
        # Evenly over the store.
        ids = store.ids[:: max(1, len(store) // START_THOUGHTS)]
        plans = ((thoughts.states(item), store.entry(item).token_ids) for item in ids)
        token = uncertain_token(model, plans, thoughts.manifest.state_at)
        if token is not None:
            with torch.no_grad():
                bridge.start.copy_(table[token])
    return bridge


def _export(config: Compress, thoughts: StoredMessages, adapter: AdapterConfig) -> None:
    """Write the finished sender: what was trained and its bridge, nothing of the receiver."""
    receiver, _ = load_checkpoint(config.receiver, torch.float32, "cpu", False)
    compressor = _new_compressor(config, thoughts, adapter, receiver)
    load_finished(Path(config.output), compressor.module.parts, config.schedule)
    lengths = ", ".join(map(str, config.latent_steps))
    about = f"It was trained to send messages of {lengths} rows to `{base_model(config.receiver)}`."
    if isinstance(compressor.module, Reasoner):
        settings, bridge = _settings(config, thoughts.manifest), compressor.module.bridge
        model, tokenizer, start = compressor.model, compressor.tokenizer, config.sender
        export_agent(config, model, tokenizer, settings, bridge, start=start, about=about, use=_USE_OF_REASONER)
        return
    card = training_card(config, AgentSettings(role="resampler"), about=about, use=_USE_OF_RESAMPLER)
    with atomic_folder(Path(config.output) / MODEL_FOLDER) as temporary:
        compressor.module.resampler.save(temporary)
        write_atomically(temporary / CARD_FILE, card)


def _check_prompts(config: Compress, told: AgentSettings) -> None:
    """Refuse conversations that begin otherwise than those that the receiver reads at play."""
    learned = CORPORA[config.corpus].agent_settings(vars(config), told.message_kind)
    for name in ("system_prompt", "prompt_template", "connector", "allow_special_tokens"):
        here, there = getattr(learned, name), getattr(told, name)
        if here != there:
            raise InputError(
                f"{name} of the {config.corpus} is {here!r}, and the receiver {config.receiver} is told {there!r}; "
                "give the same as in its training"
            )


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
