"""The actor's loss as one module: a sharded model gathers its parameters once for all branches of a micro-batch."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interlat.engine.rotary import positions_of_rows
from interlat.training.branches import Branch, Totals
from interlat.training.examples import Batch, Message, Mixed, collate, embed_batch
from interlat.training.fused_losses import position_losses, samples_of_labels, states_at_labels
from interlat.training.loss_weights import BranchWeights
from interlat.training.losses import Replies, head_of, measure, references_of
from interlat.training.options import Precision


class ActorObjective(nn.Module):
    """``L = L_task + w_S L_sep + w_A L_align`` of some samples (Interlat, arXiv 2511.09149).

    In evaluation mode it is only the cross-entropy. The LM head and all losses compute in float32.
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
        self, branches: Sequence[Branch], totals: Totals | None = None
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The share of these samples in the loss of a step (gradient accumulation).

        Args:
            branches: samples with their messages.
            totals: totals of the whole step. The default is those of these samples. The sum of all shares is the loss
                of the step: the weighted mean of the cross-entropy over all labels, and the means of the other losses
                over all samples with a latent message.

        Returns:
            The loss. In training mode with losses beside the cross-entropy also the unweighted share of each in the
            step: "task", and the losses by name.
        """
        totals = totals or Totals.of(branches)
        terms = self.weights.terms if self.model.training else []
        latent = [number for number, branch in enumerate(branches) if branch.is_latent]
        # The references come first, so that what the own branch keeps for its gradient is not in memory beside them.
        references = {
            name: self._reference(branches, latent, [getattr(branches[number], name) for number in latent])
            for name in references_of(terms)
        }
        examples, messages = [b.example for b in branches], [b.own for b in branches]
        batch = collate(examples, messages, totals.reading_weight).to(self.device)
        own, samples = states_at_labels(self.states(batch), batch.labels), samples_of_labels(batch.labels)
        targets, label_weights, head = batch.targets, batch.label_weights, head_of(self.model)
        if not terms:
            task = (position_losses(own, targets, *head).cross_entropy * label_weights).sum() / totals.weight
            return task, {}
        chosen = torch.isin(samples, torch.tensor(latent, device=samples.device, dtype=samples.dtype))
        rest = position_losses(own[~chosen], targets[~chosen], *head).cross_entropy
        rows = [message.rows for message in messages if isinstance(message, Mixed) and message.taken]
        replies = Replies(samples[chosen], rows, rows, self.adapter)
        cross_entropy, found = measure(terms, own[chosen], targets[chosen], *head, references, replies)
        task = (cross_entropy * label_weights[chosen]).sum() + (rest * label_weights[~chosen]).sum()
        task = task / totals.weight
        loss, metrics = task, {"task": task.detach()}
        divided_by = max(1, totals.latent)
        for term, losses in found:
            loss = loss + self.weights.weighted(term, losses).sum() / divided_by
            metrics[term.name] = losses.detach().sum() / divided_by
        return loss, metrics

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The modules that can be trained, by the names that checkpoints use."""
        return {"model": self.model} if self.adapter is None else {"model": self.model, "adapter": self.adapter}

    def use_backbone(self, backbone: nn.Module) -> None:
        """Run the model without its head through another module with the same parameters, such as a compiled one."""
        self._backbone = [backbone]

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    def states(self, batch: Batch) -> Float[Tensor, "B T D"]:
        """The model's last states of a batch on its device, after the final norm and before the head; float32."""
        embeddings = embed_batch(batch, self.model.get_input_embeddings(), self.adapter)
        with torch.autocast(embeddings.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            positions = positions_of_rows(self._backbone[0], batch.real)
            states: Tensor = self._backbone[0](inputs_embeds=embeddings, use_cache=False, **positions).last_hidden_state
        return states if states.dtype == torch.float64 else states.float()

    def _reference(
        self, branches: Sequence[Branch], latent: Sequence[int], messages: Sequence[Message]
    ) -> Float[Tensor, "N D"]:
        """States of other branches at their labels: without gradient, and without dropout, for what the own branch is
        compared with must not differ from it at random."""
        # Ranks of a sharded model must all run it equally often, so one without latent messages runs it for nothing.
        examples = [branches[number].example for number in latent] or [branches[0].example]
        batch = collate(examples, messages or [None]).to(self.device)
        self.eval()
        with torch.no_grad():
            states = states_at_labels(self.states(batch), batch.labels)
        self.train()
        return states if latent else states[:0]
