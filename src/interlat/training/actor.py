"""Train an actor with messages of one kind: none, text, or latent.

Every actor starts from the same base and sees the same examples in the same order for the same number of steps. Only
the content between ``<bop>`` and ``<eop>`` differs.
"""

import functools
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from interlat.agents.settings import AgentSettings, MessageKind
from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.connectors.base import padded_rows
from interlat.connectors.vocabulary import VocabularyMean, embeddings_of_tokens
from interlat.engine.chat import ChatFormat
from interlat.engine.distributed import Ranks
from interlat.engine.embeddings import input_embeddings
from interlat.engine.hf import Engine
from interlat.engine.template import TemplateOptions
from interlat.errors import InputError
from interlat.progress import say
from interlat.store.manifest import Manifest
from interlat.training.branches import Branch, BranchSource, Totals
from interlat.training.checkpoint_file import Identity, examples_identity, records_identity, thoughts_identity
from interlat.training.corpus import CORPORA, Corpus, StoredMessages
from interlat.training.examples import Order, ids_of
from interlat.training.loop import load_finished
from interlat.training.low_rank import start_identity
from interlat.training.model import add_message_tokens, choose_finetuned, compiled_backbone
from interlat.training.objective import ActorObjective
from interlat.training.options import TrainedOn
from interlat.training.settings import TrainActor
from interlat.training.stage import (
    Steps,
    export_agent,
    load_corpus,
    mean_losses,
    place_objective,
    run_stage,
    starting_model,
    take_steps,
)

_MESSAGE_KINDS: dict[TrainedOn, MessageKind] = {
    "base": "text",
    "none": "none",
    "text": "text",
    "list": "text",
    "latent": "hidden",
}
ALIGNED_ON = 256
"""Messages that an adapter is aligned and calibrated on."""
LARGEST_MOVE, GOOD_MOVE = 0.5, 0.06
"""What `CommunicationAdapter.largest_move` is compared with, and what is advised (docs/log.md has what was lost and
learned at which)."""


def train_actor(config: TrainActor, ranks: Ranks | None = None) -> Steps:
    """Run or continue the training. Yields (finished steps, metrics), and finally exports the model.

    Args:
        config: the settings.
        ranks: the connected processes that take part. The default is one process.

    Raises:
        InputError: settings and data do not go together.
        CheckpointError: the output folder holds another training, or a damaged one.
        StorageError: another process trains in that folder, or the file system refused.
    """
    ranks = ranks or Ranks()
    train = functools.partial(_train, config, ranks)
    return run_stage(config, train, ranks, sender=config.sender is not None)


def _train(config: TrainActor, ranks: Ranks, settings: Identity) -> Steps:
    thoughts = StoredMessages(config.thoughts) if config.thoughts else None
    model, tokenizer = starting_model(config, config.seed + 1)
    start = start_identity(model) if config.start else None
    adapter = _prepare(config, model, tokenizer, thoughts)
    chat = ChatFormat(tokenizer, _template(config))
    corpus = _corpus(config, thoughts, chat, ranks)
    source = BranchSource(config, corpus, thoughts, chat, _settings(config).literal)
    if adapter is not None and thoughts is not None:
        items = [example.item for example in corpus.training[:ALIGNED_ON]]
        rate = config.schedule.adapter_learning_rate if ranks.is_first else None  # one line, not one a rank
        begin_adapter(adapter, thoughts, items, model, tokenizer, config.sender, rate)
    objective = ActorObjective(model, adapter, config.losses, config.precision)
    if config.gradient_checkpointing:
        # transformers renamed it between the versions that are supported.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    place_objective(objective, config, [model], ranks)
    objective.use_backbone(compiled_backbone(model, config.compile))
    order = Order(corpus.training, config.schedule.batch_size, config.seed)

    def samples_of_step(step: int) -> list[Branch]:
        return [
            source.branch(
                example, random.Random(f"messages/{config.seed}/{step}/{place}"), step / config.schedule.steps
            )
            for place, example in enumerate(order.of(step))
        ]

    def loss_of(branches: Sequence[Branch]) -> float:
        return mean_losses(objective, branches, Totals.of(branches), ranks)["loss"]

    def validate() -> dict[str, float]:
        rng, held_out = random.Random("validation"), corpus.validation
        losses = {"loss": loss_of([source.branch(e, rng) for e in held_out])}
        if config.message == "latent" and len({corpus.task_of[e.item] for e in held_out}) > 1:
            losses["loss_of_another_message"] = loss_of(source.of_another(held_out, rng))
        return losses

    yield from take_steps(
        config,
        ranks,
        objective.parts,
        objective,
        samples_of_step,
        lambda branches: Totals.of(branches, config.reading_weight),
        validate,
        {**settings, "start": start, **_data_identity(config, corpus, thoughts)},
        lambda: _export(config, thoughts),
    )


def _data_identity(config: TrainActor, corpus: Corpus, thoughts: StoredMessages | None) -> Identity:
    """What is learned, and what is read."""
    identity: dict[str, Any] = {"examples": examples_identity(corpus.training, corpus.validation)}
    if thoughts is not None and config.message not in ("none", "base"):
        identity["thoughts"] = thoughts_identity(*thoughts.stores)
    if config.message == "base" and corpus.written_plan is not None:
        rng, examples = random.Random("identity"), [*corpus.training, *corpus.validation]
        identity["plans"] = records_identity(corpus.written_plan(example, rng) for example in examples)
    return identity


def _corpus(config: TrainActor, thoughts: StoredMessages | None, chat: ChatFormat, ranks: Ranks) -> Corpus:
    mixes = "plan" in config.losses.references or config.curriculum.kind != "none"
    literal = _settings(config).literal

    def length_of(item: str) -> int:
        if thoughts is None or config.message == "none":
            return 0
        if config.message != "latent":
            return max(len(ids_of(entry.said, chat, literal)) for entry in thoughts.entries(item))
        words = [len(ids_of(entry.plan, chat, literal)) for entry in thoughts.entries(item)] if mixes else []
        return max([*words, thoughts.rows(item)])

    return load_corpus(config, chat, thoughts, length_of, ranks)


def _prepare(
    config: TrainActor, model: Any, tokenizer: PreTrainedTokenizerBase, thoughts: StoredMessages | None
) -> CommunicationAdapter | None:
    """Make them ready for messages, in place; for latent ones there is an adapter, which knows nothing yet."""
    add_message_tokens(model, tokenizer)
    choose_finetuned(model, config.finetune, config.lora, config.seed + 2)
    if config.message != "latent" or thoughts is None:
        return None
    return new_adapter(config, thoughts.manifest, model.config.hidden_size)


def _settings(config: TrainActor) -> AgentSettings:
    settings = CORPORA[config.corpus].agent_settings(vars(config), _MESSAGE_KINDS[config.message])
    return replace(settings, template=_template(config))


def _template(config: TrainActor) -> TemplateOptions:
    return config.template.over(AgentSettings.beside(config.start).template) if config.start else config.template


def _export(config: TrainActor, thoughts: StoredMessages | None) -> None:
    """Write the finished model: made anew, with the trained parameters in it, so that nothing is sharded or rounded."""
    model, tokenizer = starting_model(config, config.seed + 1)
    adapter = _prepare(config, model, tokenizer, thoughts)
    load_finished(Path(config.output), ActorObjective(model, adapter).parts, config.schedule)
    export_agent(config, model, tokenizer, _settings(config), adapter, start=config.start)


def new_adapter(config: TrainActor, manifest: Manifest, target_size: int) -> CommunicationAdapter:
    """An adapter for the thoughts of a store, with random parameters. If the sender is known, it has an input
    projection even if both sizes are equal."""
    torch.manual_seed(config.seed)
    layer = manifest.layers[0]
    return CommunicationAdapter(
        AdapterConfig(
            source_size=manifest.hidden_size,
            target_size=target_size,
            heads=config.adapter_heads,
            dropout=config.adapter_dropout,
            project_input=config.sender is not None,
            layer=layer.layer,
            norm=layer.norm,
            state_at=manifest.state_at,
            sender=manifest.model,
            sender_fingerprints=(manifest.weights_fingerprint,),
            sender_tokenizer_fingerprint=manifest.tokenizer_fingerprint,
        )
    )


def begin_adapter(
    adapter: CommunicationAdapter,
    thoughts: StoredMessages,
    items: Sequence[str],
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    sender: str | None,
    adapter_learning_rate: float | None,
) -> None:
    """Scale the output of a new adapter to the size of the receiver's embeddings, and align it if the sender is known.

    Statistics come from the thoughts about ``items``. If ``sender`` is the folder of the model that made the thoughts,
    the adapter starts aligned: with the least-squares map from a state to the receiver's embeddings of the words that
    the sender expected there, weighted by their probabilities. The two models may differ in width, architecture and
    tokenizer. A line on stderr warns if the learning rate is too high for that map. A rate of None never warns.

    Raises:
        InputError: the model in ``sender`` did not make these thoughts, or its head cannot read them.
    """
    states = [thoughts.states(item).float() for item in items]
    table = input_embeddings(model).float().cpu()
    if sender is not None:
        engine, layer = Engine.load(sender, dtype="float32", device="cpu"), thoughts.manifest.layers[0]
        if engine.weights_fingerprint != thoughts.manifest.weights_fingerprint:
            raise InputError(f"{sender} did not make these thoughts; give the model of {thoughts.manifest.model}")
        if (layer.layer, layer.norm) != (-1, "post"):
            raise InputError(
                f"the thoughts are states of layer {layer.layer}, {layer.norm}-norm, but the head of the sender reads "
                "its last layer after the final norm; leave out sender, or collect such states"
            )
        rows, (words, known) = torch.cat(states), embeddings_of_tokens(engine.tokenizer, tokenizer, table)
        with torch.no_grad():
            expected = VocabularyMean(engine.logits, engine.hidden_size, words, known)(rows)
        adapter.align(rows, expected)
        if adapter_learning_rate is not None:
            _say_if_too_fast(adapter, rows, adapter_learning_rate)
    adapter.calibrate(table.square().mean().sqrt().item(), *padded_rows(states))


def _say_if_too_fast(adapter: CommunicationAdapter, rows: Tensor, learning_rate: float) -> None:
    move = adapter.largest_move(rows, learning_rate)
    if move > LARGEST_MOVE:
        say(
            f"adapter_learning_rate is {learning_rate:g}: one step can move the aligned rows by {move:.0%} of their "
            f"size, so the map that the adapter begins with is soon lost; try {learning_rate * GOOD_MOVE / move:.0e}"
        )
