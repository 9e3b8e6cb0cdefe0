"""The last states of a receiver that reads a batch of conversations."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interlat.engine.rotary import positions_of_rows
from interlat.training.examples import Batch, embed_batch
from interlat.training.options import Precision as Precision


def last_states(
    backbone: nn.Module, embedding: nn.Module, adapter: nn.Module | None, batch: Batch, precision: Precision
) -> Float[Tensor, "B T D"]:
    """The states after the final norm, before the head; float32.

    Args:
        backbone: the model without its head.
        embedding: its input embeddings.
        adapter: reads latent messages; None where there are none.
        batch: on the device of the model.
        precision: what the backbone computes in; bfloat16 by autocast, which leaves the weights as they are.
    """
    embeddings = embed_batch(batch, embedding, adapter)
    with torch.autocast(embeddings.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        positions = positions_of_rows(backbone, batch.real)
        states: Tensor = backbone(inputs_embeds=embeddings, use_cache=False, **positions).last_hidden_state
    return states if states.dtype == torch.float64 else states.float()
