"""A Perceiver resampler: learned queries that compress a whole message into a few latents."""

import dataclasses
import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from interlat.connectors.adapter import sinusoidal_code
from interlat.connectors.module_file import StoredModule
from interlat.errors import InputError

FALL = 4.0
"""Initial rate at which attention falls with a latent's distance from the query's own. A neighbour gets a 16th."""
LOWEST = torch.finfo(torch.float32).min


@dataclasses.dataclass(frozen=True)
class ResamplerConfig:
    """Shape of a resampler."""

    size: int
    """Size of the latents, in and out."""
    queries: int = 8
    """Largest number of latents that it gives."""
    heads: int = 4
    """Attention heads; must divide ``size``."""
    latent_steps: tuple[int, ...] = (8,)
    """Numbers of latents in training."""
    sender_fingerprint: str = ""
    """Fingerprint of the weights of the sender whose messages it compresses."""
    receiver_fingerprint: str = ""
    """Fingerprint of the weights of the receiver that it was trained for."""

    def __post_init__(self) -> None:
        if min(self.size, self.queries, self.heads) < 1 or self.size % self.heads:
            raise InputError(f"size {self.size}, queries {self.queries}, heads {self.heads}: heads must divide size")


class Resampler(StoredModule):
    """``y = A x``, ``out = y + W2 GELU(W1 LN(y))``: K latents, each a weighted mean of all latents x of a message.

    ``A = softmax((Q LN(q_k)) (K (LN(x_j) + c_j))^T / sqrt(d) - s ln(1 + |k - j|))`` for each head, with learned queries
    q_k, the positional code c_j of latent j in the message, and a learned rate s at which attention falls with the
    distance from latent k. The maps of values and outputs start as the identity, Q and W2 as zero, so output k starts
    close to latent k, which a receiver can read. A receiver cannot read means of all latents, and training that starts
    from them learns nothing (docs/log.md). The resampler always computes in float32. It is a Perceiver resampler of one
    layer, as in Flamingo (arXiv 2204.14198).
    """

    FILE = "resampler.safetensors"
    FORMAT = "interlat-resampler"
    KIND = "a resampler"
    MISSING = f"holds no resampler ({FILE} is missing); train one with `interlat compress`"
    CONFIG = ResamplerConfig
    config: ResamplerConfig

    def __init__(self, config: ResamplerConfig) -> None:
        super().__init__()
        size = config.size
        self.config = config
        self.queries = nn.Parameter(torch.zeros(config.queries, size))
        self.fall = nn.Parameter(torch.zeros(config.heads))
        self.query_norm = nn.LayerNorm(size)
        self.row_norm = nn.LayerNorm(size)
        self.query_map = nn.Linear(size, size)
        self.key_map = nn.Linear(size, size)
        self.value_map = nn.Linear(size, size)
        self.output_map = nn.Linear(size, size)
        self.inner_norm = nn.LayerNorm(size)
        self.expand = nn.Linear(size, 2 * size)
        self.contract = nn.Linear(2 * size, size)

    @torch.no_grad()
    def begin(self, seed: int) -> None:
        """Initialise the parameters."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            nn.init.normal_(self.queries)
            for linear in (self.key_map, self.expand):
                linear.reset_parameters()
        self.fall.fill_(FALL)
        for linear in (self.value_map, self.output_map):
            nn.init.eye_(linear.weight)
            nn.init.zeros_(linear.bias)
        for linear in (self.query_map, self.contract):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self, hidden_states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"], latent_steps: int
    ) -> Float[Tensor, "B K D"]:
        """The first K latents of the compressed messages, float32.

        Raises:
            InputError: K is below 1 or above the number of queries, or the latents have another size.
        """
        config = self.config
        if not 1 <= latent_steps <= config.queries:
            raise InputError(f"{latent_steps} rows asked of a resampler of {config.queries}; ask for 1 to as many")
        if hidden_states.shape[-1] != config.size:
            raise InputError(
                f"the message rows have size {hidden_states.shape[-1]}, expected {config.size}; give states of the "
                "sender trained with"
            )
        with torch.autocast(hidden_states.device.type, enabled=False):
            rows = hidden_states.float().masked_fill(~mask.unsqueeze(-1), 0.0)
            keys = self.key_map(self.row_norm(rows) + sinusoidal_code(mask, config.size))
            queries = self.query_map(self.query_norm(self.queries[:latent_steps])).expand(len(rows), -1, -1)
            parts = [self._by_head(part) for part in (queries, keys, self.value_map(rows))]
            scores = parts[0] @ parts[1].transpose(-1, -2) / math.sqrt(config.size // config.heads)
            index = (mask.long().cumsum(dim=1) - 1)[:, None, None, :]
            own = torch.arange(latent_steps, device=mask.device)[:, None]
            scores = scores - self.fall[:, None, None] * (index - own).abs().float().log1p()
            weights = scores.masked_fill(~mask[:, None, None, :], LOWEST).softmax(dim=-1)
            means = self.output_map((weights @ parts[2]).transpose(1, 2).flatten(start_dim=2))
            summed: Tensor = means + self.contract(functional.gelu(self.expand(self.inner_norm(means))))
        return summed

    def _by_head(self, rows: Float[Tensor, "B N D"]) -> Float[Tensor, "B H N d"]:
        return rows.unflatten(-1, (self.config.heads, -1)).transpose(1, 2)
