"""Train a scout from scratch: it reads its private notes and writes a plan.

The plan that it learns names the place where an object really is, which the notes do not determine. Maximum
likelihood on such plans makes the distribution at the place the posterior given the notes: the scout's belief. That
posterior is known here (see `evidence`), so it is the target itself: the same expected gradient as from
plans with the drawn true place, without the noise of the draw.
"""

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from interlat.agents.settings import AgentSettings
from interlat.engine.chat import ChatFormat
from interlat.engine.distributed import Ranks
from interlat.engine.embeddings import next_token_scores
from interlat.environments.alfworld.game import Layout
from interlat.errors import InputError
from interlat.experiments.household.episodes import describe, language_of, layout_of, playable_episodes
from interlat.experiments.household.evidence import Language, draw_evidence
from interlat.experiments.household.examples import scout_example
from interlat.experiments.household.prompts import SCOUT_REQUEST
from interlat.experiments.household.settings import TrainScout as TrainScout
from interlat.tasks.sources import PLACE_OF_TEXT
from interlat.training.checkpoint_file import Identity, examples_identity, records_identity
from interlat.training.examples import IGNORED, Example, collate
from interlat.training.loop import load_finished
from interlat.training.low_rank import start_identity
from interlat.training.model import choose_finetuned, compiled_backbone
from interlat.training.objective import ActorObjective
from interlat.training.stage import (
    Steps,
    export_agent,
    mean_losses,
    place_objective,
    run_stage,
    starting_model,
    take_steps,
)


@dataclass(frozen=True)
class Scene:
    """What the scout's examples are drawn from."""

    opening: str
    layout: Layout
    language: Language = "short"


@dataclass(frozen=True)
class _Totals:
    """What the losses of a whole step are divided by."""

    weight: float
    labels: int
    doubtful: int

    @classmethod
    def of(cls, examples: Sequence[Example]) -> "_Totals":
        return cls(
            sum(example.label_weight for example in examples),
            sum(len(example.labels) for example in examples),
            sum(len(example.soft) for example in examples),
        )


def scenes_of(path: str | Path) -> list[Scene]:
    """The scenes of an episodes file that are search problems."""
    return [Scene(record["opening"], layout_of(record), language_of(record)) for record in playable_episodes([path])]


def draw_example(scene: Scene, rng: random.Random, list_share: float, place_weight: float, chat: ChatFormat) -> Example:
    """A fresh example: new evidence that fits the true places of the scene."""
    evidence = draw_evidence(scene.layout, rng)
    if evidence is None:
        raise InputError("a scene without evidence among the training scenes; read them with scenes_of")
    texts = describe(scene.layout, evidence, scene.language)
    style = "list" if rng.random() < list_share else "plan"
    beliefs = evidence.beliefs if style == "plan" else ()
    return scout_example(scene.opening, texts["evidence"], texts[style], style, beliefs, place_weight, chat)


def train_scout(config: TrainScout) -> Steps:
    """Run or continue the training; yields (finished steps, metrics). Ends with the exported model.

    Raises:
        InputError: the data cannot be used.
        CheckpointError: the output folder holds another training, or a damaged one.
        StorageError: another process trains into that folder, or the file system refused.
    """
    return run_stage(config, functools.partial(_train, config), Ranks())


def _train(config: TrainScout, settings: Identity) -> Steps:
    scenes = scenes_of(config.episodes)
    model, tokenizer = starting_model(config, config.seed)
    fingerprint = start_identity(model) if config.start else None
    choose_finetuned(model, config.finetune, config.lora, config.seed + 2)
    chat = ChatFormat(tokenizer, config.template)
    objective = ActorObjective(model, None, precision=config.precision)
    place_objective(objective, config, [model], Ranks())
    head = functools.partial(next_token_scores, model)
    objective.use_backbone(compiled_backbone(model, config.compile))

    def share_of(examples: Sequence[Example], totals: _Totals) -> tuple[Tensor, dict[str, Tensor]]:
        """The share of some examples in the losses of a step."""
        batch = collate(examples, [None] * len(examples)).to(objective.device)
        states = objective.states(batch)
        targets, positions = soft_targets_of(examples, batch.labels, model.config.vocab_size)
        loss, losses = supervised_cross_entropy(states, batch.labels, head, batch.weights, targets, positions)
        share = sum(example.label_weight for example in examples) / totals.weight
        in_doubt = positions[batch.labels != IGNORED]
        metrics = {"plan_loss": losses.sum() / totals.labels}
        if totals.doubtful:
            metrics["place_loss"] = losses[in_doubt].sum() / totals.doubtful
        return loss * share, metrics

    def samples_of_step(step: int) -> list[Example]:
        rng = random.Random(f"scout/{config.seed}/{step}")
        chosen = rng.choices(scenes, k=config.schedule.batch_size)
        return [draw_example(scene, rng, config.list_share, config.place_weight, chat) for scene in chosen]

    held_out = scenes_of(config.validation)[:128]

    def validate() -> dict[str, float]:
        rng = random.Random("scout/validation")
        examples = [draw_example(scene, rng, 0.0, config.place_weight, chat) for scene in held_out]
        size = config.schedule.micro_batch_size or len(examples)
        return mean_losses(share_of, examples, _Totals.of(examples), Ranks(), size)

    tokenized = draw_example(scenes[0], random.Random("identity"), 0.0, config.place_weight, chat)
    identity = {
        **settings,
        "episodes": _scenes_identity(scenes),
        "validation": _scenes_identity(held_out),
        "tokenizer": examples_identity([tokenized]),
        "start": fingerprint,
    }
    yield from take_steps(
        config,
        Ranks(),
        objective.parts,
        share_of,
        samples_of_step,
        _Totals.of,
        validate,
        identity,
        functools.partial(_export, config),
    )


def soft_targets_of(
    examples: Sequence[Example], labels: Int[Tensor, "B T"], vocabulary_size: int
) -> tuple[Float[Tensor, "S V"] | None, Bool[Tensor, "B T"]]:
    """The known distributions in some examples without messages, in reading order, and where their labels stand."""
    positions = torch.zeros_like(labels, dtype=torch.bool)
    for row, example in enumerate(examples):
        for index, _ in example.soft:
            positions[row, len(example.before) + index] = True
    known = [chances for example in examples for _, chances in sorted(example.soft)]
    dense = torch.zeros(len(known), vocabulary_size, device=labels.device)
    for target, chances in zip(dense, known, strict=True):
        for token, chance in chances:
            target[token] = chance
    return dense if known else None, positions


def supervised_cross_entropy(
    hidden_states: Float[Tensor, "B T D"],
    labels: Int[Tensor, "B T"],
    head: Callable[[Tensor], Tensor],
    weights: Float[Tensor, "B T"] | None = None,
    soft_targets: Float[Tensor, "S V"] | None = None,
    soft_positions: Bool[Tensor, "B T"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "N"]]:
    """Next-token cross-entropy where there is a label.

    The state at position t - 1 predicts the label at position t. The head is applied to the states of supervised
    positions only, so logits of shape [B, T, V] never exist; the arithmetic is float32.

    Args:
        hidden_states: post-final-norm states.
        labels: token ids, -100 where nothing is to be learned. Position 0 cannot be predicted and is ignored.
        head: maps ``[N, D]`` to ``[N, V]``.
        weights: weight of each label; None weighs all alike.
        soft_targets: distributions that replace the labels at ``soft_positions``, in reading order. Where a label is
            one draw from a known distribution, the distribution gives the same expected gradient without the noise
            of the draw.
        soft_positions: where those labels stand; a subset of the supervised positions.

    Returns:
        The weighted mean in nats, and the unweighted loss of each supervised position in reading order.

    Raises:
        InputError: no position is supervised.
    """
    targets = labels[:, 1:]
    supervised = targets != -100
    if not bool(supervised.any()):
        raise InputError("no supervised token in the batch; check the chat template and the label spans")
    logits = head(hidden_states[:, :-1][supervised]).float()
    losses = functional.cross_entropy(logits, targets[supervised], reduction="none")
    if soft_targets is not None and soft_positions is not None:
        soft = soft_positions[:, 1:][supervised]
        losses = losses.masked_scatter(soft, -(soft_targets * logits[soft].log_softmax(dim=-1)).sum(dim=-1))
    if weights is None:
        return losses.mean(), losses.detach()
    chosen = weights[:, 1:][supervised].to(losses)
    return (losses * chosen).sum() / chosen.sum(), losses.detach()


def _scenes_identity(scenes: list[Scene]) -> str:
    return records_identity([s.opening, asdict(s.layout) | {"openable": sorted(s.layout.openable)}] for s in scenes)


def _export(config: TrainScout) -> None:
    model, tokenizer = starting_model(config, config.seed)
    choose_finetuned(model, config.finetune, config.lora, config.seed + 2)
    load_finished(Path(config.output), {"model": model}, config.schedule)
    settings = AgentSettings(
        role="scout", prompt_template=f"{PLACE_OF_TEXT}\n{SCOUT_REQUEST['plan']}", template=config.template
    )
    export_agent(config, model, tokenizer, settings, start=config.start)
