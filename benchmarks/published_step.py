"""The actor's training step in its published shape (Interlat, arXiv 2511.09149): padded, with the logits of everything.

As published: every sample is right-padded to one length; the whole model runs over the batch three times with labels,
so that each pass has the logits of all positions and a cross-entropy; the three logits live until the loss is known;
messages pass the adapter one by one. Put right, so that the values can be compared: row n of each pass predicts the
same token (published: one position off), the Jensen-Shannon divergence is the true one (published: its arguments
reversed), the cosine is that of each position, and the weights of the losses follow each sample without a gradient.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from interlat.errors import BenchmarkError
from interlat.training.branches import Branch
from interlat.training.examples import IGNORED, Example, Message, Mixed

MARGIN = 0.69
ALIGNMENT_SCALE = 4.0
KL_SHARE = 0.7


def published_step(
    model: PreTrainedModel, adapter: nn.Module, branches: Sequence[Branch], padded: int
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """``L_CE + mean_i (w_S L_sep + w_A L_align)`` over the samples i, with gradients through the own pass only.

    ``w_S = 0.01 + 0.49 min(1, L_sep / 0.69)``, ``w_A = 0.01 + 0.04 min(1, L_align / 4)``.

    Args:
        model: a causal language model.
        adapter: maps ``[1, K, D]`` to ``[1, K, D]``.
        branches: samples with a latent own message, another one, and the plan in words.
        padded: T, positions of every sample.

    Returns:
        The loss, and the unweighted losses by name: task, contrastive, plan_distillation.

    Raises:
        BenchmarkError: a sample is longer than ``padded``.
    """
    examples = [branch.example for branch in branches]
    with torch.no_grad():
        plan, plan_places = _pass(model, adapter, examples, [branch.plan for branch in branches], padded)
        other, other_places = _pass(model, adapter, examples, [branch.other for branch in branches], padded)
    own, places = _pass(model, adapter, examples, [branch.own for branch in branches], padded)
    assert own.loss is not None and own.logits is not None and other.logits is not None and plan.logits is not None
    counts = torch.bincount(places[0]).tolist()
    rows = (own.logits[places], other.logits[other_places], plan.logits[plan_places])
    pairs = [
        _separation_and_alignment(*(logits.log_softmax(dim=-1) for logits in sample))
        for sample in zip(*(branch.split(counts) for branch in rows), strict=True)
    ]
    separation, alignment = (torch.stack(losses) for losses in zip(*pairs, strict=True))
    w_separation = 0.01 + 0.49 * (separation.detach() / MARGIN).clamp_max(1)
    w_alignment = 0.01 + 0.04 * (alignment.detach() / ALIGNMENT_SCALE).clamp_max(1)
    total = own.loss + (w_separation * separation).mean() + (w_alignment * alignment).mean()
    losses = {"task": own.loss, "contrastive": separation.mean(), "plan_distillation": alignment.mean()}
    return total, {name: loss.detach() for name, loss in losses.items()}


def _pass(
    model: PreTrainedModel, adapter: nn.Module, examples: Sequence[Example], messages: Sequence[Message], padded: int
) -> tuple[CausalLMOutputWithPast, tuple[Tensor, Tensor]]:
    """The model's output over a padded batch, and (sample, position) of the logits that predict supervised tokens."""
    rows, masks, labels = [], [], []
    for example, message in zip(examples, messages, strict=True):
        parts = [_embed(model, example.before), _embed_message(model, adapter, message), _embed(model, example.after)]
        sample = torch.cat(parts)
        missing = padded - len(sample)
        if missing < 0:
            raise BenchmarkError(f"a sample has {len(sample)} positions, expected {padded} at most; raise the padding")
        unlabelled = len(sample) - len(example.labels)
        rows.append(functional.pad(sample, (0, 0, 0, missing)))
        masks.append([1] * len(sample) + [0] * missing)
        labels.append([IGNORED] * unlabelled + list(example.labels) + [IGNORED] * missing)
    device = rows[0].device
    targets = torch.tensor(labels, device=device)
    output = model(
        inputs_embeds=torch.stack(rows),
        attention_mask=torch.tensor(masks, device=device),
        labels=targets,
        use_cache=False,
    )
    samples, positions = (targets != IGNORED).nonzero(as_tuple=True)
    return output, (samples, positions - 1)


def _embed(model: PreTrainedModel, ids: Sequence[int]) -> Float[Tensor, "T D"]:
    table = model.get_input_embeddings()
    embedded: Tensor = table(torch.tensor(ids, dtype=torch.long, device=model.device))
    return embedded


def _embed_message(model: PreTrainedModel, adapter: nn.Module, message: Message) -> Float[Tensor, "K D"]:
    if not isinstance(message, Mixed):
        assert message is not None and not isinstance(message, Tensor), "the plan pass reads token ids"
        return _embed(model, message)
    latent: Tensor = adapter(message.rows.to(model.device).unsqueeze(0))[0, : message.taken]
    return torch.cat([latent, _embed(model, message.words)])


def _separation_and_alignment(
    log_p: Float[Tensor, "N V"], log_q: Float[Tensor, "N V"], log_plan: Float[Tensor, "N V"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """``max(0, 0.69 - JS(p, q))`` and ``0.7 KL(p_plan || p) + 0.3 (1 - cos(p_plan, p))`` of one sample."""
    p, q, p_plan = log_p.exp(), log_q.exp(), log_plan.exp()
    log_m = ((p + q) / 2).log()
    divergence = (p * (log_p - log_m) + q * (log_q - log_m)).sum(dim=-1) / 2
    distance = functional.kl_div(log_p, log_plan, reduction="none", log_target=True).sum(dim=-1)
    cosine = functional.cosine_similarity(p, p_plan, dim=-1)
    separation = (MARGIN - divergence.mean()).clamp_min(0)
    return separation, (KL_SHARE * distance + (1 - KL_SHARE) * (1 - cosine)).mean()
