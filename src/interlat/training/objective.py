"""The actor's loss as one module: a sharded model gathers its parameters once for all branches of a pass."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interlat.engine.embeddings import next_token_scores
from interlat.training.branches import ALIGNMENT_SCALE, Branch, BranchWeights, Totals
from interlat.training.divergences import (
    hinge,
    losses_of_rows,
    mean_by_sample,
    samples_of_labels,
    states_at_labels,
)
from interlat.training.examples import Batch, Message, collate
from interlat.training.forward import Precision, last_states


class ActorObjective(nn.Module):
    """``L = L_task + w_S L_sep + w_A L_align`` of some samples (Interlat, arXiv 2511.09149).

    In evaluation mode it is the cross-entropy alone. The head and all losses are float32.

    Args:
        model: the actor's language model.
        adapter: reads latent messages; None where there are none.
        weights: of separation and alignment.
        precision: what the backbone computes in; bfloat16 by autocast, which leaves the weights as they are.
    """

    def __init__(
        self,
        model: Any,
        adapter: nn.Module | None,
        weights: BranchWeights | None = None,
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        self.model = model
        self.adapter = adapter
        self.weights = weights or BranchWeights()
        self.precision = precision
        # Not as a submodule: it holds the parameters of ``model``, under other names.
        self._backbone: list[nn.Module] = [model.base_model]

    def forward(
        self, branches: Sequence[Branch], totals: Totals | None = None, reading_weight: float = 0.0
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The share of these samples in the loss of a step.

        Args:
            branches: samples with their messages.
            totals: of the whole step; by default that of these samples. The sum of all shares is the loss of the step:
                the weighted mean of the cross-entropy over all labels, and the means of L_sep and L_align over all
                samples with a latent message.
            reading_weight: see `interlat.training.examples.collate`.

        Returns:
            The loss, and in training mode with other losses than the cross-entropy the share of each in the step,
            unweighted: "task", "separation", "alignment".
        """
        totals = totals or Totals.of(branches, reading_weight)
        weights = self.weights
        latent = [number for number, branch in enumerate(branches) if branch.is_latent]
        compared = self.model.training and bool(weights.separation or weights.alignment)
        other = plan = None
        # The references come first, so that what the own branch keeps for its gradient is not in memory beside them.
        if compared and weights.separation:
            other = self._reference(branches, latent, [branches[number].other for number in latent])
        if compared and weights.alignment:
            plan = self._reference(branches, latent, [branches[number].plan for number in latent])
        batch = collate([b.example for b in branches], [b.own for b in branches], reading_weight).to(self.device)
        own = states_at_labels(self.states(batch), batch.labels)
        supervised = batch.labels[:, 1:] != -100
        targets, label_weights = batch.labels[:, 1:][supervised], batch.weights[:, 1:][supervised]
        samples = samples_of_labels(batch.labels)
        head, size = functools.partial(next_token_scores, self.model), self.model.config.vocab_size
        if not compared:
            task = (losses_of_rows(own, targets, head, size).cross_entropy * label_weights).sum() / totals.weight
            return task, {}
        chosen = torch.isin(samples, torch.tensor(latent, device=samples.device, dtype=samples.dtype))
        rest = losses_of_rows(own[~chosen], targets[~chosen], head, size).cross_entropy
        rows = losses_of_rows(
            own[chosen], targets[chosen], head, size, other=other, plan=plan, kl_share=weights.kl_share
        )
        task = (rows.cross_entropy * label_weights[chosen]).sum() + (rest * label_weights[~chosen]).sum()
        task = task / totals.weight
        loss, metrics = task, {"task": task.detach()}
        divided_by = max(1, totals.latent)
        if rows.divergence is not None:
            lacking = hinge(mean_by_sample(rows.divergence, samples[chosen]), weights.margin)
            loss = loss + weights.weighted(weights.separation, lacking, weights.margin).sum() / divided_by
            metrics["separation"] = lacking.detach().sum() / divided_by
        if rows.alignment is not None:
            apart = mean_by_sample(rows.alignment, samples[chosen])
            loss = loss + weights.weighted(weights.alignment, apart, ALIGNMENT_SCALE).sum() / divided_by
            metrics["alignment"] = apart.detach().sum() / divided_by
        return loss, metrics

    @property
    def parts(self) -> dict[str, nn.Module]:
        """What can be trained, by the names that checkpoints use."""
        return {"model": self.model} if self.adapter is None else {"model": self.model, "adapter": self.adapter}

    def use_backbone(self, backbone: nn.Module) -> None:
        """Run the model without its head through another module with the same parameters, such as a compiled one."""
        self._backbone = [backbone]

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    def states(self, batch: Batch) -> Float[Tensor, "B T D"]:
        """The model's last states of a batch on its device, before the head; float32."""
        return last_states(self._backbone[0], self.model.get_input_embeddings(), self.adapter, batch, self.precision)

    def _reference(
        self, branches: Sequence[Branch], latent: Sequence[int], messages: Sequence[Message]
    ) -> Float[Tensor, "N D"]:
        """States of other branches at their labels: without gradient, and without dropout, for what the own branch is
        compared with must not differ from it by chance."""
        # Ranks of a sharded model must all run it equally often, so one without latent messages runs it for nothing.
        examples = [branches[number].example for number in latent] or [branches[0].example]
        batch = collate(examples, messages or [None]).to(self.device)
        self.eval()
        with torch.no_grad():
            states = states_at_labels(self.states(batch), batch.labels)
        self.train()
        return states if latent else states[:0]
