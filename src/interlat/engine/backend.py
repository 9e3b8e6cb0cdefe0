"""What pushes embeddings through the decoder of a model, without its LM head, for any architecture."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from interlat.engine.attention import as_model_mask, layer_windows, positions_of_layer, visible_positions
from interlat.engine.buffer import KeyValueBuffer, as_transformers_cache
from interlat.engine.recorder import HiddenStateRecorder
from interlat.errors import CheckpointError

Forward = Callable[[Float[Tensor, "B Q D"]], Float[Tensor, "B Q D"]]
"""Reads the next Q columns: input embeddings -> states after the final norm; the buffer grows by Q."""


class TransformersBackend:
    """Runs the model's own ``forward``: for every architecture of full or sliding attention layers.

    Raises:
        CheckpointError: the architecture takes no position ids, no embeddings, reads something beside them in its
            layers, or has other kinds of layers; or its attention implementation is neither sdpa nor eager.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.decoder = model.get_decoder()
        self.config = model.config.get_text_config(decoder=True)
        self.windows = layer_windows(self.config)
        check_reads_latents(model)
        accepted = inspect.signature(self.decoder.forward).parameters
        missing = {"inputs_embeds", "position_ids", "past_key_values", "attention_mask"} - set(accepted)
        if missing:
            raise CheckpointError(
                f"{type(self.decoder).__name__} does not take {', '.join(sorted(missing))}; "
                "latents in ragged batches need a model with explicit embeddings and positions"
            )
        self.implementation = self.config._attn_implementation
        if self.implementation not in ("sdpa", "eager"):
            raise CheckpointError(
                f"attention implementation {self.implementation} cannot read caches with holes; "
                'load the model with attn_implementation="sdpa" or "eager"'
            )

    def start(
        self,
        buffer: KeyValueBuffer,
        attention_mask: Bool[Tensor, "B T"],
        position_ids: Int[Tensor, "B T"],
        recorder: HiddenStateRecorder | None = None,
        layer_mask: Bool[Tensor, "B L C"] | None = None,
    ) -> Forward:
        """Prepare to read the positions after ``buffer.length``, in one call or one by one.

        Args:
            buffer: keys and values of what was read; its capacity is at least T.
            attention_mask: which positions hold something, those still to be read included.
            position_ids: the true position of each, those still to be read included.
            recorder: is shown the states after the layers that it wants to see.
            layer_mask: which layers see which of the first C positions; the others are seen by all.
        """
        layers = self.config.num_hidden_layers
        cache = as_transformers_cache(buffer, layers)

        def forward(embeddings: Tensor) -> Tensor:
            start, end = buffer.length, buffer.length + embeddings.shape[1]
            masks = {
                kind: as_model_mask(
                    visible_positions(attention_mask[:, :end], position_ids[:, :end], start, window),
                    self.implementation,
                    embeddings.dtype,
                )
                for kind, window in self.windows.items()
            }
            with (
                _recorded(self.decoder, recorder, layers),
                masked_layers(self.decoder, layer_mask),
            ):
                output = self.decoder(
                    inputs_embeds=embeddings,
                    attention_mask=masks if len(masks) > 1 else next(iter(masks.values())),
                    # Rows that have ended count on beside the others, past the end of a table of positions.
                    position_ids=position_ids[:, start:end].clamp(max=self.config.max_position_embeddings - 1),
                    past_key_values=cache,
                    use_cache=True,
                )
            buffer.advance(end - start)
            states: Tensor = output.last_hidden_state
            return states

        return forward


def check_reads_latents(model: PreTrainedModel) -> None:
    """Raise a CheckpointError if a model reads something beside its input embeddings."""
    config = model.config.get_text_config(decoder=True)
    if per_layer := getattr(config, "hidden_size_per_layer_input", None):
        raise CheckpointError(
            f"{type(model).__name__} adds an embedding of the token in every layer (hidden_size_per_layer_input is "
            f"{per_layer}), but a latent is no token; use a model without them, such as a larger one of its family"
        )
    if crossed := getattr(config, "cross_attention_layers", None):
        raise CheckpointError(
            f"{type(model).__name__} reads an image in its layers {', '.join(map(str, crossed))} "
            "(cross_attention_layers); only models that read text alone can keep a cache"
        )


def layers_of(decoder: nn.Module, count: int) -> nn.ModuleList:
    """The ``count`` layers of a decoder, by whatever name it has them: ``layers``, GPT-2's ``h``, BERT's ``layer``.

    Raises:
        CheckpointError: it has no such list, or several.
    """
    found: dict[int, list[nn.ModuleList]] = {}
    for name, module in decoder.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            if name == "layers":
                return module
            found.setdefault(name.count("."), []).append(module)
    outermost = found[min(found)] if found else []
    if len(outermost) != 1:
        raise CheckpointError(
            f"{type(decoder).__name__} has {len(outermost)} lists of {count} layers, expected one; read its last layer "
            "only, and hand over all layers of a cache"
        )
    return outermost[0]


@contextlib.contextmanager
def masked_layers(decoder: Any, layer_mask: Tensor | None) -> Iterator[None]:
    """While ``decoder`` runs, hide from each layer the positions that it may not see; masks are boolean or added."""

    def hide(number: int, module: nn.Module, inputs: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        assert layer_mask is not None, "there are no hooks without one"
        if "attention_mask" not in named:
            # Given by its place, whose name costs time to find.
            named = dict(zip(inspect.signature(module.forward).parameters, inputs, strict=False)) | named
            inputs = ()
        given: Tensor = named["attention_mask"]
        seen = positions_of_layer(layer_mask, number, given.shape[-1])
        if given.dtype == torch.bool:
            return inputs, {**named, "attention_mask": given & seen}
        return inputs, {**named, "attention_mask": given.masked_fill(~seen, torch.finfo(given.dtype).min)}

    with contextlib.ExitStack() as hooks:
        if layer_mask is not None:
            for number, layer in enumerate(layers_of(decoder, layer_mask.shape[1])):
                hook = functools.partial(hide, number)
                hooks.callback(layer.register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield


@contextlib.contextmanager
def _recorded(decoder: Any, recorder: HiddenStateRecorder | None, count: int) -> Iterator[None]:
    """Show a recorder what the layers of ``decoder`` give while it runs."""

    def show(number: int, module: nn.Module, inputs: Any, output: Any) -> None:
        assert recorder is not None, "there are no hooks without one"
        recorder.see(number, output[0] if isinstance(output, tuple) else output)

    numbers = recorder.inner if recorder is not None else frozenset()
    with contextlib.ExitStack() as hooks:
        layers = layers_of(decoder, count) if numbers else nn.ModuleList()
        for number in sorted(numbers):
            hooks.callback(layers[number - 1].register_forward_hook(functools.partial(show, number)).remove)
        yield
