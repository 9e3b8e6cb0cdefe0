"""A memory as a message that can be saved, sent and read by another process."""

from typing import Any

import torch

from interlat.engine.memory import Memory
from interlat.engine.transformers import Engine
from interlat.errors import MessageError
from interlat.messages import CacheMessage, Header


def message_of_memory(engine: Engine, memory: Memory, provenance: dict[str, Any] | None = None) -> CacheMessage:
    """The memory of one or more conversations as a cache message; nothing is rounded.

    Args:
        engine: the engine that made the memory.
        memory: what travels, on any device.
        provenance: what else should be known; JSON values.

    Raises:
        MessageError: the memory is empty.
    """
    header = Header(
        model=engine.name,
        revision=engine.revision,
        weights_fingerprint=engine.weights_fingerprint,
        tokenizer_fingerprint=engine.tokenizer_fingerprint,
        provenance=provenance or {},
    )
    return CacheMessage(
        keys=memory.keys,
        values=memory.values,
        attention_mask=memory.attention_mask,
        position_ids=memory.position_ids,
        segment_ids=memory.segment_ids,
        segment_names=memory.segment_names,
        next_position=memory.next_position,
        hidden_states=memory.hidden_states,
        header=header,
    )


def memory_of_message(engine: Engine, message: CacheMessage, *, other_weights: bool = False) -> Memory:
    """The memory in a cache message, on the engine's device and in its dtype.

    Args:
        engine: reads on from the memory.
        message: what another engine, perhaps on another machine, made.
        other_weights: also take a message of a model with other weights and the same shape, such as another fine-tuning
            of one base; what it then means to the reader is not known.

    Raises:
        MessageError: the message was made by other weights, or by a model of another shape.
    """
    header = message.header
    fits = engine.memory_shape
    found = (len(message.keys), message.keys[0].shape[1], message.keys[0].shape[3], message.hidden_states.shape[1])
    if found != fits:
        raise MessageError(
            f"the memory of {header.model or 'an unnamed model'} has layers, heads, head size and hidden size "
            f"{list(found)}, but {engine.name} has {list(fits)}; a cache is for the model that made it, send hidden "
            "states or text between these two"
        )
    if not other_weights and header.weights_fingerprint != engine.weights_fingerprint:
        raise MessageError(
            f"the memory was made by other weights ({header.model or 'an unnamed model'}) than those of {engine.name}; "
            "load the model that made it, or allow other weights of the same shape"
        )

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(engine.device, engine.dtype) if tensor.is_floating_point() else tensor.to(engine.device)

    return Memory(
        keys=tuple(moved(layer) for layer in message.keys),
        values=tuple(moved(layer) for layer in message.values),
        attention_mask=moved(message.attention_mask),
        position_ids=moved(message.position_ids),
        segment_ids=moved(message.segment_ids),
        segment_names=message.segment_names,
        next_position=moved(message.next_position),
        hidden_states=moved(message.hidden_states),
    )
