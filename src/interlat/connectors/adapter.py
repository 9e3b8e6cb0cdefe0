"""The communication adapter of Interlat: a trained map from a sender's message to a receiver's input embeddings."""

import dataclasses
import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from interlat.connectors.base import check_states
from interlat.connectors.module_file import StoredModule
from interlat.errors import InputError
from interlat.messages import Header
from interlat.states import Norm, StateAt
from interlat.typed import check_choices, check_range

Positions = Literal["none", "sinusoidal"]

NORM_EPSILON = 1e-6
LOWEST = torch.finfo(torch.float32).min


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """Shape of an adapter, and the messages that it was trained to read."""

    source_size: int
    """Size of the sender's latents."""
    target_size: int
    """Hidden size of the receiver's input embeddings."""
    heads: int = 8
    """Attention heads; must divide ``target_size``."""
    dropout: float = 0.1
    """Dropout on the attention weights, in training mode only."""
    project_input: bool = False
    """Project the latents first, even if both sizes are equal (published: only if they differ). Two models that were
    trained separately have no common basis. `align` writes the map between them into this projection."""
    positions: Positions = "none"
    """Positional code on the latents. "none" (as published): the adapter commutes with any permutation of the latents,
    and their order enters only through the receiver's own positions."""
    input_scale: float = 0.2
    """Initial value of the learnable scale in front of the projection (published: 0.2)."""
    output_scale: float = 0.1
    """Initial value of the learnable scale of the output (published: 0.1). `calibrate` sets it from data."""
    bop_token: str = "<bop>"
    """Token that opens a message in the receiver's prompt."""
    eop_token: str = "<eop>"
    """Token that closes a message in the receiver's prompt."""
    layer: int = -1
    """Layer of the sender whose states it was trained on. -1 is the last one."""
    norm: Norm = "post"
    """Whether the states were taken after ("post") or before ("pre") the final norm."""
    state_at: StateAt = "before_token"
    """Latent t is the state that predicted token t ("before_token") or that had just read it ("after_token")."""
    sender: str = ""
    """Name of the sender's model, for error messages."""
    sender_fingerprints: tuple[str, ...] = ()
    """Fingerprints of the weights of the senders that it was trained on. Empty accepts any sender of the right size."""
    sender_tokenizer_fingerprint: str = ""
    """Fingerprint of those senders' tokenizer. Empty accepts any."""
    max_rows: int | None = None
    """Length of the longest message in training. A longer message is refused. None means no limit."""

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "source_size", "target_size", "heads", "max_rows", owner="adapter")
        check_range(self, "[0, 1)", "dropout", owner="adapter")
        check_choices(self, "positions", "norm", "state_at", owner="adapter")
        if self.target_size % self.heads:
            raise InputError(
                f"adapter heads is {self.heads}, expected a divisor of target_size {self.target_size}; "
                "choose another number of heads"
            )

    def check(self, header: Header, name: str = "the message") -> None:
        """Check, before the body is used, that a receiver with this adapter was trained to read a message.

        Args:
            header: header of the message.
            name: name of the message in the error.

        Raises:
            MessageError: the message does not fit. The error names all misfits in one sentence.
        """
        check_states(
            self,
            header,
            f"{name} does not fit this receiver",
            "let the sender that the receiver was trained with write it, or load the receiver of this sender",
        )


class AdaptiveProjection(nn.Module):
    """``r = s_in * x;  out = s_out * (r + W2 LN(GELU(W1 r + b1)) + b2)`` with learnable scalars s_in, s_out.

    Source: Interlat (arXiv 2511.09149), released code. The scales have shape [1], not [], since sharded
    training cannot split a tensor without a dimension.
    """

    def __init__(self, size: int, input_scale: float, output_scale: float) -> None:
        super().__init__()
        self.expand = nn.Linear(size, size)
        self.norm = nn.LayerNorm(size)
        self.contract = nn.Linear(size, size)
        self.input_scale = nn.Parameter(torch.tensor([input_scale]))
        self.output_scale = nn.Parameter(torch.tensor([output_scale]))
        nn.init.normal_(self.expand.weight, std=0.02)
        nn.init.zeros_(self.expand.bias)
        nn.init.xavier_uniform_(self.contract.weight, gain=0.01)
        nn.init.zeros_(self.contract.bias)

    def forward(self, rows: Float[Tensor, "B K D"]) -> Float[Tensor, "B K D"]:
        """The projected latents, float32."""
        scaled = self.input_scale * rows
        return self.output_scale * (scaled + self.contract(self.norm(functional.gelu(self.expand(scaled)))))


class MessageAttention(nn.Module):
    """Multi-head self-attention from all latents to all real latents of a message, without causality or positions."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.queries_keys_values = nn.Linear(size, 3 * size)
        self.output = nn.Linear(size, size)
        nn.init.xavier_uniform_(self.queries_keys_values.weight, gain=1 / math.sqrt(3))
        nn.init.zeros_(self.queries_keys_values.bias)
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, rows: Float[Tensor, "B K D"], mask: Bool[Tensor, "B K"]) -> Float[Tensor, "B K D"]:
        """Attention output, float32. ``mask`` is False for padding."""
        batch, count, size = rows.shape
        packed = self.queries_keys_values(rows).view(batch, count, 3, self.heads, size // self.heads)
        queries, keys, values = packed.permute(2, 0, 3, 1, 4)
        # A finite lowest value and not -inf: in a message of padding only, -inf gives NaN gradients.
        scores = queries @ keys.transpose(-1, -2) / math.sqrt(size // self.heads)
        weights = scores.masked_fill(~mask[:, None, None, :], LOWEST).softmax(dim=-1)
        weights = functional.dropout(weights, self.dropout, training=self.training)
        return self.output((weights @ values).transpose(1, 2).reshape(batch, count, size))


def sinusoidal_code(mask: Bool[Tensor, "B K"], size: int) -> Float[Tensor, "B K D"]:
    """Sines and cosines of the index of each real latent among the real latents of its message.

    ``code[2i] = sin(t / 10000^(2i/D))``, ``code[2i+1] = cos(...)`` (Vaswani et al., 2017). Padding is not counted, so
    the code does not depend on the side or the amount of padding.
    """
    index = (mask.long().cumsum(dim=1) - 1).clamp_min(0).float()
    even = torch.arange(0, size, 2, device=mask.device, dtype=torch.float32)
    angles = index.unsqueeze(-1) * torch.exp(even * (-math.log(10_000.0) / size))
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(start_dim=-2)[..., :size]


class CommunicationAdapter(StoredModule):
    """Maps latents ``[B, K, D_source]`` to embeddings ``[B, K, D_target]`` for the receiver's prompt.

    ``x = project(h)`` (if the sizes differ or ``project_input``); ``n = LN(x) (+ positions)``;
    ``o = LN(n + attention(n))``; ``z = s_out * (r + W2 LN(GELU(W1 r)))`` with ``r = s_in * o``.
    Layer norm epsilons 1e-6, 1e-6 and 1e-5.
    Source: Interlat (arXiv 2511.09149), section 3 and the released code, with these differences: padding is masked,
    parameters and arithmetic are always float32 (bfloat16 steps are too coarse for the scalars and norms to learn at
    all), and dropout is off in eval mode.
    """

    FILE = "adapter.safetensors"
    FORMAT = "interlat-adapter"
    KIND = "an adapter"
    MISSING = (
        f"is a checkpoint without an adapter ({FILE} is missing), expected a trained receiver; train one, or give this "
        "model text messages"
    )
    CONFIG = AdapterConfig
    config: AdapterConfig

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        size = config.target_size
        self.config = config
        self.source_size = config.source_size
        self.target_size = size
        projected = config.project_input or config.source_size != size
        self.input_projector = nn.Linear(config.source_size, size) if projected else None
        self.input_norm = nn.LayerNorm(size, eps=NORM_EPSILON)
        self.attention = MessageAttention(size, config.heads, config.dropout)
        self.attention_norm = nn.LayerNorm(size, eps=NORM_EPSILON)
        self.projection = AdaptiveProjection(size, config.input_scale, config.output_scale)

    def forward(
        self,
        hidden_states: Float[Tensor, "B K D_source"],
        mask: Bool[Tensor, "B K"] | None = None,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "B K D_target"]:
        """The input embeddings of the receiver.

        Args:
            hidden_states: latents of any floating dtype. The values of padding do not matter.
            mask: True for real latents, False for padding, which may be on either side. None if all are real.
            dtype: dtype of the result, that is, of the receiver's embeddings.

        Returns:
            Embeddings in ``dtype``, zeros where ``mask`` is False. K = 0 gives ``[B, 0, D_target]``.

        Raises:
            InputError: the shapes do not fit the adapter or each other.
        """
        if hidden_states.ndim != 3 or hidden_states.shape[-1] != self.source_size:
            raise InputError(
                f"the message rows have shape {list(hidden_states.shape)}, expected "
                f"[messages, rows, {self.source_size}]; give states of the sender trained with"
            )
        if mask is None:
            mask = torch.ones(hidden_states.shape[:2], dtype=torch.bool, device=hidden_states.device)
        elif mask.shape != hidden_states.shape[:2]:
            raise InputError(
                f"the mask has shape {list(mask.shape)}, expected {list(hidden_states.shape[:2])}; give one flag a row"
            )
        padding = ~mask.bool().unsqueeze(-1)
        with torch.autocast(hidden_states.device.type, enabled=False):
            rows = hidden_states.float().masked_fill(padding, 0.0)
            if self.input_projector is not None:
                rows = self.input_projector(rows)
            rows = self.input_norm(rows)
            if self.config.positions == "sinusoidal":
                rows = rows + sinusoidal_code(mask.bool(), self.target_size)
            rows = self.attention_norm(rows + self.attention(rows, mask.bool()))
            return self.projection(rows).masked_fill(padding, 0.0).to(dtype)

    @torch.no_grad()
    def calibrate(
        self,
        embedding_rms: float,
        hidden_states: Float[Tensor, "B K D_source"],
        mask: Bool[Tensor, "B K"] | None = None,
    ) -> float:
        """Set the output scale so that the output on sample messages is as large as token embeddings.

        ``s_out := s_out * embedding_rms / rms(output)``, with the root mean square over real latents in eval mode.
        Call it before training. Without it the published value (`AdapterConfig.output_scale`, 0.1) stays, which gives
        an RMS near 0.02.

        Args:
            embedding_rms: root mean square of the receiver's token embedding table.
            hidden_states: sample messages of the sender.
            mask: True for real latents.

        Returns:
            The new output scale.

        Raises:
            InputError: ``embedding_rms`` is not positive, or the samples give no finite, non-zero output.
        """
        if not (math.isfinite(embedding_rms) and embedding_rms > 0):
            raise InputError(f"the embedding RMS is {embedding_rms}, expected a positive number; check the receiver")
        was_training = self.training
        self.eval()
        output = self(hidden_states, mask)
        self.train(was_training)
        real = output if mask is None else output[mask.bool()]
        rms = real.double().square().mean().sqrt().item()
        if not (math.isfinite(rms) and rms > 0):
            raise InputError(
                f"the sample messages give an output RMS of {rms}, expected a positive number; "
                "calibrate on at least one real, finite message"
            )
        self.projection.output_scale.mul_(embedding_rms / rms)
        return self.projection.output_scale.item()

    @torch.no_grad()
    def largest_move(self, rows: Float[Tensor, "N D_source"], learning_rate: float) -> float:
        """How far one step of Adam can move the output of the input projection, relative to the output's size.

        Adam moves each weight by about the learning rate, whatever the size of its gradient. If all signs agree, a
        component of ``W h`` moves by ``learning_rate * |h|_1``. The result is the mean of this over the latents,
        divided by the root mean square of ``W h + b``. It grows with the width of the sender and with the size of its
        states, so a learning rate that suits one pair of models may not suit another. Near 1, one step destroys an
        aligned map.

        Raises:
            InputError: there is no input projection.
        """
        if self.input_projector is None:
            raise InputError("this adapter has no input projection; set project_input")
        made = self.input_projector(rows)
        moved = learning_rate * rows.abs().sum(dim=-1).mean()
        return (moved / made.square().mean().sqrt()).item()

    @torch.no_grad()
    def align(
        self, rows: Float[Tensor, "N D_source"], targets: Float[Tensor, "N D_target"], ridge: float = 0.01
    ) -> float:
        """Initialise the adapter with the linear map that brings latents closest to embeddings that the receiver knows.

        ``W, b := argmin sum |W h + b - t|^2 + N ridge |W|^2`` becomes the input projection, and the attention output
        starts at zero. Then ``adapter(h)`` is the normed ``W h + b`` plus a small perturbation. Call it before
        `calibrate`. The map is that of LatentMAS (arXiv 2511.20639, section 3.1). There it is solved in closed form
        from one model's own embeddings, here from pairs of latents and embeddings, so sender and receiver may differ.

        Args:
            rows: latents of the sender.
            targets: for each latent the input embedding that the receiver should get.
            ridge: weight of the penalty, relative to the number of latents. The offset is not penalised.

        Returns:
            The fraction of the variance of ``targets`` that the map explains on these latents.

        Raises:
            InputError: there is no input projection, the numbers of latents and targets differ, or there are not more
                latents than dimensions.
        """
        if self.input_projector is None:
            raise InputError("this adapter has no input projection to align; set project_input")
        if len(rows) != len(targets) or len(rows) <= self.source_size:
            raise InputError(
                f"the input projection is fitted to {len(rows)} message rows and {len(targets)} targets, expected as "
                f"many of both, more than the {self.source_size} dimensions of a row; collect more messages, or leave "
                "out the sender and let the projection be trained"
            )
        inputs, outputs = rows.double(), targets.double()
        centred, wanted = inputs - inputs.mean(dim=0), outputs - outputs.mean(dim=0)
        penalty = ridge * len(inputs) * torch.eye(self.source_size, dtype=torch.float64, device=rows.device)
        weight = torch.linalg.solve(centred.T @ centred + penalty, centred.T @ wanted).T
        self.input_projector.weight.copy_(weight)
        self.input_projector.bias.copy_(outputs.mean(dim=0) - weight @ inputs.mean(dim=0))
        self.attention.output.weight.zero_()
        self.attention.output.bias.zero_()
        return 1.0 - ((centred @ weight.T - wanted).square().sum() / wanted.square().sum()).item()
