"""Train an actor to prefer its won trajectories to its lost ones, with the same message in context.

Direct preference optimisation (DPO, arXiv 2305.18290) on whole trajectories, as for agents that explore (ETO,
arXiv 2403.02502). The actor reads the message as in play: hidden states through the adapter, which is trained too,
text, or nothing. Model and adapter always stay in evaluation mode: the loss depends on small differences from the
start, and dropout would add noise to each.
"""

import functools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from interlat.agents.agent import Agent
from interlat.agents.loading import load
from interlat.engine.distributed import Ranks
from interlat.engine.hf import reference_engine
from interlat.errors import InputError
from interlat.messages import HiddenMessage, TextMessage
from interlat.store.reading import LatentStore
from interlat.training.checkpoint_file import Identity, records_identity, thoughts_identity
from interlat.training.corpus import CORPORA
from interlat.training.examples import Example, Message, collate, ids_of
from interlat.training.fused_losses import position_losses, samples_of_labels, states_at_labels
from interlat.training.loop import load_finished
from interlat.training.losses import head_of
from interlat.training.model import choose_finetuned, compiled_backbone
from interlat.training.objective import ActorObjective
from interlat.training.settings import TrainPreference
from interlat.training.stage import (
    Steps,
    export_agent,
    mean_losses,
    model_to_train,
    place_objective,
    run_stage,
    take_steps,
)
from interlat.training.trajectories import (
    Pair,
    PreferenceData,
    Trajectory,
    actor_fingerprint,
    check_reader,
    preference_data,
    read_trajectories,
    stored_message,
)

VALIDATION_PASS = 16
"""Pairs in one pass of a validation."""


class PreferenceLosses(NamedTuple):
    """The losses of each pair."""

    loss: Float[Tensor, "P"]
    """``-log sigmoid(margin)``: ln 2 where the policy is the reference."""
    margin: Float[Tensor, "P"]
    """``beta ((log pi(w) - log ref(w)) - (log pi(l) - log ref(l)))``; above 0 the policy prefers the won one."""


def preference_losses(policy: Float[Tensor, "P 2"], reference: Float[Tensor, "P 2"], beta: float) -> PreferenceLosses:
    """The DPO loss (arXiv 2305.18290, equation 7), from the log-probabilities of the won and of the lost trajectory of
    each pair under policy and reference."""
    ratios = policy - reference
    margin = beta * (ratios[:, 0] - ratios[:, 1])
    return PreferenceLosses(-functional.logsigmoid(margin), margin)


class TrajectoryScores(NamedTuple):
    """Log-probabilities of trajectories under an actor."""

    log_probabilities: Float[Tensor, "B"]
    """Sums over the actor's own tokens, in nats."""
    tokens: Int[Tensor, "B"]
    """How many these are."""


def score_trajectories(
    objective: ActorObjective, examples: Sequence[Example], messages: Sequence[Message]
) -> TrajectoryScores:
    """Log-probabilities of trajectories, each with its message. The LM head runs only on the actor's own tokens.

    The objective's model and adapter keep their current mode (of dropout).
    """
    batch = collate(examples, messages).to(objective.device)
    states = states_at_labels(objective.states(batch), batch.labels)
    losses = position_losses(states, batch.targets, *head_of(objective.model)).cross_entropy
    tokens = torch.bincount(samples_of_labels(batch.labels), minlength=len(examples))
    # Slices and not index_add, which adds in another order each time on a GPU: a run must repeat itself bit for bit.
    sums = torch.stack([part.sum() for part in losses.split(tokens.tolist())])
    return TrajectoryScores(-sums, tokens)


class Preference:
    """The preference loss of pairs, against a reference that is measured once, when this object is made.

    Each trajectory is scored alone, so its reference depends on nothing else. The agent, as it was before the training,
    decides what is read. ``pairs`` are all pairs that will be needed.
    """

    def __init__(
        self,
        config: TrainPreference,
        agent: Agent,
        objective: ActorObjective,
        store: LatentStore,
        pairs: Sequence[Pair],
    ) -> None:
        self.config, self.agent, self.objective, self.store = config, agent, objective.eval(), store
        trajectories = {one.key: one for pair in pairs for one in pair.both}
        source = CORPORA[config.corpus]
        self.examples = {
            key: source.trajectory(store.entry(one.id).metadata, one.turns, agent.chat)
            for key, one in trajectories.items()
        }
        with torch.no_grad():
            self.reference = {key: self._counted(self._score([one])).item() for key, one in trajectories.items()}

    def share(self, pairs: Sequence[Pair], of: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The share of some pairs in the mean loss of ``of`` pairs, and in what is logged.

        Returns:
            ``(sum of losses + imitation_weight * sum of the won ones' mean cross-entropies) / of``, and the shares in
            "accuracy" (positive margins), "margin" and "won_log_ratio" (how much likelier than under the reference the
            won trajectory is: preferring it does not by itself keep it from becoming less likely).
        """
        self.objective.eval()
        trajectories = [pair.won for pair in pairs] + [pair.lost for pair in pairs]
        scores = self._score(trajectories)
        policy = self._counted(scores)
        reference = policy.new_tensor([self.reference[one.key] for one in trajectories])
        losses = preference_losses(policy.view(2, -1).T, reference.view(2, -1).T, self.config.beta)
        loss = losses.loss.sum() / of
        if self.config.imitation_weight:
            likelihood = (scores.log_probabilities / scores.tokens)[: len(pairs)]
            loss = loss - self.config.imitation_weight * likelihood.sum() / of
        logged = {
            "accuracy": (losses.margin > 0).sum() / of,
            "margin": losses.margin.sum() / of,
            "won_log_ratio": (policy - reference)[: len(pairs)].sum() / of,
        }
        return loss, {name: value.detach() for name, value in logged.items()}

    def _score(self, trajectories: Sequence[Trajectory]) -> TrajectoryScores:
        examples = [self.examples[one.key] for one in trajectories]
        messages = [self._message(one.id) for one in trajectories]
        return score_trajectories(self.objective, examples, messages)

    def _counted(self, scores: TrajectoryScores) -> Float[Tensor, "B"]:
        return scores.log_probabilities / (scores.tokens if self.config.length_normalised else 1)

    def _message(self, thought: str) -> Message:
        message = stored_message(self.agent, self.store, thought)
        if isinstance(message, TextMessage):
            return ids_of(message.text, self.agent.chat, self.agent.settings.literal)
        return message.hidden_states if isinstance(message, HiddenMessage) else None


def load_preferences(config: TrainPreference) -> PreferenceData:
    """Load the pairs of a configuration.

    Raises:
        InputError: there are no trajectories, or no pairs of two games among them; see `preference_data`.
    """
    trajectories = read_trajectories(config.trajectories)
    if not trajectories:
        raise InputError(f"no trajectories in {config.trajectories}; make them with `interlat collect trajectories`")
    return preference_data(
        trajectories,
        LatentStore.open(config.thoughts),
        CORPORA[config.corpus],
        per_thought=config.pairs_per_thought,
        validation_share=config.validation_share,
        seed=config.seed,
    )


def train_preference(config: TrainPreference, data: PreferenceData | None = None) -> Steps:
    """Run or continue the training. Yields (finished steps, metrics), and finally exports the actor.

    Args:
        config: the settings.
        data: the pairs, if `load_preferences` was called before.

    Raises:
        InputError: settings and data do not go together, or there are several processes.
        CheckpointError: the output folder holds another training, or a damaged one; or the start is not an actor.
        MessageError: the actor was trained on the states of another sender.
        StorageError: another process trains in that folder, or the file system refused.
    """
    if Ranks.from_environment().world_size > 1:
        raise InputError("preferences are trained by one process; start it without torchrun")
    return run_stage(config, functools.partial(_train, config, data), Ranks())


def _train(config: TrainPreference, data: PreferenceData | None, settings: Identity) -> Steps:
    store = LatentStore.open(config.thoughts)
    data = data or load_preferences(config)
    agent, objective = _start(config)
    check_reader(agent, store)
    pairs = (one.record for part in (data.training, data.validation) for pair in part for one in pair.both)
    identity = {
        **settings,
        "start": actor_fingerprint(agent),
        "pairs": records_identity([len(data.training), *pairs]),
        "thoughts": thoughts_identity(store),
    }
    place_objective(objective, config, [objective.model], Ranks())
    preference = Preference(config, agent, objective, store, [*data.training, *data.validation])
    objective.use_backbone(compiled_backbone(objective.model, config.compile))
    yield from take_steps(
        config,
        Ranks(),
        objective.parts,
        preference.share,
        lambda step: pairs_of_step(data.training, step, config.schedule.batch_size, config.seed),
        len,
        lambda: mean_losses(preference.share, data.validation, len(data.validation), Ranks(), VALIDATION_PASS),
        identity,
        lambda: _export(config),
    )


def pairs_of_step(pairs: Sequence[Pair], step: int, size: int, seed: int) -> list[Pair]:
    """The ``size`` pairs of a step. Each epoch has every pair once, in a new order."""
    places = (divmod(place, len(pairs)) for place in range(step * size, (step + 1) * size))
    return [pairs[_order(len(pairs), f"preference/{seed}/{epoch}")[index]] for epoch, index in places]


@functools.lru_cache(maxsize=2)
def _order(count: int, name: str) -> Sequence[int]:
    return random.Random(name).sample(range(count), count)


def _start(config: TrainPreference) -> tuple[Agent, ActorObjective]:
    """The actor to begin with, and its model and adapter with those parameters set to learn that shall."""
    agent = load(config.start, dtype="float32", device="cpu")
    hidden = agent.settings.message_kind == "hidden"
    if config.finetune == "adapter" and not hidden:
        raise InputError(f"{config.start} reads no hidden states, so no adapter can learn; set finetune to full")
    engine = reference_engine(agent.engine)
    if config.export == "adapter":
        # Asked for while the merged model is there: the engine keeps it, and runs the same model in two parts.
        _ = engine.weights_fingerprint
        engine.use(model_to_train(config, config.start)[0])
    model = engine.model
    choose_finetuned(model, config.finetune, config.lora, config.seed)
    adapter = agent.adapter if hidden else None
    return agent, ActorObjective(model, adapter, precision=config.precision)


def _export(config: TrainPreference) -> None:
    """Write the finished actor: made anew, with the trained parameters in it, so that nothing is rounded."""
    agent, objective = _start(config)
    load_finished(Path(config.output), objective.parts, config.schedule)
    # The start is a file of bfloat16: most of what is learned here is less than half a step from it to the next such
    # number, and would be rounded away.
    model, tokenizer, settings = objective.model, agent.engine.tokenizer, agent.settings
    export_agent(config, model, tokenizer, settings, agent.adapter, start=config.start, dtype=torch.float32)
