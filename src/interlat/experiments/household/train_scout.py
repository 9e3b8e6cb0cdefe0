"""Train a scout from scratch: it reads its private notes and writes a plan.

The plan that it learns names the place where an object really is, which the notes do not determine. Maximum
likelihood on such plans makes the distribution at the place the posterior given the notes: the scout's belief. That
posterior is known here (see `evidence`), so it is the target itself: the same expected gradient as from
plans with the drawn true place, without the noise of the draw.
"""

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from interlat.agents.settings import AgentSettings
from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_tokenizer
from interlat.engine.distributed import Ranks
from interlat.engine.template import TemplateOptions
from interlat.environments.alfworld.game import Layout
from interlat.errors import InputError
from interlat.experiments.household.episodes import describe, layout_of, playable_episodes
from interlat.experiments.household.evidence import draw_evidence
from interlat.experiments.household.prompts import SCOUT_REQUEST
from interlat.tasks.sources import PLACE_OF_TEXT
from interlat.training.card import model_card, settings_of
from interlat.training.examples import Example, collate, embed_batch, scout_example
from interlat.training.identity import Identity, examples_identity, records_identity, settings_identity
from interlat.training.loop import Passes, Schedule, check_settings, export_finished, load_finished, run_training
from interlat.training.losses import supervised_cross_entropy
from interlat.training.model import SmallModel, build_model, compiled_backbone, export_model


@dataclass(frozen=True)
class TrainScout:
    """Train a scout from scratch."""

    episodes: str
    """The training games' ``episodes.jsonl``."""
    validation: str
    """``episodes.jsonl`` of games to validate on."""
    tokenizer: str
    """Folder of the tokenizer."""
    output: str
    """Folder of the checkpoint; the finished model is in its ``model`` folder."""
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
    seed: int = 0
    """Seed of parameters and data."""
    threads: int = 1
    """Threads of torch on a CPU."""
    compile: bool = False
    """Compile the model's step; on a CPU that takes a minute and a C++ compiler, and pays in long trainings."""

    def __post_init__(self) -> None:
        if self.schedule.pass_size is not None:
            raise InputError("a scout's step is one pass; leave schedule.pass_size out")


@dataclass(frozen=True)
class Scene:
    """What the scout's examples are drawn from."""

    opening: str
    layout: Layout


def scenes_of(path: str | Path) -> list[Scene]:
    """The scenes of an episodes file that are search problems."""
    return [Scene(record["opening"], layout_of(record)) for record in playable_episodes([path])]


def draw_example(scene: Scene, rng: random.Random, list_share: float, place_weight: float, chat: ChatFormat) -> Example:
    """A fresh example: new evidence that fits the true places of the scene."""
    evidence = draw_evidence(scene.layout, rng)
    if evidence is None:
        raise InputError("a scene without evidence among the training scenes; read them with scenes_of")
    texts = describe(scene.layout, evidence)
    style = "list" if rng.random() < list_share else "plan"
    beliefs = evidence.beliefs if style == "plan" else ()
    return scout_example(scene.opening, texts["evidence"], texts[style], style, beliefs, place_weight, chat)


def train_scout(config: TrainScout) -> Iterator[tuple[int, dict[str, float]]]:
    """Run or continue the training; yields (finished steps, metrics). Ends with the exported model.

    Raises:
        InputError: the data cannot be used.
        CheckpointError: the output folder holds another training, or a damaged one.
        StorageError: another process trains into that folder, or the file system refused.
    """
    settings = settings_identity(TrainScout, config, ("episodes", "validation", "tokenizer"))
    with Ranks().alone_in(config.output):
        check_settings(config.output, settings)
        yield from _train(config, settings)


def _train(config: TrainScout, settings: Identity) -> Iterator[tuple[int, dict[str, float]]]:
    torch.set_num_threads(config.threads)
    directory = Path(config.output)
    scenes = scenes_of(config.episodes)
    tokenizer = load_tokenizer(config.tokenizer)
    chat = ChatFormat(tokenizer, config.template)
    model = build_model(config.model, tokenizer, config.seed)
    backbone = compiled_backbone(model, config.compile)

    def loss_of(examples: list[Example]) -> tuple[Tensor, dict[str, Tensor]]:
        batch = collate(examples, [None] * len(examples))
        embeddings = embed_batch(batch, model.get_input_embeddings(), None)
        states = backbone(inputs_embeds=embeddings, use_cache=False).last_hidden_state
        loss, losses = supervised_cross_entropy(
            states,
            batch.labels,
            model.lm_head,
            batch.weights,
            batch.dense_soft_targets(model.config.vocab_size),
            batch.soft_positions,
        )
        in_doubt = batch.soft_positions[batch.labels != -100]
        metrics = {"plan_loss": losses.mean()}
        if bool(in_doubt.any()):
            metrics["place_loss"] = losses[in_doubt].mean()
        return loss, metrics

    def passes_of_step(step: int) -> Passes:
        rng = random.Random(f"scout/{config.seed}/{step}")
        chosen = rng.choices(scenes, k=config.schedule.batch_size)
        yield loss_of([draw_example(scene, rng, config.list_share, config.place_weight, chat) for scene in chosen])

    held_out = scenes_of(config.validation)[:128]

    def validate() -> dict[str, float]:
        rng = random.Random("scout/validation")
        loss, metrics = loss_of([draw_example(scene, rng, 0.0, config.place_weight, chat) for scene in held_out])
        return {"loss": loss.item(), **{name: value.item() for name, value in metrics.items()}}

    parts = {"model": model}
    tokenized = draw_example(scenes[0], random.Random("identity"), 0.0, config.place_weight, chat)
    identity = {
        **settings,
        "episodes": _scenes_identity(scenes),
        "validation": _scenes_identity(held_out),
        "tokenizer": examples_identity([tokenized]),
    }
    yield from run_training(directory, parts, config.schedule, config.seed, passes_of_step, validate, identity=identity)
    export_finished(directory, lambda: _export(config, model, tokenizer))


def _scenes_identity(scenes: list[Scene]) -> str:
    return records_identity([s.opening, asdict(s.layout) | {"openable": sorted(s.layout.openable)}] for s in scenes)


def _export(config: TrainScout, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    directory = Path(config.output)
    load_finished(directory, {"model": model}, config.schedule)
    settings = AgentSettings(
        role="scout", prompt_template=f"{PLACE_OF_TEXT}\n{SCOUT_REQUEST['plan']}", template=config.template
    )
    card = model_card(
        directory,
        "interlat train scout",
        role=settings.role,
        reads=settings.message_kind,
        settings=settings_of(TrainScout, config),
        kept=config.schedule.keep,
    )
    export_model(model, tokenizer, directory / "model", settings=settings, card=card)


def expected_place_loss(records: list[dict[str, Any]]) -> float:
    """Entropy of the exact posterior in nats, averaged over beliefs: the least place loss that a scout can reach."""
    entropies = [
        -sum(p * torch.tensor(p).log().item() for p in belief["probabilities"])
        for record in records
        for episode in record["episodes"]
        for belief in episode["beliefs"]
    ]
    return sum(entropies) / len(entropies)
