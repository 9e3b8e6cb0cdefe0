"""A tiny random model of every causal language model type that the installed `transformers` knows.

The default configuration of a type is shrunk by the names of its fields; `EXCEPTIONS` holds what names cannot tell,
`NOT_BUILT` the types without a tiny model, each with its reason.
"""

import re
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 320
HIDDEN = 32
WINDOW = 8
POSITIONS = 128
ORIGINAL_POSITIONS = 32

# The first pattern that is the whole name of a field decides.
SHRUNK: list[tuple[str, int]] = [
    (r"(decoder_)?vocab_size(_per_layer_input)?|unpadded_vocab_size", VOCABULARY),
    (r"kv_lora_rank", 12),
    (r"hidden_size_per_layer_input|.*lora_rank|.*rank", 8),
    (r"hidden_size|d_model|n_embd|emb_dim|embedding_dim|embedding_size|word_embed_proj_dim|lru_width", HIDDEN),
    (r"num_(de|en)coder_layers|(de|en)coder_layers|num_hidden_layers|n_layers?|num_layers|num_blocks", 2),
    (r"(num_)?(de|en)coder_attention_heads|(num_)?attention_heads|num_heads|n_heads?|swa_num_attention_heads", 4),
    (r"num_(de|en)coder_attention_heads|index_n_heads", 4),
    (r"(swa_)?num_key_value_heads|num_kv_heads|kv_n_heads|num_global_key_value_heads", 2),
    (r"linear_num_heads|n_groups", 4),
    (r"qk_head_dim", 16),
    (r"index_head_dim", 16),
    (r".*head_dim|d_head|dim_head|kv_channels|rotary_dim|head_size", 8),
    (r"(max_)?(n_)?positions|max_position_embeddings|max_seq_len|n_ctx|max_(source|target)_positions", POSITIONS),
    (r"original_max_position_embeddings|floor_scale|log_scaling_n_floor", ORIGINAL_POSITIONS),
    (r"sliding_window|attention_window_size|local_attention|attention_chunk_size", WINDOW),
    (r".*intermediate_size|.*intermediate_size_mlp|.*ffn_dim|n_inner|dff|dim_ff|d_inner|.*ffn_hidden_size", 48),
    (r"num_experts|n_routed_experts|num_local_experts|moe_num_experts|zero_expert_num", 4),
    (r"num_experts_per_tok(en)?|moe_topk|moe_top_k|moe_k|top_k_experts|index_topk", 2),
    (r"n_shared_experts|n_group|num_expert_group|topk_group|num_shared_experts", 1),
    (r"linear_num_(key|value)_heads|mamba_n_heads|mamba_num_heads", 4),
    (r"mamba_d_state|ssm_state_size|state_size|mamba_d_head", 16),
]
# Factors that are 1 or off by default and hide a mistake in how embeddings are scaled.
TELLING: dict[str, Any] = {
    "embedding_multiplier": 3.0,
    "logits_scaling": 4.0,
    "scale_embedding": True,
    "is_decoder": True,
}
HYBRID = {"layer_types": ["linear_attention", "full_attention"]}
EXCEPTIONS: dict[str, dict[str, Any]] = {
    "bailing_hybrid": {"linear_head_dim": 8},
    "bamba": {"attn_layer_indices": [1]},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}},
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    # With 2 kept positions its indexer ties: several scores are 0, and which one is taken depends on the length.
    "dots3_note_text": {
        "index_topk": 16,
        "head_dim": 16,
        "shared_experts_intermediate_size": 48,
        "per_layer_config": {},
    },
    "electra": {"embedding_size": 16},
    "falcon_h1": {"mamba_d_ssm": 32},
    "gemma3n_text": {
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "intermediate_size": 48,
        "activation_sparsity_pattern": [0.95, 0.0, 0.0, 0.0],
    },
    "gemma4_text": {"per_layer_config": {"1": {"head_dim": 16}}},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": WINDOW},
    "granitemoehybrid": HYBRID,
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {"linear_head_dim": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8},
    "nemotron": {"num_key_value_heads": 2},
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
    },
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 16},
    "reformer": {"is_decoder": True, "attn_layers": ["local", "lsh"], "axial_pos_embds_dim": [16, 16]},
    "roc_bert": {"pronunciation_embed_dim": 8, "shape_embed_dim": 8, "shape_vocab_size": 16},
    "xlstm": {"num_heads": 4, "qk_dim_factor": 1.0},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid", "hybrid"], "num_hidden_layers": 3},
}
NOT_BUILT: dict[str, str] = {
    "blt": "reads bytes through a patcher model of its own and has no embedding of a token",
    "dots3_note": "a composite of vision, audio and text whose parts check each other's sizes; see dots3_note_text",
    "gemma3n": "its vision tower needs the package timm; see gemma3n_text",
    "gemma4_assistant": "drafts tokens for another model and reads that model's states and cache",
    "gemma4_unified_assistant": "drafts tokens for another model and reads that model's states and cache",
    "musicgen": "the mapping names the decoder of music codes, whose configuration is a part of this one",
    "musicgen_melody": "the mapping names the decoder of music codes, whose configuration is a part of this one",
}
REFUSED: dict[str, list[str]] = {
    # What the refusal at load says, and of which types.
    "has layers of kind": [
        "axk2",
        "bailing_hybrid",
        "bamba",
        "deepseek_v32",
        "deepseek_v4",
        "dots3_note_text",
        "falcon_h1",
        "falcon_mamba",
        "glm_moe_dsa",
        "granitemoehybrid",
        "hy_v4",
        "inkling2_text",
        "inkling_text",
        "jamba",
        "kimi_linear",
        "lfm2_moe",
        "lfm3",
        "llama4",
        "llama4_text",
        "mamba",
        "mamba2",
        "minimax",
        "nemotron_h",
        "olmo_hybrid",
        "qwen3_5",
        "qwen3_5_moe",
        "qwen3_5_moe_text",
        "qwen3_5_text",
        "qwen3_next",
        "qwen4_exp",
        "qwen4_exp_text",
        "recurrent_gemma",
        "zamba",
        "zamba2",
        "zaya",
    ],
    "does not take": [
        "bart",
        "bigbird_pegasus",
        "blenderbot",
        "blenderbot-small",
        "bloom",
        "cpmant",
        "marian",
        "mbart",
        "modernbert-decoder",
        "mpt",
        "mvp",
        "openai-gpt",
        "pegasus",
        "plbart",
        "prophetnet",
        "reformer",
        "roformer",
        "rwkv",
        "trocr",
        "xlm",
        "xlnet",
        "xlstm",
    ],
    # A head of several modules.
    "computes other logits": [
        "bert",
        "big_bird",
        "camembert",
        "data2vec-text",
        "ernie",
        "gpt_neo",
        "megatron-bert",
        "moshi",
        "roberta",
        "roberta-prelayernorm",
        "roc_bert",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    ],
    "input embeddings of size": ["electra", "rembert"],
    "hidden_size_per_layer_input": ["gemma3n_text", "gemma4", "gemma4_text"],
    "cross_attention_layers": ["mllama"],
    "max_position_embeddings": ["whisper"],
}

REFUSED_TOO: dict[str, list[str]] = {
    # What the engine recurrent says of those of `REFUSED` that it does not run either.
    "computes other logits": [
        "bamba",
        "bert",
        "big_bird",
        "camembert",
        "data2vec-text",
        "ernie",
        "hy_v4",
        "megatron-bert",
        "moshi",
        "mvp",
        "prophetnet",
        "roberta",
        "roberta-prelayernorm",
        "roc_bert",
        "roformer",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    ],
    "cannot read a few tokens": [
        "deepseek_v4",
        "xlstm",
    ],
    "max_position_embeddings": [
        "bloom",
        "mpt",
        "recurrent_gemma",
        "whisper",
    ],
    "no cache from outside": [
        "cpmant",
        "modernbert-decoder",
        "openai-gpt",
        "reformer",
        "rwkv",
        "xlm",
        "xlnet",
    ],
    "input embeddings of size": [
        "electra",
        "rembert",
    ],
    "hidden_size_per_layer_input": [
        "gemma3n_text",
        "gemma4",
        "gemma4_text",
    ],
    "cross_attention_layers": [
        "mllama",
    ],
}


def model_types() -> list[str]:
    """Every type with a causal language model, those of `NOT_BUILT` included."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def tiny_config(model_type: str) -> PreTrainedConfig:
    """A shrunk configuration of the type."""
    config_class = CONFIG_MAPPING[model_type]
    changes = _changes(config_class().to_dict()) | EXCEPTIONS.get(model_type, {})
    if "text_config" in changes:
        changes["text_config"] |= EXCEPTIONS.get(changes["text_config"]["model_type"], {})
    return config_class(**changes)


def tiny_model(model_type: str) -> PreTrainedModel:
    """A random model of the type: the same one every time, float32, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_config(tiny_config(model_type), dtype=torch.float32)
        for parameter in model.parameters():
            # Larger than the usual initialisation: a wrong input changes the scores clearly.
            torch.nn.init.normal_(parameter, mean=float(parameter.ndim < 2), std=0.2)
    return model.eval()


def _changes(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a configuration, and of those inside it, that have to shrink."""
    changes: dict[str, Any] = {}
    latent_keys = fields.get("kv_lora_rank") is not None  # one key head a query head
    kept = _kept_layers(fields)
    for name, value in fields.items():
        if name == "per_layer_config":
            continue
        if isinstance(value, dict) and "model_type" in value:
            changes[name] = _changes(value) | {"model_type": value["model_type"]}
        elif name == "rope_parameters" and isinstance(value, dict):
            changes[name] = _shrunk_rope(value)
        elif _is_per_layer(value, fields):
            changes[name] = [value[number] for number in kept]
        elif name.endswith("token_id") or name.endswith("token_index"):
            changes[name] = _small_ids(value)
        elif name in TELLING:
            changes[name] = TELLING[name]
        elif name == "head_dim" and value is None:
            changes[name] = HIDDEN // 4
        elif isinstance(value, int) and not isinstance(value, bool):
            size = next((size for pattern, size in SHRUNK if re.fullmatch(pattern, name)), value)
            changes[name] = min(size, value)
            if size == 2 and "layers" in name and kept:
                changes[name] = len(kept)
            if latent_keys and name == "num_key_value_heads":
                changes[name] = min(4, value)
    return {name: value for name, value in changes.items() if value != fields[name]}


def _is_per_layer(value: Any, fields: dict[str, Any]) -> bool:
    return isinstance(value, list) and len(value) > 1 and len(value) == fields.get("num_hidden_layers")


def _kept_layers(fields: dict[str, Any]) -> list[int]:
    """The first layer of every kind, at least two; empty where the layers are all of one kind."""
    lists = [value for value in fields.values() if _is_per_layer(value, fields)]
    kinds: dict[str, int] = {}
    for number, kind in enumerate(zip(*lists, strict=True)):
        kinds.setdefault(repr(kind), number)
    kept = sorted(kinds.values())[:4]
    return kept if len(kept) != 1 else [0, 1]


def _small_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_small_ids(one) for one in value]
    return value if value is None or value < VOCABULARY else value % 200 + 100


def _shrunk_rope(parameters: dict[str, Any]) -> dict[str, Any]:
    shrunk = dict(parameters)
    for name, value in parameters.items():
        if isinstance(value, dict):
            shrunk[name] = _shrunk_rope(value)
        elif name == "original_max_position_embeddings":
            shrunk[name] = ORIGINAL_POSITIONS
    return shrunk
