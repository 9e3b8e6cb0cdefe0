"""Writing a model of `transformers` as a GGUF file, by the package `gguf`: for llama.cpp, and for tests of reading."""

import json
from pathlib import Path
from typing import Any

import gguf
import torch
from transformers import PreTrainedModel


def write_gguf(
    path: Path,
    model: PreTrainedModel,
    tokenizer: Any,
    kind: str = "F32",
    extra: dict[str, Any] | None = None,
    tensors: dict[str, Any] | None = None,
) -> Path:
    """Write a Llama or Qwen 2 model with its tokenizer.

    Args:
        path: the file.
        model: Llama or Qwen 2, without scaled rotary positions.
        tokenizer: byte-level BPE. Its rules of splitting are written as GPT-2's.
        kind: number format of the matrices, by llama.cpp's name; vectors are float32.
        extra: further metadata, floats or strings.
        tensors: further tensors of float32.
    """
    config, core = model.config, tokenizer.backend_tokenizer
    architecture = config.model_type
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    for name, value in (extra or {}).items():
        (writer.add_string if isinstance(value, str) else writer.add_float32)(name, value)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    words = [word for word, _ in vocabulary]
    words += [f"<unused{number}>" for number in range(config.vocab_size - len(words))]
    special = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([3 if word in special else 1 for word in words])
    merges = json.loads(core.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) if isinstance(pair, list) else pair for pair in merges])
    writer.add_eos_token_id(tokenizer.convert_tokens_to_ids("<|im_end|>"))
    writer.add_add_bos_token(False)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA if architecture == "llama" else gguf.MODEL_ARCH.QWEN2, 99)
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        base, _, suffix = name.rpartition(".")
        weights = value.float()
        if architecture == "llama" and base.endswith(("q_proj", "k_proj")):
            heads = config.num_attention_heads if base.endswith("q_proj") else config.num_key_value_heads
            weights = weights.view(heads, 2, -1, weights.shape[1]).transpose(1, 2).reshape(weights.shape)
        form = gguf.GGMLQuantizationType[kind if weights.ndim > 1 else "F32"]
        data = gguf.quants.quantize(weights.contiguous().numpy(), form)
        writer.add_tensor(f"{names.get_name(base)}.{suffix}", data, raw_dtype=form)
    for name, value in (tensors or {}).items():
        writer.add_tensor(name, torch.as_tensor(value, dtype=torch.float32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
