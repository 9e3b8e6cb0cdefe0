"""Train an actor to play with messages of one kind: none, text, or latent.

Every actor starts from the same base and sees the same examples in the same order for the same number of steps; only
what stands between ``<bop>`` and ``<eop>`` differs.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from interlat.agents.settings import AgentSettings, MessageKind
from interlat.connectors.adapter import CommunicationAdapter
from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_checkpoint, load_tokenizer
from interlat.engine.distributed import Ranks
from interlat.engine.fingerprint import weights_fingerprint
from interlat.engine.hardware import choose_device
from interlat.engine.template import TemplateOptions
from interlat.experiments.household.corpus import household_corpus
from interlat.experiments.household.episodes import read_episodes
from interlat.progress import say
from interlat.training.adapters import begin_adapter, new_adapter
from interlat.training.batch_sampler import Order
from interlat.training.branches import Branch, Totals
from interlat.training.card import model_card, settings_of
from interlat.training.conversations import load_corpus
from interlat.training.corpus import Corpus
from interlat.training.examples import ids_of
from interlat.training.identity import (
    Identity,
    examples_identity,
    records_identity,
    settings_identity,
    thoughts_identity,
)
from interlat.training.loop import Passes, check_settings, export_finished, load_finished, run_training
from interlat.training.message_tokens import add_message_tokens
from interlat.training.messages import ScoutMessages
from interlat.training.model import build_model, compiled_backbone, export_model
from interlat.training.objective import ActorObjective
from interlat.training.reading import BranchSource, Reading, TrainedOn
from interlat.training.settings import TrainActor as TrainActor
from interlat.training.sharding import check_ranks, shard
from interlat.training.trained import choose_trained, merge_low_rank, round_frozen
from interlat.training.validation import mean_loss

_MESSAGE_KINDS: dict[TrainedOn, MessageKind] = {
    "base": "text",
    "none": "none",
    "text": "text",
    "list": "text",
    "latent": "hidden",
}
_PLACES = ("episodes", "thoughts", "sender", "start", "tokenizer", "conversations.data")
ALIGNED_ON = 256
"""Messages that an adapter is aligned and calibrated on."""


def train_actor(config: TrainActor, ranks: Ranks | None = None) -> Iterator[tuple[int, dict[str, float]]]:
    """Run or continue the training; yields (finished steps, metrics). Ends with the exported model.

    Args:
        config: the settings.
        ranks: the processes that take part, already connected; one by default.

    Raises:
        InputError: settings and data do not go together.
        CheckpointError: the output folder holds another training, or a damaged one.
        StorageError: another process trains into that folder, or the file system refused.
    """
    ranks = ranks or Ranks()
    check_ranks(ranks, config.schedule.batch_size, config.compile)
    settings = settings_identity(TrainActor, config, _PLACES) | {"sender": config.sender is not None}
    with ranks.alone_in(config.output):
        check_settings(config.output, settings)
        yield from _train(config, ranks, settings)


def _train(config: TrainActor, ranks: Ranks, settings: Identity) -> Iterator[tuple[int, dict[str, float]]]:
    torch.set_num_threads(config.threads)
    directory = Path(config.output)
    thoughts = ScoutMessages(config.thoughts) if config.thoughts else None
    model, tokenizer = _start(config)
    start = weights_fingerprint(model) if config.start else None
    adapter = _prepare(config, model, tokenizer, thoughts)
    chat = ChatFormat(tokenizer, _template(config))
    corpus = _corpus(config, thoughts, chat, ranks)
    literal = _settings(config).literal
    reading = Reading(config.message, config.none_share, config.prefix_share, config.losses, config.curriculum, literal)
    source = BranchSource(reading, corpus, thoughts, chat)
    if adapter is not None and thoughts is not None:
        items = [example.item for example in corpus.training[:ALIGNED_ON]]
        begin_adapter(adapter, thoughts, items, model, tokenizer, config.sender)
    device = choose_device(ranks.device(config.device))
    objective = ActorObjective(model, adapter, config.losses, config.precision).to(device)
    if config.precision == "bfloat16":
        round_frozen(model)
    if config.gradient_checkpointing:
        # transformers renamed it between the versions that are supported.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    shard(objective, [model], ranks, device)
    objective.use_backbone(compiled_backbone(model, config.compile))
    order = Order(corpus.training, config.schedule.batch_size, config.seed)

    def passes_of_step(step: int) -> Passes:
        branches = []
        for place, example in enumerate(order.of(step)):
            rng = random.Random(f"messages/{config.seed}/{step}/{place}")
            branches.append(source.branch(example, rng, step / config.schedule.steps))
        totals = Totals.of(branches, config.reading_weight)
        for part in config.schedule.passes_of(ranks.share(branches)):
            yield objective(part, totals, config.reading_weight)

    def loss_of(branches: Sequence[Branch]) -> float:
        return mean_loss(objective, branches, Totals.of(branches), ranks)

    def validate() -> dict[str, float]:
        rng = random.Random("validation")
        held_out = corpus.validation
        losses = {"loss": loss_of([source.branch(e, rng) for e in held_out])}
        if config.message == "latent" and len({corpus.task_of[e.item] for e in held_out}) > 1:
            losses["loss_of_another_message"] = loss_of(source.of_another(held_out, rng))
        return losses

    identity = {**settings, "start": start, **_data_identity(config, corpus, thoughts)}
    yield from run_training(
        directory, objective.parts, config.schedule, config.seed, passes_of_step, validate, ranks, identity
    )
    if ranks.is_first:
        export_finished(directory, lambda: _export(config, thoughts))


def _data_identity(config: TrainActor, corpus: Corpus, thoughts: ScoutMessages | None) -> Identity:
    """What is learned, and what is read."""
    examples = [*corpus.training, *corpus.validation]
    identity: dict[str, Any] = {"examples": examples_identity(corpus.training, corpus.validation)}
    if thoughts is not None and config.message not in ("none", "base"):
        identity["thoughts"] = thoughts_identity(*thoughts.stores)
    if config.message == "base" and corpus.written_plan is not None:
        rng = random.Random("identity")
        identity["plans"] = records_identity(corpus.written_plan(example, rng) for example in examples)
    return identity


def _corpus(config: TrainActor, thoughts: ScoutMessages | None, chat: ChatFormat, ranks: Ranks) -> Corpus:
    if config.corpus == "conversations":
        return _conversations(config, thoughts, chat, ranks)
    records = read_episodes(config.episodes) if config.episodes else thoughts.episodes() if thoughts else []
    return household_corpus(
        records,
        chat,
        validation_share=config.validation_share,
        search_weight=config.search_weight,
        direct_share=config.direct_share,
    )


def _conversations(config: TrainActor, thoughts: ScoutMessages | None, chat: ChatFormat, ranks: Ranks) -> Corpus:
    mixes = bool(config.losses.alignment) or config.curriculum.kind != "none"
    literal = _settings(config).literal

    def rows_of(item: str) -> int:
        if thoughts is None or config.message == "none":
            return 0
        if config.message != "latent":
            return max(len(ids_of(entry.said, chat, literal)) for entry in thoughts.entries(item))
        words = [len(ids_of(entry.plan, chat, literal)) for entry in thoughts.entries(item)] if mixes else []
        return max([*words, thoughts.rows(item)])

    store = thoughts.stores[0] if thoughts else None
    found = load_corpus(config.conversations, chat, store, rows_of, config.validation_share)
    if ranks.is_first:
        say(found.counts)
    return found.corpus


def _start(config: TrainActor) -> tuple[Any, PreTrainedTokenizerBase]:
    """The model and the tokenizer that the training starts from, before anything is changed in them."""
    if config.start:
        return load_checkpoint(config.start, torch.float32, "cpu", False)
    tokenizer = load_tokenizer(config.tokenizer or "")
    return build_model(config.model, tokenizer, config.seed + 1), tokenizer


def _prepare(
    config: TrainActor, model: Any, tokenizer: PreTrainedTokenizerBase, thoughts: ScoutMessages | None
) -> CommunicationAdapter | None:
    """Make them ready for messages, in place; for latent ones there is an adapter, which knows nothing yet."""
    add_message_tokens(model, tokenizer)
    choose_trained(model, config.trained, config.low_rank, config.seed + 2)
    if config.message != "latent" or thoughts is None:
        return None
    size, aligned = model.config.hidden_size, config.sender is not None
    heads, dropout = config.adapter_heads, config.adapter_dropout
    return new_adapter(thoughts.manifest, size, heads, dropout, aligned=aligned, seed=config.seed)


def _settings(config: TrainActor) -> AgentSettings:
    kind = _MESSAGE_KINDS[config.message]
    if config.corpus == "conversations":
        settings = config.conversations.settings(kind)
    else:
        settings = AgentSettings(role="actor", message_kind=kind)
    return replace(settings, template=_template(config))


def _template(config: TrainActor) -> TemplateOptions:
    return config.template.over(AgentSettings.beside(config.start).template) if config.start else config.template


def _export(config: TrainActor, thoughts: ScoutMessages | None) -> None:
    """Write the finished model: made anew, with the trained parameters in it, so that nothing is sharded or rounded."""
    directory = Path(config.output)
    model, tokenizer = _start(config)
    adapter = _prepare(config, model, tokenizer, thoughts)
    load_finished(directory, ActorObjective(model, adapter).parts, config.schedule)
    merge_low_rank(model)
    settings = _settings(config)
    card = model_card(
        directory,
        "interlat train actor",
        role=settings.role,
        reads=settings.message_kind,
        settings=settings_of(TrainActor, config),
        kept=config.schedule.keep,
        start=config.start,
        adapter=None if adapter is None else adapter.config,
    )
    export_model(
        model, tokenizer, directory / "model", settings=settings, beside=[adapter] if adapter else [], card=card
    )
