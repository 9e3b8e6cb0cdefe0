"""What the frozen receiver makes of compressed messages, as one module."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from interlat.connectors.adapter import CommunicationAdapter
from interlat.training.compressors import ColumnDecoder, Columns, Reasoner, Resampling, Sample
from interlat.training.examples import Batch, Example, Message, Mixed, collate, embed_batch, padded_ids
from interlat.training.fused_losses import position_losses, samples_of_labels, states_at_labels
from interlat.training.loss_weights import CompressionWeights
from interlat.training.losses import Replies, Term, head_of, measure, references_of
from interlat.training.options import Precision


@dataclass(frozen=True, eq=False)
class Opened:
    """Conversations read up to the last token before their messages."""

    rests: tuple[Example, ...]
    """Each conversation from that token on."""
    mask: Bool[Tensor, "B P"]
    columns: tuple[Columns, ...]
    """Keys and values of what was read; none where there was nothing to read."""


class FrozenReceiver:
    """The states of a receiver whose parameters get no gradient.

    What is before a message is the same under every message, and no gradient goes there: it is read once, without
    one. The last token before the message is read with it, since its state may predict the first label.
    """

    def __init__(self, model: Any, adapter: CommunicationAdapter, precision: Precision = "float32") -> None:
        self.embedding: nn.Module = model.get_input_embeddings()
        self.adapter = adapter
        self.precision = precision
        self.decoder = ColumnDecoder(model.base_model)

    @property
    def device(self) -> torch.device:
        """Where the receiver is."""
        device: torch.device = next(self.embedding.parameters()).device
        return device

    @torch.no_grad()
    def open(self, examples: Sequence[Example]) -> Opened:
        """Read what is before the messages."""
        rests = tuple(replace(example, before=example.before[-1:]) for example in examples)
        ids, mask = (one.to(self.device) for one in padded_ids([example.before[:-1] for example in examples], "right"))
        return Opened(rests, mask, (self._run(self.embedding(ids), mask, ())[1],) if ids.numel() else ())

    def read(self, opened: Opened, messages: Sequence[Message]) -> tuple[Batch, Float[Tensor, "N D"]]:
        """The rest of each conversation behind its message.

        Returns:
            The batch that was read, and its `states_at_labels`.
        """
        batch = collate(opened.rests, messages).to(self.device)
        embeddings = embed_batch(batch, self.embedding, self.adapter)
        states, _ = self._run(embeddings, torch.cat([opened.mask, batch.real], dim=1), opened.columns)
        return batch, states_at_labels(states if states.dtype == torch.float64 else states.float(), batch.labels)

    def _run(
        self, embeddings: Float[Tensor, "B Q D"], mask: Bool[Tensor, "B T"], read: Sequence[Columns]
    ) -> tuple[Float[Tensor, "B Q D"], Columns]:
        positions = (mask.long().cumsum(dim=1) - 1).clamp_min(0)
        with torch.autocast(embeddings.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return self.decoder(embeddings, mask, positions, read)


@dataclass(frozen=True)
class CompressionTotals:
    """What the losses of a whole step are divided by, however it is cut into passes and shared out to ranks."""

    weight: float
    """Sum of the weights of all labels."""
    samples: int
    latent_steps: int
    """The most that one of them takes. All passes take as many: ranks of a sharded model must run it equally often."""

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "CompressionTotals":
        # With nothing to imitate the cross-entropy is 0, divided by whatever.
        weight = sum(sample.example.label_weight for sample in samples) or 1.0
        return cls(weight, len(samples), max(sample.latent_steps for sample in samples))


class CompressionObjective(nn.Module):
    """The cross-entropy and the losses of `CompressionWeights` of some samples against a frozen receiver.

    The receiver is in evaluation mode whatever `train` is called on: dropout in what the message is judged by would be
    noise. Its parameters get no gradient. The head and all losses are float32.

    Args:
        compressor: makes the rows; what is trained.
        model: the receiver's language model.
        adapter: reads the rows.
        weights: of the losses.
        precision: what the receiver computes in; bfloat16 by autocast.
        head: weights of the language-model head of the model that made the full messages, for the
            distillation through it. They are copied and stay as they are.
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
        """The share of these samples in the loss of a step; without gradients the cross-entropy alone, and
        among the parts the losses that a validation measures.

        Args:
            samples: conversations with what their messages are made of.
            totals: of the whole step; by default those of these samples. The sum of all shares is the loss of the step:
                the weighted mean of the cross-entropy over all labels, and the means of the others over all samples,
                each times its weight.
            messages: instead of the compressed ones, to measure what those are compared with: the cross-entropy alone,
                without gradient.

        Returns:
            The loss, and the share of each part in the step, unweighted: "task" where the receiver read the messages,
            and the losses by name.
        """
        totals = totals or CompressionTotals.of(samples)
        if messages is not None:
            opened = self.receiver.open([sample.example for sample in samples])
            # Here and not in a method beside: a sharded module has its parameters within `forward` only.
            with torch.no_grad():
                batch, states = self.receiver.read(opened, messages)
                losses = position_losses(states, batch.targets, *head_of(self.model)).cross_entropy
                return (losses * batch.label_weights).sum() / totals.weight, {}
        training = torch.is_grad_enabled()
        terms = [term for term in self.weights.terms if training or term.loss.in_validation]
        rows = self.compressor(samples, totals.latent_steps)
        sent = [row[: sample.latent_steps] for row, sample in zip(rows, samples, strict=True)]
        full = [sample.message for sample in samples]
        if training and not self.weights.cross_entropy and not any(term.loss.measures_positions for term in terms):
            nowhere = torch.empty(0, dtype=torch.long, device=rows.device)
            replies = Replies(nowhere, sent, full, self.adapter, self.head)
            return self._sum(None, [(term, term.loss.samples(replies)) for term in terms], totals)
        opened = self.receiver.open([sample.example for sample in samples])
        batch, states = self.receiver.read(opened, [Mixed(row, len(row)) for row in sent])
        references = {name: self._reference(name, opened, samples) for name in references_of(terms)}
        replies = Replies(samples_of_labels(batch.labels), sent, full, self.adapter, self.head)
        head = head_of(self.model)
        cross_entropy, found = measure(terms, states, batch.targets, *head, references, replies, frozen_head=True)
        task = (cross_entropy * batch.label_weights).sum() / totals.weight
        loss, metrics = self._sum(task, found, totals)
        return (loss if training else task), metrics

    def _sum(
        self, task: Tensor | None, found: Sequence[tuple[Term, Float[Tensor, "S"]]], totals: CompressionTotals
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The weighted sum of the losses of some samples as their share in a step, and each of them, unweighted."""
        losses = {} if task is None else {"task": task}
        losses |= {term.name: of_samples.sum() / totals.samples for term, of_samples in found}
        weights = {"task": self.weights.cross_entropy} | {term.name: term.weight for term, _ in found}
        total = sum(weights[name] * loss for name, loss in losses.items())
        assert isinstance(total, Tensor), "some loss has a weight"
        return total, {name: loss.detach() for name, loss in losses.items()}

    @torch.no_grad()
    def _reference(self, name: str, opened: Opened, samples: Sequence[Sample]) -> Float[Tensor, "N D"]:
        rows = [sample.message[: self.weights.reference_rows] for sample in samples]
        messages = [Mixed(row, len(row)) for row in rows] if name == "full" else [None] * len(samples)
        return self.receiver.read(opened, messages)[1]
