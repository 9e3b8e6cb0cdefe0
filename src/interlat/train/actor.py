"""Train an actor to play with messages of one kind: none, text, or latent.

Every actor starts from the same base and sees the same episodes in the same order for the same number of steps; only
what stands between ``<bop>`` and ``<eop>`` differs. The commands to learn are those of an expert that visits places in
the order of the scout's exact belief.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from interlat.agents.episodes import direct_episode, evidence_of, layout_of, read_episodes
from interlat.agents.household import plan_text
from interlat.agents.settings import AgentSettings, MessageKind
from interlat.align.adapter import AdapterConfig, CommunicationAdapter
from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_tokenizer
from interlat.engine.fingerprint import tokenizer_fingerprint
from interlat.engine.hardware import choose_device
from interlat.engine.transformers import Engine
from interlat.errors import InputError
from interlat.store.batches import length_sorted_batches
from interlat.train.branches import Branch, BranchWeights, branch_losses
from interlat.train.curriculum import Curriculum, cut
from interlat.train.examples import (
    Batch,
    Example,
    Message,
    Mixed,
    actor_example,
    collate,
    embed_batch,
    ids_of,
)
from interlat.train.loop import Schedule, run_training
from interlat.train.losses import supervised_cross_entropy
from interlat.train.messages import ScoutMessages
from interlat.train.model import SmallModel, build_model, compiled_backbone, export_model
from interlat.train.negatives import Negatives
from interlat.train.trained import LowRank, Trained, choose_trained, merge_low_rank

TrainedOn = Literal["base", "none", "text", "list", "latent"]
_MESSAGE_KINDS: dict[TrainedOn, MessageKind] = {
    "base": "text",
    "none": "none",
    "text": "text",
    "list": "text",
    "latent": "hidden",
}


@dataclass(frozen=True)
class TrainActor:
    """Train an actor on expert episodes with messages of one kind."""

    output: str
    """Folder of the checkpoint; the finished model (and adapter) is in its ``model`` folder."""
    episodes: str | None = None
    """The training games' ``episodes.jsonl``; None takes the episodes that stand beside the thoughts."""
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
    model: SmallModel = field(default_factory=SmallModel)
    """Shape of a model from scratch."""
    schedule: Schedule = field(default_factory=Schedule)
    """Optimiser settings."""
    none_share: float = 0.15
    """Share of episodes that come without a message, so that an actor knows that case."""
    prefix_share: float = 0.25
    """Latent only: share of messages cut to a random number of first rows."""
    losses: BranchWeights = field(default_factory=BranchWeights)
    """Latent only: weights of separation and alignment beside the cross-entropy."""
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
    seed: int = 0
    """Seed of parameters, order and message choices."""
    trained: Trained = "everything"
    """everything; low_rank: low-rank updates of the model, and the adapter; adapter: the adapter alone."""
    low_rank: LowRank = field(default_factory=LowRank)
    """Shape of the low-rank updates."""
    device: str = "auto"
    """Where it trains; auto is the accelerator if there is one."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the backbone computes in. Its weights, the adapter and all optimiser state stay float32."""
    threads: int = 1
    """Threads of torch on a CPU."""
    compile: bool = False
    """Compile the model's step; on a CPU that takes a minute and a C++ compiler, and pays in long trainings."""

    def __post_init__(self) -> None:
        if self.message in ("text", "list", "latent") and not self.thoughts:
            raise InputError(f"message kind {self.message!r} needs the scout's thoughts; set thoughts to their store")
        if not self.episodes and not self.thoughts:
            raise InputError("set episodes to a file of episodes, or thoughts to a store that holds them")
        if not 0 <= self.direct_share <= 1 or (self.direct_share and self.message != "base"):
            raise InputError(f"direct_share is {self.direct_share}; give 0 to 1, and 0 unless message is base")
        if self.message != "latent" and (self.losses != BranchWeights() or self.curriculum != Curriculum()):
            raise InputError("losses and curriculum are for latent messages; leave them out or set message to latent")
        if self.trained == "adapter" and self.message != "latent":
            raise InputError("only latent messages have an adapter; set message to latent or trained to everything")
        if self.reading_weight < 0 or (self.reading_weight and self.message != "base"):
            raise InputError(f"reading_weight is {self.reading_weight}; give 0 or more, and 0 unless message is base")
        if not self.start and not self.tokenizer:
            raise InputError("set start to a model to begin with, or tokenizer to begin from scratch")


def believed_plan(record: dict[str, Any], episode: dict[str, Any], rng: random.Random) -> str:
    """A plan written from the exact belief: the best place of each object, or one sampled from the posterior.

    A direct episode has the plan that it follows, the true places.
    """
    evidence = evidence_of(episode)
    places: list[tuple[str, ...]]
    if episode.get("direct"):
        places = [(belief.true_place,) for belief in evidence.beliefs]
    elif rng.random() < 0.85:
        places = [belief.places[:1] for belief in evidence.beliefs]
    else:
        places = [tuple(rng.choices(b.places, b.probabilities)) for b in evidence.beliefs]
    return plan_text(layout_of(record), evidence, places)


def train_actor(config: TrainActor) -> Iterator[tuple[int, dict[str, float]]]:
    """Run or continue the training; yields (finished steps, metrics). Ends with the exported model."""
    torch.set_num_threads(config.threads)
    directory = Path(config.output)
    tokenizer = load_tokenizer(config.start or config.tokenizer or "")
    chat = ChatFormat(tokenizer)
    device = choose_device(config.device)
    model = _start_model(config, tokenizer).to(device)
    choose_trained(model, config.trained, config.low_rank, config.seed + 2)
    backbone = compiled_backbone(model, config.compile)
    source = _MessageSource(config, chat)
    records = [record for record in source.episodes() if record["episodes"]]
    # By chance and not by name: names begin with the task type, and each split needs all of them.
    random.Random("validation games").shuffle(records)
    held_out = max(1, round(config.validation_share * len(records)))
    source.draw_negatives_from(records[held_out:])
    training = _with_direct(_examples(records[held_out:], chat, config.search_weight), config, chat)
    validation = _examples(records[:held_out], chat, 1.0)
    parts: dict[str, nn.Module] = {"model": model}
    adapter = source.make_adapter(model, [e for e, _, _ in training[:256]]) if config.message == "latent" else None
    if adapter is not None:
        parts["adapter"] = adapter.to(device)

    def states_of(batch: Batch) -> Tensor:
        embeddings = embed_batch(batch, model.get_input_embeddings(), adapter)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            states: Tensor = backbone(inputs_embeds=embeddings, use_cache=False).last_hidden_state
        # The head and all losses are float32.
        return states.float()

    def reference_states(batch: Batch) -> Tensor:
        # Without dropout: what the own branch is compared with must not differ from it by chance.
        if adapter is None:
            return states_of(batch)
        adapter.eval()
        states = states_of(batch)
        adapter.train()
        return states

    def loss_of(
        chosen: Sequence[tuple[Example, Any, Any]], rng: random.Random, progress: float | None
    ) -> tuple[Tensor, dict[str, float]]:
        varied = progress is not None
        branches = [source.branch(example, record, episode, rng, progress) for example, record, episode in chosen]
        examples, messages = [b.example for b in branches], [b.own for b in branches]
        batch = collate(examples, messages, config.reading_weight if varied else 0.0).to(device)
        states = states_of(batch)
        task = supervised_cross_entropy(states, batch.labels, model.lm_head, batch.weights)[0]
        if not varied:
            return task, {}
        rest, metrics = branch_losses(states, batch, branches, config.losses, model.lm_head, reference_states)
        return task + rest, {"task": task.item(), **metrics} if metrics else {}

    lengths = [len(example.before) + len(example.after) for example, _, _ in training]
    size = config.schedule.batch_size
    epochs: dict[int, list[list[int]]] = {}

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        per_epoch = -(-len(training) // size)
        epoch = step // per_epoch
        if epoch not in epochs:
            epochs.clear()
            epochs[epoch] = length_sorted_batches(lengths, size, f"actor/{config.seed}/{epoch}")
        chosen = [training[index] for index in epochs[epoch][step % per_epoch]]
        return loss_of(chosen, random.Random(f"messages/{config.seed}/{step}"), step / config.schedule.steps)

    def validate() -> dict[str, float]:
        total = 0.0
        for start in range(0, len(validation), 32):
            chosen = validation[start : start + 32]
            total += loss_of(chosen, random.Random(f"validation/{start}"), None)[0].item() * len(chosen)
        return {"loss": total / len(validation)}

    yield from run_training(directory, parts, config.schedule, config.seed, loss_of_step, validate)
    merge_low_rank(model)
    settings = AgentSettings(role="actor", message_kind=_MESSAGE_KINDS[config.message])
    export_model(model, tokenizer, directory / "model", settings=settings, adapter=adapter)


def _start_model(config: TrainActor, tokenizer: PreTrainedTokenizerBase) -> Any:
    if config.start:
        return AutoModelForCausalLM.from_pretrained(config.start, dtype=torch.float32)
    return build_model(config.model, tokenizer, config.seed + 1)


def _examples(
    records: Sequence[dict[str, Any]], chat: ChatFormat, search_weight: float
) -> list[tuple[Example, Any, Any]]:
    return [
        (actor_example(record, episode, chat, search_weight), record, episode)
        for record in records
        for episode in record["episodes"]
    ]


def _with_direct(
    examples: list[tuple[Example, Any, Any]], config: TrainActor, chat: ChatFormat
) -> list[tuple[Example, Any, Any]]:
    """Examples of which ``direct_share`` are direct episodes, repeated as often as needed."""
    if not config.direct_share:
        return examples
    pairs = [(record, direct_episode(episode)) for _, record, episode in examples]
    direct = [(actor_example(r, e, chat, config.search_weight), r, e) for r, e in pairs if e is not None]
    if not direct:
        raise InputError("no episode can do without its visits in vain; set direct_share to 0 or collect more games")
    if config.direct_share == 1:
        return direct
    count = round(len(examples) * config.direct_share / (1 - config.direct_share))
    return examples + [direct[index % len(direct)] for index in range(count)]


class _MessageSource:
    """Gives each example its message."""

    def __init__(self, config: TrainActor, chat: ChatFormat) -> None:
        self.config = config
        self.chat = chat
        self.thoughts = ScoutMessages(config.thoughts) if config.thoughts else None
        self.items: list[str] = []
        self.numbers: dict[str, int] = {}

    def episodes(self) -> list[dict[str, Any]]:
        """The games and their episodes."""
        if self.config.episodes:
            return read_episodes(self.config.episodes)
        assert self.thoughts is not None, "checked when the configuration was made"
        return self.thoughts.episodes()

    def draw_negatives_from(self, records: Sequence[dict[str, Any]]) -> None:
        """Let the messages about these games, and no others, be what a message is to be told apart from."""
        if self.config.losses.separation:
            pairs = [(f"{r['item']}#{e['draw']}", r["item"]) for r in records for e in r["episodes"]]
            self.items = [item for item, _ in pairs]
            self.numbers = {item: number for number, item in enumerate(self.items)}
            self.negatives = Negatives([game for _, game in pairs])

    def branch(
        self,
        example: Example,
        record: dict[str, Any],
        episode: dict[str, Any],
        rng: random.Random,
        progress: float | None,
    ) -> Branch:
        """An example with its messages; ``progress`` of the training, None in a validation."""
        message = self.message(example, record, episode, rng, progress is not None)
        if not isinstance(message, Tensor):
            return Branch(example, message)
        own = Mixed(message, len(message))
        losses, curriculum = self.config.losses, self.config.curriculum
        if progress is None or self.thoughts is None:
            return Branch(example, own)
        plan: tuple[int, ...] = ()
        if losses.alignment or curriculum.kind != "none":
            plan = ids_of(self.thoughts.text(example.item, rng), self.chat)
        # A message cut to its first rows stays without words: the two are different lessons.
        if curriculum.kind != "none" and len(message) == self.thoughts.rows(example.item):
            taken, first_word = cut(curriculum.ratio(progress, rng), len(message), len(plan))
            own = Mixed(message, taken, plan[first_word:])
        other = None
        if losses.separation:
            other = self.thoughts.states(self.items[self.negatives.of(self.numbers[example.item], rng)])
        return Branch(example, own, other, plan)

    def message(
        self, example: Example, record: dict[str, Any], episode: dict[str, Any], rng: random.Random, varied: bool
    ) -> Message:
        """The message of an example; ``varied``: sometimes none, sometimes its first rows."""
        kind = self.config.message
        if kind == "none" or (varied and rng.random() < self.config.none_share):
            return None
        if kind == "base":
            return ids_of(believed_plan(record, episode, rng), self.chat)
        assert self.thoughts is not None, "checked when the configuration was made"
        if kind in ("text", "list"):
            return ids_of(self.thoughts.text(example.item, rng), self.chat)
        states = self.thoughts.states(example.item)
        if varied and rng.random() < self.config.prefix_share:
            return states[: rng.randint(1, len(states))]
        return states

    def make_adapter(self, model: Any, samples: Sequence[Example]) -> CommunicationAdapter:
        """An adapter of the receiver's size, its output as large as the receiver's embeddings, aligned if it can be."""
        assert self.thoughts is not None, "latent messages come from thoughts"
        manifest = self.thoughts.manifest
        states = [self.thoughts.states(example.item).float() for example in samples]
        torch.manual_seed(self.config.seed)
        source_size, target_size = states[0].shape[1], model.config.hidden_size
        adapter = CommunicationAdapter(
            AdapterConfig(
                source_size=source_size,
                target_size=target_size,
                heads=self.config.adapter_heads,
                project_input=self.config.sender is not None,
                layer=manifest.layers[0].layer,
                norm=manifest.layers[0].norm,
                offset=manifest.offset,
                sender=manifest.model,
                sender_fingerprints=(manifest.weights_fingerprint,),
                sender_tokenizer_fingerprint=manifest.tokenizer_fingerprint,
            )
        )
        table = model.get_input_embeddings().weight.detach().cpu()
        padded = nn.utils.rnn.pad_sequence(states, batch_first=True)
        mask = torch.arange(padded.shape[1])[None, :] < torch.tensor([len(s) for s in states])[:, None]
        if self.config.sender is not None:
            rows, head = torch.cat(states), self._sender_head(self.config.sender)
            adapter.align(rows, head(rows).softmax(dim=-1) @ table)
        rms = table.square().mean().sqrt().item()
        adapter.calibrate(rms, padded, mask)
        return adapter

    @torch.no_grad()
    def _sender_head(self, folder: str) -> nn.Linear:
        """The head of the model that thought, whose tokens must be those of the receiver."""
        assert self.thoughts is not None, "latent messages come from thoughts"
        engine = Engine.load(folder, dtype="float32", device="cpu")
        manifest = self.thoughts.manifest
        if engine.weights_fingerprint != manifest.weights_fingerprint:
            raise InputError(f"{folder} did not make these thoughts; give the scout of {manifest.model}")
        if engine.tokenizer_fingerprint != tokenizer_fingerprint(self.chat.tokenizer):
            raise InputError(
                f"{folder} has other tokens than the receiver; leave sender out: the adapter begins unaligned"
            )
        head: nn.Linear = engine.model.get_output_embeddings()
        return head.requires_grad_(False)
