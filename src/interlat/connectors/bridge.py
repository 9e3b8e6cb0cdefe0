"""The bridge of a compressed sender: it maps a latent to the next input, and the latents to the message."""

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interlat.connectors.base import Connector, StateMap
from interlat.connectors.module_file import StoredModule
from interlat.engine.cache import KVCache
from interlat.engine.prompt import Latents, Prompt, whole
from interlat.engine.protocol import Engine
from interlat.errors import InputError
from interlat.states import Norm, StateAt
from interlat.typed import check_range


@dataclasses.dataclass(frozen=True)
class BridgeConfig:
    """Shape of a bridge, and the states that its messages imitate."""

    hidden_size: int
    """Hidden size of the compressed sender's model."""
    message_size: int
    """Size of a message's latents: the size of the states that the receiver was trained to read."""
    project: bool = False
    """Map the latents to the space of the message. Needed if the model does not start as the sender whose states the
    receiver knows: the two spaces have nothing in common, even if their sizes are equal."""
    latent_steps: tuple[int, ...] = (8,)
    """Numbers of latent steps in training. The largest is the default, and others work too."""
    sender: str = ""
    """Name of the sender whose states the message imitates."""
    sender_fingerprint: str = ""
    """Fingerprint of that sender's weights."""
    layer: int = -1
    """Layer of those states."""
    norm: Norm = "post"
    """Whether those states were taken after ("post") or before ("pre") the final norm."""
    state_at: StateAt = "before_token"
    """Which state belongs to which token, as in `Header`."""
    receiver_fingerprint: str = ""
    """Fingerprint of the weights of the receiver that it was trained for."""

    def __post_init__(self) -> None:
        check_range(self, "[1, inf)", "hidden_size", "message_size", "latent_steps", owner="bridge")
        if not self.project and self.hidden_size != self.message_size:
            raise InputError(
                f"the latents have size {self.hidden_size} and the message rows {self.message_size}; set project"
            )
        if not self.latent_steps:
            raise InputError("a bridge was trained for no latent_steps; name at least one length")


class Bridge(StateMap, StoredModule):
    """``e_1 = s``, ``e_{k+1} = W LN(z_k)`` are the inputs of the latent steps, ``P z_1 ... P z_K`` is the message.

    z_k is the model's last state (after the final norm) at the k-th step, s a learned start vector, P the identity
    unless `BridgeConfig.project`. Source: Interlat (arXiv 2511.09149), its compression stage, with these differences:
    W starts as the multiple of the identity that gives its output the norm of a token embedding, and s starts with that
    norm too. So the untrained steps are, except for the mean of z_k, those of `NormMatchedIdentity`. P is new. The
    bridge always computes in float32.
    """

    FILE = "bridge.safetensors"
    FORMAT = "interlat-bridge"
    KIND = "a bridge"
    MISSING = f"is no compressed sender ({FILE} is missing); train one with `interlat compress`"
    CONFIG = BridgeConfig
    config: BridgeConfig

    def __init__(self, config: BridgeConfig) -> None:
        super().__init__()
        self.config = config
        size = self.source_size = self.target_size = config.hidden_size
        self.start = nn.Parameter(torch.zeros(size))
        self.norm = nn.LayerNorm(size)
        self.linear = nn.Linear(size, size, bias=False)
        self.projector = nn.Linear(size, config.message_size) if config.project else None

    @torch.no_grad()
    def begin(self, embeddings: Float[Tensor, "V D"], seed: int) -> None:
        """Initialise the parameters.

        Args:
            embeddings: input embeddings of the compressed sender's model.
            seed: seed of the start vector.
        """
        table = embeddings.detach().float().cpu()
        norm = table.norm(dim=-1).mean()
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(self.source_size, generator=generator)
        self.start.copy_(start * norm / start.norm())
        self.linear.weight.copy_(torch.eye(self.source_size) * norm / self.source_size**0.5)

    def map_states(self, hidden_states: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        """The inputs that follow some latents, float32."""
        following: Tensor = self.linear(self.norm(hidden_states.float()))
        return following

    def message(self, latents: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D_message"]:
        """The message of some latents, float32."""
        if self.projector is None:
            return latents.float()
        with torch.autocast(latents.device.type, enabled=False):
            rows: Tensor = self.projector(latents.float())
        return rows


def think_over(
    engine: Engine, connector: Connector, prompts: Sequence[Prompt | str], latent_steps: int
) -> tuple[KVCache, Float[Tensor, "B K D_message"]]:
    """Take latent steps after some prompts as one batch: a compressed sender with its bridge, or any other model.

    The start vector of a bridge is read together with the prompt, so its K latents take one prefill and K - 1 steps.

    Args:
        engine: runs the model.
        connector: the model's bridge, or another map from a state to the next input, on the same device.
        prompts: B prompts.
        latent_steps: K, at least 1. It may differ from the numbers in training.

    Returns:
        The KV cache of prompts and steps, and the message: float32 latents of a bridge, otherwise the states.

    Raises:
        InputError: K is below 1, or the bridge is of a model of another size.
        PromptError: a prompt is empty or does not fit into the context.
    """
    cache, latents = finish_thought(
        engine, connector, begin_thought(engine, connector, prompts, latent_steps), latent_steps
    )
    with torch.no_grad():
        return cache, connector.message(latents) if isinstance(connector, Bridge) else latents


def begin_thought(engine: Engine, connector: Connector, prompts: Sequence[Prompt | str], latent_steps: int) -> KVCache:
    """The first half of `think_over`: read the prompts and the start vector of a bridge, and preallocate the steps.

    With a bridge the states of the cache are z_1.
    """
    if latent_steps < 1:
        raise InputError(f"latent_steps is {latent_steps}; a message has at least 1 row")
    if not isinstance(connector, Bridge):
        return engine.prefill(prompts, spare=latent_steps)
    if connector.source_size != engine.hidden_size:
        raise InputError(
            f"the bridge is of a model of size {connector.source_size} and {engine.name} has {engine.hidden_size}; "
            "load the bridge that was trained with this model"
        )
    start = Latents(connector.start.detach()[None])
    return engine.prefill([[*whole(prompt, engine.tokenizer), start] for prompt in prompts], spare=latent_steps - 1)


def finish_thought(
    engine: Engine, connector: Connector, cache: KVCache, latent_steps: int
) -> tuple[KVCache, Float[Tensor, "B K D"]]:
    """The second half of `think_over`: the remaining steps. `Bridge.message` makes the message from their states."""
    if not isinstance(connector, Bridge):
        return engine.think(cache, latent_steps, connector)
    first = cache.hidden_states[:, None]
    cache, others = engine.think(cache, latent_steps - 1, connector)
    return cache, torch.cat([first, others], dim=1)
