"""A lean decoder for the Llama family: Llama, Mistral, Qwen 2 and Qwen 3, on the model's own weights.

The arithmetic is that of the `transformers` modules (RMSNorm, rotary positions, grouped-query attention,
SwiGLU). What is left out is what they do around it at every step: argument plumbing, mask building, cache
growth, hooks.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaForCausalLM, MistralForCausalLM, PreTrainedModel, Qwen2ForCausalLM, Qwen3ForCausalLM
from transformers.activations import ACT2FN

from interlat.engine.attention import layer_windows, positions_of_layer, visible_positions
from interlat.engine.backend import Forward
from interlat.engine.buffer import KeyValueBuffer
from interlat.engine.embeddings import has_hooks
from interlat.engine.graphs import AFTER, Capture, StaticSteps, chosen_capture
from interlat.engine.packed import Linear, pack_all
from interlat.engine.recorder import HiddenStateRecorder

KNOWN = (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)
# Rotary tables of these kinds depend on the position alone, not on the length of what is read.
STATIC_ROTARY = {"default", "linear", "llama3", "yarn"}


def is_llama_family(model: PreTrainedModel) -> bool:
    """Whether every module of ``model`` is exactly one that `LlamaFamilyBackend` computes.

    Subclasses, adapters (LoRA), quantised or hooked modules and models split over devices are not: for them
    the model's own ``forward`` is run.
    """
    if type(model) not in KNOWN or any(has_hooks(module) for module in model.modules()):
        return False
    if len({parameter.device for parameter in model.parameters()}) != 1:
        return False
    decoder = model.model
    return (
        decoder.rotary_emb.rope_type in STATIC_ROTARY
        and _is_own(model, decoder.norm, "RMSNorm")
        and all(_is_known_layer(model, layer) for layer in decoder.layers)
    )


def _is_own(model: PreTrainedModel, module: nn.Module, part: str) -> bool:
    """Whether ``module`` is exactly the part of the model's architecture, such as its ``LlamaRMSNorm``."""
    kind = type(model)
    return type(module) is getattr(sys.modules[kind.__module__], kind.__name__.replace("ForCausalLM", part))


def _is_known_layer(model: PreTrainedModel, layer: Any) -> bool:
    attention, mlp = layer.self_attn, layer.mlp
    parts = ((layer, "DecoderLayer"), (attention, "Attention"), (mlp, "MLP"))
    if not all(_is_own(model, *part) for part in parts) or type(mlp.act_fn) is not type(ACT2FN["silu"]):
        return False
    norms = [layer.input_layernorm, layer.post_attention_layernorm]
    norms += [getattr(attention, name) for name in ("q_norm", "k_norm") if hasattr(attention, name)]
    linears = [getattr(attention, f"{name}_proj") for name in "qkvo"]
    linears += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    return all(_is_own(model, norm, "RMSNorm") for norm in norms) and all(type(one) is nn.Linear for one in linears)


KEPT_MASK = 2**25
"""Most bytes of a mask that is kept for all layers."""
MLP_ROWS = 512
"""Most rows that pass the wide middle of a layer at once."""


class LlamaFamilyBackend:
    """Runs a model of the Llama family step by step; reads the parameters of ``model``; `pack` alone copies them."""

    def __init__(self, model: PreTrainedModel) -> None:
        decoder = model.model
        self.layers = [_Layer(layer) for layer in decoder.layers]
        self.groups = self.layers[0].groups
        self.norm = _Norm(decoder.norm)
        self.rotary = decoder.rotary_emb
        config = model.config
        windows = layer_windows(config)
        kinds = getattr(config, "layer_types", None) or [next(iter(windows))] * len(self.layers)
        self.windows = windows
        self.kinds: list[str] = list(kinds)
        self.hidden_size: int = config.hidden_size
        self.capture: Capture | None = chosen_capture(self.norm.weight.device)
        """How single steps are recorded, if they are."""
        self.head = Linear(model.lm_head)
        self.linears = [self.head, *(linear for layer in self.layers for linear in layer.linears)]

    def pack(self) -> None:
        """Copy the weights into the form in which the CPU reads them fastest, where that pays."""
        pack_all(self.linears)

    def start(
        self,
        buffer: KeyValueBuffer,
        attention_mask: Bool[Tensor, "B T"],
        position_ids: Int[Tensor, "B T"],
        recorder: HiddenStateRecorder | None = None,
        layer_mask: Bool[Tensor, "B L C"] | None = None,
    ) -> Forward:
        """See `TransformersBackend.start`."""
        for linear in self.linears:
            linear.refresh()
        wanted = recorder.inner if recorder is not None else frozenset()
        first = buffer.length
        new_positions = position_ids[:, first:]
        cosine, sine = self.rotary_tables(new_positions)
        longest = int(position_ids.max()) + 1
        windows = {kind: w if w is not None and w < longest else None for kind, w in self.windows.items()}
        everything_visible = bool(attention_mask.all())

        def masks_of(start: int, end: int) -> dict[str, Tensor | None]:
            masks: dict[str, Tensor | None] = {}
            for kind, window in windows.items():
                ragged = end - start > 1 and (start > 0 or not everything_visible)
                if window is not None or layer_mask is not None or ragged:
                    masks[kind] = visible_positions(attention_mask[:, :end], position_ids[:, :end], start, window)
                elif end - start > 1 or everything_visible:
                    masks[kind] = None
                else:
                    masks[kind] = attention_mask[:, None, None, :end]
            return masks

        recordable = recorder is None and layer_mask is None
        unknown = True

        def forward(embeddings: Tensor) -> Tensor:
            nonlocal unknown
            batch, width, size = embeddings.shape
            if recordable and width == 1 and (steps := self._static_steps(buffer)) is not None:
                if unknown:
                    steps.begin(attention_mask, position_ids)
                    unknown = False
                return steps.step(embeddings, buffer)
            start, end = buffer.length, buffer.length + width
            masks = masks_of(start, end)
            # A mask is converted once for all layers, unless keeping it would raise the peak memory.
            once = layer_mask is None and batch * width * end * self.groups * embeddings.element_size() <= KEPT_MASK
            if once:
                masks = {kind: self._added(mask, width, embeddings.dtype) for kind, mask in masks.items()}
            cos = cosine.narrow(2, start - first, width)
            sin = sine.narrow(2, start - first, width)

            def mask_of(index: int, kind: str) -> Tensor | None:
                mask = masks[kind]
                if mask is not None and layer_mask is not None:
                    mask = mask & positions_of_layer(layer_mask, index, end)
                return mask if once else self._added(mask, width, embeddings.dtype)

            def show(number: int, states: Tensor) -> None:
                if recorder is not None and number in wanted:
                    recorder.see(number, states.view(batch, width, size))

            states = embeddings.reshape(batch * width, size)
            states = self.through_layers(states, width, buffer, cos, sin, mask_of, show)
            buffer.advance(width)
            return states.view(batch, width, size)

        return forward

    def _static_steps(self, buffer: KeyValueBuffer) -> StaticSteps | None:
        """What records and replays single steps in a buffer; None where they are not recorded, or not yet."""
        if self.capture is None or not buffer.keys:
            return None
        if buffer.static_steps is not None and not buffer.static_steps.are_of(self):
            # Another model of the same shape, or the same engine with another one, reads on.
            buffer.static_steps, buffer.single_steps = None, 0
        buffer.single_steps += 1
        if buffer.static_steps is None and buffer.single_steps > AFTER:
            buffer.static_steps = StaticSteps(self, buffer, self.capture)
        return buffer.static_steps

    def through_layers(
        self,
        states: Float[Tensor, "N D"],
        width: int,
        buffer: KeyValueBuffer,
        cosine: Float[Tensor, "B 1 Q d"],
        sine: Float[Tensor, "B 1 Q d"],
        mask_of: Callable[[int, str], Float[Tensor, "B 1 GQ T"] | None],
        show: Callable[[int, Tensor], None] = lambda number, states: None,
    ) -> Float[Tensor, "N D"]:
        """States of N = B x Q positions after all layers and the final norm.

        Args:
            mask_of: number of a layer from 0, and its kind -> its mask.
            show: is given the states after each layer, with its number from 1.
        """
        for index, (kind, layer) in enumerate(zip(self.kinds, self.layers, strict=True)):
            states = layer(states, width, index, buffer, cosine, sine, mask_of(index, kind))
            show(index + 1, states)
        return self.norm(states)

    def _added(
        self, mask: Bool[Tensor, "B 1 Q T"] | None, width: int, dtype: torch.dtype
    ) -> Float[Tensor, "B 1 GQ T"] | None:
        """What attention adds to its scores, 0 or minus infinity; attention makes the same of a Boolean mask.

        The columns of query heads that share a key head come behind each other, see `_Layer`.
        """
        if mask is None:
            return None
        groups = self.groups if width > 1 else 1
        added = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -math.inf)
        return added.repeat(1, 1, groups, 1) if groups > 1 else added

    def rotary_tables(self, positions: Int[Tensor, "B C"]) -> tuple[Float[Tensor, "B 1 C d"], Float[Tensor, "B 1 C d"]]:
        """Cosines and signed sines of all columns to come, once; the values are those that the model computes."""
        dtype, scaling = self.norm.weight.dtype, self.rotary.attention_scaling
        angles = positions[:, None, :, None].float() * self.rotary.inv_freq.float()
        cosine, sine = (angles.cos() * scaling).to(dtype), (angles.sin() * scaling).to(dtype)
        return torch.cat([cosine, cosine], dim=-1), torch.cat([-sine, sine], dim=-1)


class _Norm:
    """Root-mean-square norm: x / sqrt(mean(x^2) + eps) * weight (Zhang & Sennrich 2019)."""

    def __init__(self, module: Any) -> None:
        self.weight: Tensor = module.weight
        size, epsilon = self.weight.shape[0], module.variance_epsilon
        self.root = math.sqrt(size)
        # x / sqrt(sum(x^2) / D + eps) = sqrt(D) x / hypot(|x|, sqrt(D eps)): few operations for short rows.
        self.floor = torch.tensor(math.sqrt(size * epsilon), dtype=torch.float32, device=self.weight.device)
        self.zero = torch.zeros((), dtype=torch.float32, device=self.weight.device)
        # As a tensor: a number over a tensor would be two operations.
        self.one_root = torch.tensor(self.root, dtype=torch.float32, device=self.weight.device)

    def __call__(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        if x.dtype == torch.float32:
            length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
            return torch.addcmul(self.zero, x / torch.hypot(length, self.floor), self.weight, value=self.root)
        # In half precision the modules round before they multiply with the weight; so does this.
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        return self.weight * (x * (self.one_root / torch.hypot(length, self.floor))).to(x.dtype)


class _Layer:
    """One decoder layer: attention and SwiGLU, each behind a norm and added to the stream."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.entry = Linear(attention.q_proj, attention.k_proj, attention.v_proj)
        self.output = Linear(attention.o_proj)
        self.gate_up, self.down = Linear(mlp.gate_proj, mlp.up_proj), Linear(mlp.down_proj)
        self.linears = (self.entry, self.output, self.gate_up, self.down)
        self.head_size: int = attention.head_dim
        self.groups: int = attention.num_key_value_groups
        self.query_heads, self.key_heads, _ = (size // self.head_size for size in self.entry.sizes)
        self.scale: float = attention.scaling
        self.input_norm = _Norm(layer.input_layernorm)
        self.middle_norm = _Norm(layer.post_attention_layernorm)
        self.query_norm = _Norm(attention.q_norm) if hasattr(attention, "q_norm") else None
        self.key_norm = _Norm(attention.k_norm) if hasattr(attention, "k_norm") else None

    def __call__(
        self,
        states: Float[Tensor, "N D"],
        width: int,
        index: int,
        buffer: KeyValueBuffer,
        cosine: Float[Tensor, "B 1 Q d"],
        sine: Float[Tensor, "B 1 Q d"],
        mask: Float[Tensor, "B 1 GQ T"] | None,
    ) -> Float[Tensor, "N D"]:
        """The N = B x Q rows of ``width`` Q columns after layer number ``index``, whose keys go into ``buffer``."""
        heads = self._heads(self.entry(self.input_norm(states)), width)
        # Queries and keys are rotated together.
        turning, value = heads.split([self.query_heads + self.key_heads, self.key_heads], dim=1)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = turning.split([self.query_heads, self.key_heads], dim=1)
            turning = torch.cat([self.query_norm(query), self.key_norm(key)], dim=1)
        query, key = _rotate(turning, cosine, sine).split([self.query_heads, self.key_heads], dim=1)
        keys, values = buffer.write(index, key, value)
        attended = self._attend(query, keys, values, mask)
        states = _add_linear(states, attended, self.output)
        if len(states) <= MLP_ROWS:
            return _add_linear(states, self._gated(self.middle_norm(states)), self.down)
        # Of what a long prompt needs for a moment, this is the most.
        for part in states.split(MLP_ROWS):
            part.copy_(_add_linear(part, self._gated(self.middle_norm(part)), self.down))
        return states

    def _gated(self, normed: Float[Tensor, "N D"]) -> Float[Tensor, "N F"]:
        gate, up = self.gate_up.parts(normed)
        return functional.silu(gate, inplace=True) * up

    def _heads(self, rows: Float[Tensor, "N C"], width: int) -> Float[Tensor, "B H Q d"]:
        if width == 1:
            return rows.view(rows.shape[0], -1, 1, self.head_size)
        return rows.view(rows.shape[0] // width, width, -1, self.head_size).transpose(1, 2)

    def _attend(
        self,
        query: Float[Tensor, "B Hq Q d"],
        keys: Float[Tensor, "B H T d"],
        values: Float[Tensor, "B H T d"],
        mask: Float[Tensor, "B 1 GQ T"] | None,
    ) -> Float[Tensor, "N C"]:
        batch, heads, width, size = query.shape
        if width == 1 or (mask is not None and self.groups > 1):
            # Query heads that share a key head become queries of that one; no key is repeated.
            grouped = query.reshape(batch, heads // self.groups, self.groups * width, size)
            attended = functional.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask, scale=self.scale)
            return attended.view(batch, heads, width, size).transpose(1, 2).reshape(batch * width, heads * size)
        if self.groups > 1:
            keys = keys.repeat_interleave(self.groups, dim=1)
            values = values.repeat_interleave(self.groups, dim=1)
        attended = functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, is_causal=mask is None, scale=self.scale
        )
        return attended.transpose(1, 2).reshape(batch * width, heads * size)


def _add_linear(states: Float[Tensor, "N D"], x: Float[Tensor, "N C"], linear: Linear) -> Float[Tensor, "N D"]:
    if linear.packed is None and not linear.biased and states.dtype == torch.float32:
        return torch.addmm(states, x, linear.modules[0].weight.t())
    return states + linear(x)


def _rotate(
    x: Float[Tensor, "B H Q d"], cosine: Float[Tensor, "B 1 Q d"], signed_sine: Float[Tensor, "B 1 Q d"]
) -> Float[Tensor, "B H Q d"]:
    """Rotary positions (Su et al. 2021), halves layout; the sign of the first half sits in the sine."""
    return torch.addcmul(x * cosine, x.roll(x.shape[-1] // 2, -1), signed_sine)
