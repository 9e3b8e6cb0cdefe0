"""Messages of different lengths as one batch."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def padded_rows(
    messages: Sequence[Float[Tensor, "_ D"]], device: torch.device | str | None = None
) -> tuple[Float[Tensor, "B K D"], Bool[Tensor, "B K"]]:
    """Messages as one float32 batch, padded on the right, and the mask that is True where a row is real.

    Args:
        messages: at least one, of any floating dtype.
        device: where the batch is made; by default where the messages are.
    """
    padded = nn.utils.rnn.pad_sequence([message.to(device, torch.float32) for message in messages], batch_first=True)
    lengths = torch.tensor([len(message) for message in messages], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device)[None, :] < lengths[:, None]
