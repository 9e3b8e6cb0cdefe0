"""A frozen receiver that reads the same conversations under one message after the other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from interlat.connectors.adapter import CommunicationAdapter
from interlat.training.cached_decoder import ColumnDecoder, Columns
from interlat.training.divergences import states_at_labels
from interlat.training.examples import Batch, Example, Message, collate, embed_batch
from interlat.training.forward import Precision


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

    What stands before a message is the same under every message, and no gradient goes there: it is read once, without
    one. The last token before the message is read with it, since its state may predict the first label.

    Args:
        model: the language model.
        adapter: reads the rows of messages.
        precision: what the model computes in; bfloat16 by autocast.
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
        """Read what stands before the messages."""
        rests = tuple(replace(example, before=example.before[-1:]) for example in examples)
        lengths = torch.tensor([max(0, len(example.before) - 1) for example in examples])
        width = int(lengths.max())
        mask = (torch.arange(width)[None, :] < lengths[:, None]).to(self.device)
        if not width:
            return Opened(rests, mask, ())
        ids = torch.zeros(len(examples), width, dtype=torch.long)
        for row, (example, length) in enumerate(zip(examples, lengths.tolist(), strict=True)):
            ids[row, :length] = torch.tensor(example.before[:length])
        columns = self._run(self.embedding(ids.to(self.device)), mask, ())[1]
        return Opened(rests, mask, (columns,))

    def read(self, opened: Opened, messages: Sequence[Message]) -> tuple[Batch, Float[Tensor, "N D"]]:
        """The rest of each conversation behind its message.

        Returns:
            The batch that was read, and its states at the supervised positions, see
            `interlat.training.divergences.states_at_labels`.
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
