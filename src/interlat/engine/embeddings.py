"""What a model reads for a token, and what it says of the next one: both ends of the decoder, as the model has them."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel


@torch.no_grad()
def input_embeddings(model: PreTrainedModel, ids: Int[Tensor, "N"] | None = None) -> Float[Tensor, "N D"]:
    """The rows that ``model`` accepts as ``inputs_embeds`` in the place of tokens.

    They are what the embedding module gives, not its weight: Gemma, MiniCPM3, BioGPT, XGLM and others scale inside the
    module (by ``sqrt(D)`` or a constant), so that a row of the weight is a far shorter input than the token. Falcon-H1
    scales tokens alone, behind the module. What a model does with its inputs later (Granite's multiplier) happens to
    latents too, and is in neither.

    Args:
        ids: the tokens; by default all, in order.

    Returns:
        One row a token, without gradient, in the dtype of the model. Where the module only looks rows up, all of them
        are the weight itself and not a copy: read it again after the parameters have changed, and do not write there.
    """
    module: Any = model.get_input_embeddings()
    if ids is not None:
        ids = ids.to(module.weight.device)
    factor = embedding_factor(model)
    if looks_up_only(module) and factor == 1.0:
        weight: Tensor = module.weight.detach()
        return weight if ids is None else weight[ids]
    everything = torch.arange(module.weight.shape[0], device=module.weight.device)
    rows: Tensor = module(everything if ids is None else ids) * factor
    return rows


def embedding_factor(model: PreTrainedModel) -> float:
    """What a model multiplies the embeddings of tokens with behind the module that gives them, and latents not."""
    config = model.config.get_text_config(decoder=True)
    return float(config.embedding_multiplier) if config.model_type == "falcon_h1" else 1.0


def next_token_scores(model: PreTrainedModel, hidden_states: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows V"]:
    """Scores of the next token from states after the final norm, as the model's own forward pass gives them.

    ``cap tanh(a (W h + b) / cap)``: some models scale (Cohere, Granite, MiniCPM3) or cap (Gemma) what the module behind
    ``get_output_embeddings`` gives.
    """
    scores: Tensor = model.get_output_embeddings()(hidden_states)
    if (factor := score_factor(model)) != 1.0:
        scores = scores * factor
    cap = getattr(model.config.get_text_config(decoder=True), "final_logit_softcapping", None)
    return scores if cap is None else torch.tanh(scores / cap) * cap


def score_factor(model: PreTrainedModel) -> float:
    """What a model multiplies the scores of its head with."""
    config = model.config.get_text_config(decoder=True)
    scaling: float = getattr(config, "logits_scaling", None) or 1.0
    if config.model_type == "hyperclovax":  # It multiplies with what Granite divides by.
        scaling = 1 / scaling
    factor: float = getattr(config, "logit_scale", None) or 1.0
    scaling *= getattr(config, "logits_mup_width_multiplier", None) or 1.0  # Inkling
    return factor / scaling


def looks_up_only(module: nn.Module) -> bool:
    """Whether a module gives the rows of its weight as they are: a plain embedding that nothing is hooked onto."""
    return type(module) is nn.Embedding and not has_hooks(module)


def has_hooks(module: nn.Module) -> bool:
    """Whether something runs around, or in the place of, the module's own forward pass."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))
