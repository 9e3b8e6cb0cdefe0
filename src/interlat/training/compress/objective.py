"""What the frozen receiver makes of compressed messages, as one module."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interlat.connectors.adapter import CommunicationAdapter
from interlat.connectors.base import padded_rows
from interlat.engine.embeddings import next_token_scores
from interlat.training.compress.compressors import Reasoner, Resampling, Sample
from interlat.training.compress.hint import hint
from interlat.training.compress.losses import CompressionWeights, agreement_by_sample, compression_rows, direction
from interlat.training.compress.receiver import FrozenReceiver, Opened
from interlat.training.divergences import samples_of_labels
from interlat.training.examples import Batch, Message, Mixed
from interlat.training.forward import Precision


@dataclass(frozen=True)
class CompressionTotals:
    """What the losses of a whole step are divided by, however it is cut into passes and shared out to ranks."""

    weight: float
    """Sum of the weights of all labels."""
    samples: int
    """Number of samples."""
    latent_steps: int
    """The most that one of them takes. All passes take as many: ranks of a sharded model must run it equally often."""

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "CompressionTotals":
        """The totals of some samples."""
        # With nothing to imitate the cross-entropy is 0, divided by whatever.
        weight = sum(sample.example.label_weight for sample in samples) or 1.0
        return cls(weight, len(samples), max(sample.latent_steps for sample in samples))


class CompressionObjective(nn.Module):
    """``L = L_CE + w_agree L_agree + w_dir L_dir + w_hint L_hint`` of some samples against a frozen receiver.

    The receiver is in evaluation mode whatever `train` is called on: dropout in what the message is judged by would be
    noise. Its parameters get no gradient. The head and all losses are float32.

    Args:
        compressor: makes the rows; what is trained.
        model: the receiver's language model.
        adapter: reads the rows.
        weights: of the losses.
        precision: what the receiver computes in; bfloat16 by autocast.
        head: weights of the language-model head of the model that made the full messages, for the hint. They are copied
            and stay as they are.
    """

    head: Tensor | None

    def __init__(
        self,
        compressor: Reasoner | Resampling,
        model: Any,
        adapter: CommunicationAdapter,
        weights: CompressionWeights | None = None,
        precision: Precision = "float32",
        head: Float[Tensor, "V D"] | None = None,
    ) -> None:
        super().__init__()
        self.compressor = compressor
        self.model = model.requires_grad_(False)
        self.adapter = adapter.requires_grad_(False)
        self.weights = weights or CompressionWeights()
        self.register_buffer("head", None if head is None else head.detach().float().clone(), persistent=False)
        self.receiver = FrozenReceiver(model, adapter, precision)
        self.train(self.training)

    def train(self, mode: bool = True) -> "CompressionObjective":
        """Put the compressor into training mode; the receiver stays in evaluation mode."""
        super().train(mode)
        self.model.eval()
        self.adapter.eval()
        return self

    def use_backbone(self, backbone: nn.Module) -> None:
        """Run the receiver without its head through another module with the same parameters, such as a compiled one."""
        self.receiver.decoder.run = backbone

    def forward(
        self,
        samples: Sequence[Sample],
        totals: CompressionTotals | None = None,
        messages: Sequence[Message] | None = None,
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The share of these samples in the loss of a step; without gradients the cross-entropy alone, and the
        agreement among the parts.

        Args:
            samples: conversations with what their messages are made of.
            totals: of the whole step; by default those of these samples. The sum of all shares is the loss of the step:
                the weighted mean of the cross-entropy over all labels, and the means of the others over all samples.
            messages: instead of the compressed ones, to measure what those are compared with: the cross-entropy alone,
                without gradient.

        Returns:
            The loss, and the share of each part in the step, unweighted: "task", "agreement", "direction", "hint".
        """
        totals = totals or CompressionTotals.of(samples)
        if messages is not None:
            # Here and not in a method beside: a sharded module has its parameters within `forward` only.
            with torch.no_grad():
                return self._task(*self.receiver.read(self._open(samples), messages), totals), {}
        weights = self.weights
        rows = self.compressor(samples, totals.latent_steps)
        sent = [row[: sample.latent_steps] for row, sample in zip(rows, samples, strict=True)]
        opened = self._open(samples)
        batch, states = self.receiver.read(opened, [Mixed(row, len(row)) for row in sent])
        full = none = None
        if weights.agreement:
            with torch.no_grad():
                full = self.receiver.read(opened, [Mixed(row, len(row)) for row in self._references(samples)])[1]
                none = self.receiver.read(opened, [None] * len(samples))[1]
        supervised = batch.labels[:, 1:] != -100
        targets, label_weights = batch.labels[:, 1:][supervised], batch.weights[:, 1:][supervised]
        losses = compression_rows(
            states,
            targets,
            functools.partial(next_token_scores, self.model),
            self.model.config.vocab_size,
            full=full,
            none=none,
            temperature=weights.temperature,
        )
        task = (losses.cross_entropy * label_weights).sum() / totals.weight
        loss, metrics = task, {"task": task.detach()}
        if losses.divergence is not None and losses.certainty is not None:
            agreement = agreement_by_sample(
                losses.divergence,
                losses.certainty,
                samples_of_labels(batch.labels),
                weights.clip_quantile,
                weights.floor,
            )
            if torch.is_grad_enabled():
                loss = loss + weights.agreement * agreement.sum() / totals.samples
            metrics["agreement"] = agreement.detach().sum() / totals.samples
        if torch.is_grad_enabled() and weights.direction:
            apart = self._direction(sent, samples)
            loss = loss + weights.direction * apart.sum() / totals.samples
            metrics["direction"] = apart.detach().sum() / totals.samples
        if torch.is_grad_enabled() and weights.hint and self.head is not None:
            unsaid = hint(sent, [sample.message for sample in samples], self.head)
            loss = loss + weights.hint * unsaid.sum() / totals.samples
            metrics["hint"] = unsaid.detach().sum() / totals.samples
        return loss, metrics

    def _task(self, batch: Batch, states: Float[Tensor, "N D"], totals: CompressionTotals) -> Float[Tensor, ""]:
        supervised = batch.labels[:, 1:] != -100
        head, size = functools.partial(next_token_scores, self.model), self.model.config.vocab_size
        losses = compression_rows(states, batch.labels[:, 1:][supervised], head, size)
        return (losses.cross_entropy * batch.weights[:, 1:][supervised]).sum() / totals.weight

    def _open(self, samples: Sequence[Sample]) -> Opened:
        return self.receiver.open([sample.example for sample in samples])

    def _references(self, samples: Sequence[Sample]) -> list[Tensor]:
        return [sample.message[: self.weights.reference_rows] for sample in samples]

    def _direction(self, sent: Sequence[Tensor], samples: Sequence[Sample]) -> Float[Tensor, "B"]:
        rows, mask = padded_rows(sent)
        full, full_mask = padded_rows(self._references(samples), self.receiver.device)
        return direction(self.adapter(rows, mask), mask, self.adapter(full, full_mask), full_mask)
