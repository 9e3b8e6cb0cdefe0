"""A lean decoder for the Llama family: Llama, Mistral, Qwen 2 and Qwen 3, on the model's own weights.

The arithmetic is that of the `transformers` modules (RMSNorm, rotary positions, grouped-query attention, SwiGLU).
What is left out is what they do around it at every step: argument plumbing, mask building, cache growth, hooks.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.models.llama import modeling_llama as llama
from transformers.models.mistral import modeling_mistral as mistral
from transformers.models.qwen2 import modeling_qwen2 as qwen2
from transformers.models.qwen3 import modeling_qwen3 as qwen3

from interlat.engine.attention import FULL, SLIDING, layer_windows, visible_columns
from interlat.engine.backend import Forward
from interlat.engine.buffer import KeyValueBuffer


@dataclass(frozen=True)
class _Classes:
    """The exact classes that a known architecture is made of."""

    layer: type[nn.Module]
    attention: type[nn.Module]
    mlp: type[nn.Module]
    norm: type[nn.Module]


KNOWN: dict[type[PreTrainedModel], _Classes] = {
    llama.LlamaForCausalLM: _Classes(
        llama.LlamaDecoderLayer, llama.LlamaAttention, llama.LlamaMLP, llama.LlamaRMSNorm
    ),
    mistral.MistralForCausalLM: _Classes(
        mistral.MistralDecoderLayer, mistral.MistralAttention, mistral.MistralMLP, mistral.MistralRMSNorm
    ),
    qwen2.Qwen2ForCausalLM: _Classes(
        qwen2.Qwen2DecoderLayer, qwen2.Qwen2Attention, qwen2.Qwen2MLP, qwen2.Qwen2RMSNorm
    ),
    qwen3.Qwen3ForCausalLM: _Classes(
        qwen3.Qwen3DecoderLayer, qwen3.Qwen3Attention, qwen3.Qwen3MLP, qwen3.Qwen3RMSNorm
    ),
}
# Rotary tables of these kinds depend on the position alone, not on the length of what is read.
STATIC_ROTARY = {"default", "linear", "llama3", "yarn"}


def is_llama_family(model: PreTrainedModel) -> bool:
    """Whether every module of ``model`` is exactly one that `LlamaFamilyBackend` computes.

    Subclasses, adapters (LoRA), quantised or hooked modules and models split over devices are not: for them the
    model's own ``forward`` is run.
    """
    classes = KNOWN.get(type(model))
    if classes is None or any(_has_hooks(module) for module in model.modules()):
        return False
    if len({parameter.device for parameter in model.parameters()}) != 1:
        return False
    decoder = model.model
    return (
        decoder.rotary_emb.rope_type in STATIC_ROTARY
        and type(decoder.norm) is classes.norm
        and all(_is_known_layer(layer, classes) for layer in decoder.layers)
    )


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _is_known_layer(layer: nn.Module, classes: _Classes) -> bool:
    if type(layer) is not classes.layer or type(layer.self_attn) is not classes.attention:
        return False
    if type(layer.mlp) is not classes.mlp or not isinstance(layer.mlp.act_fn, nn.SiLU | type(_silu())):
        return False
    attention, mlp = layer.self_attn, layer.mlp
    norms = [layer.input_layernorm, layer.post_attention_layernorm]
    norms += [getattr(attention, name) for name in ("q_norm", "k_norm") if hasattr(attention, name)]
    linears = [getattr(attention, f"{name}_proj") for name in "qkvo"]
    linears += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    return all(type(norm) is classes.norm for norm in norms) and all(type(one) is nn.Linear for one in linears)


def _silu() -> nn.Module:
    from transformers.activations import ACT2FN

    module: nn.Module = ACT2FN["silu"]
    return module
