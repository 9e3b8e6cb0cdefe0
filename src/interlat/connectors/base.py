"""The protocol of every connector, and how to build one by name."""

import inspect
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from interlat.config import described, did_you_mean
from interlat.connectors.registry import CONNECTORS as CONNECTORS
from interlat.connectors.registry import parse_connector
from interlat.engine.protocol import Engine
from interlat.errors import InputError, MessageError
from interlat.messages import Header
from interlat.states import Norm, StateAt


@runtime_checkable
class Connector(Protocol):
    """A map from the hidden states of a sender to the input embeddings of a receiver.

    A connector that maps each state on its own (`NormMatchedIdentity`) takes any leading shape, and a model can use it
    for latent steps. A connector that maps a whole message (`CommunicationAdapter`) takes ``[B, K, D_source]``, with
    ``mask`` if some latents are padding.
    """

    source_size: int
    """Size D_source of the hidden states that go in."""
    target_size: int
    """Size D_target of the embeddings that come out."""

    def __call__(
        self,
        hidden_states: Float[Tensor, "*rows D_source"],
        mask: Bool[Tensor, "*rows"] | None = None,
    ) -> Float[Tensor, "*rows D_target"]:
        """Embeddings for ``hidden_states``. Padding (``mask`` False) comes out as zeros."""
        ...


def build_connector(name: str, engine: Engine, **options: Any) -> Connector:
    """Build the connector of that name for the model of an engine, on its device.

    Args:
        name: a name in `CONNECTORS`.
        engine: runs the model that reads the connector's output. For identity, random, ridge, vocabulary, topk and
            bridge it is also the model whose states are mapped.
        options: options of the builder: ``seed`` for random; ``folder`` for a connector that is trained and stored
            beside a model (bridge, adapter, resampler); ``ridge``, ``temperature`` and ``k`` for the maps that have
            them.

    Raises:
        InputError: there is no such connector, or it does not fit the model.
        CheckpointError: its file is missing in ``folder``, or it is damaged.
    """
    connector: Connector = CONNECTORS[name](engine, **options)
    return connector


def connector_options(text: str) -> dict[str, Any]:
    """The options of a connector that is written on one line (`parse_connector`), as arguments of its builder.

    Raises:
        InputError: there is no such connector, its builder has no such option, or the value has the wrong type.
    """
    name, words = parse_connector(text)
    _, *parameters = inspect.signature(CONNECTORS[name], eval_str=True).parameters.values()
    hints = {one.name: Any if one.annotation is one.empty else one.annotation for one in parameters}
    options = {}
    for option, word in words.items():
        if option not in hints:
            raise InputError(
                f"connector is {text!r}, but {name} has the options {', '.join(hints) or 'none'}, not {option!r}"
                f"{did_you_mean(option, hints)}; correct it"
            )
        try:
            options[option] = TypeAdapter(hints[option]).validate_python(word)
        except ValidationError as error:
            raise InputError(
                f"connector is {text!r}, expected {described(hints[option])} as {option}; correct it"
            ) from error
    return options


def latent_connector(text: str, engine: Engine) -> Connector:
    """Build the connector for the latent steps of a model from one line (`parse_connector`).

    Raises:
        InputError: as for `connector_options`, or the connector does not map one state to one input of this model.
        CheckpointError: its file is damaged or missing.
    """
    options = connector_options(text)
    connector = build_connector(parse_connector(text)[0], engine, **options)
    size = engine.hidden_size
    state = torch.zeros(1, 1, size, dtype=engine.dtype, device=engine.device)
    sound = isinstance(connector, Connector) and connector.source_size == size
    if not sound or connector(state).shape != state.shape:
        raise InputError(
            f"connector is {text!r}, which does not map one state of size {size} to one input of that size; "
            " take one that does, such as identity, vocabulary or topk"
        )
    return connector


class ReadsStates(Protocol):
    """Which hidden states of which sender a reader can read."""

    @property
    def source_size(self) -> int:
        """Size of a state."""

    @property
    def max_rows(self) -> int | None:
        """Largest number of latents in a message. None means no limit."""

    @property
    def sender(self) -> str:
        """Name of the sender's model."""

    @property
    def sender_fingerprints(self) -> tuple[str, ...]:
        """Fingerprints that the sender's weights may have. Empty accepts any."""

    @property
    def sender_tokenizer_fingerprint(self) -> str:
        """Fingerprint of the sender's tokenizer. Empty accepts any."""

    @property
    def layer(self) -> int:
        """As in `Header`."""

    @property
    def norm(self) -> Norm:
        """As in `Header`."""

    @property
    def state_at(self) -> StateAt:
        """As in `Header`."""


def check_states(reads: ReadsStates, header: Header, what: str, advice: str) -> None:
    """Check from its header, before its body is used, that a reader can read a message.

    Args:
        reads: the states that the reader can read.
        header: header of the message.
        what: beginning of the error, such as ``the message does not fit this receiver``.
        advice: end of the error.

    Raises:
        MessageError: the message does not fit. The error names all misfits in one sentence.
    """
    misfits = []
    if header.kind != "hidden":
        misfits.append(f"it is a {header.kind} message (expected hidden states)")
    elif len(header.shape) != 2 or header.shape[1] != reads.source_size:
        misfits.append(f"its latents have shape {list(header.shape)} (expected size {reads.source_size})")
    elif reads.max_rows is not None and header.shape[0] > reads.max_rows:
        misfits.append(f"it has {header.shape[0]} latents (expected at most {reads.max_rows})")
    space = header.space_fingerprint or header.weights_fingerprint
    if reads.sender_fingerprints and space not in reads.sender_fingerprints:
        maker = f"{header.model or 'an unnamed model'} [{header.weights_fingerprint[:12] or 'unknown'}]"
        misfits.append(f"it was made by {maker} (expected the weights of {reads.sender or 'its sender'})")
    own = not header.space_fingerprint  # a trained space has no tokens, and so no tokenizer
    if own and reads.sender_tokenizer_fingerprint not in ("", header.tokenizer_fingerprint):
        misfits.append("its sender has another tokenizer")
    if header.kind == "hidden":
        for field in ("layer", "norm", "state_at"):
            given, wanted = getattr(header, field), getattr(reads, field)
            if given != wanted:
                misfits.append(f"its {field} is {given} (expected {wanted})")
    if misfits:
        raise MessageError(f"{what}: {', '.join(misfits)}; {advice}")


class StateMap(nn.Module):
    """A connector that maps each state on its own. Its output has the dtype of its input."""

    ADVICE = "give states of the model that this map was made for"
    """Advice in the error about states of another size."""
    source_size: int
    target_size: int

    def map_states(self, hidden_states: Float[Tensor, "*rows D_source"]) -> Float[Tensor, "*rows D_target"]:
        """The embeddings of the states, in float32."""
        raise NotImplementedError

    def forward(
        self, hidden_states: Float[Tensor, "*rows D_source"], mask: Bool[Tensor, "*rows"] | None = None
    ) -> Float[Tensor, "*rows D_target"]:
        """Embeddings for ``hidden_states``. Padding (``mask`` False) becomes zeros.

        Raises:
            InputError: the states do not have the size that this map was made for.
        """
        size = hidden_states.shape[-1]
        if size != self.source_size:
            raise InputError(f"the hidden states have size {size}, expected {self.source_size}; {self.ADVICE}")
        with torch.autocast(hidden_states.device.type, enabled=False):
            mapped = self.map_states(hidden_states)
        if mask is not None:
            mapped = mapped.masked_fill(~mask.bool().unsqueeze(-1), 0.0)
        return mapped.to(hidden_states.dtype)


def padded_rows(
    messages: Sequence[Float[Tensor, "_ D"]], device: torch.device | str | None = None
) -> tuple[Float[Tensor, "B K D"], Bool[Tensor, "B K"]]:
    """The latents of several messages as one float32 batch, padded on the right, and a mask that is False for padding.

    Args:
        messages: at least one message, of any floating dtype.
        device: device of the batch. The default is the device of the messages.
    """
    padded = nn.utils.rnn.pad_sequence([message.to(device, torch.float32) for message in messages], batch_first=True)
    lengths = torch.tensor([len(message) for message in messages], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device)[None, :] < lengths[:, None]
