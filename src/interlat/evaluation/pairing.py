"""Whether the models of an evaluation belong together, checked before anything is played."""

import dataclasses

from interlat.agents.settings import AgentSettings, MessageKind
from interlat.connectors.adapter import CommunicationAdapter
from interlat.connectors.bridge import Bridge
from interlat.connectors.resampler import Resampler
from interlat.engine.cache_message import header_of
from interlat.engine.hf import Engine
from interlat.errors import InputError, MessageError
from interlat.messages import Header, check_receiver


def check_sender(
    engine: Engine, adapter: CommunicationAdapter, bridge: Bridge | None = None, resampler: Resampler | None = None
) -> None:
    """Refuse a sender whose hidden messages the receiver was not trained to read, as `Agent.reply` does.

    Args:
        engine: the sender's model.
        adapter: the receiver's.
        bridge: of a compressed sender; None sends states of the model's last layer, after its final norm.
        resampler: what compresses those states, if anything does.

    Raises:
        MessageError: names the sender and everything that does not fit.
        InputError: the resampler was trained for another sender.
    """
    try:
        check_receiver(_header(engine, bridge), adapter.config.expectations())
    except MessageError as error:
        raise MessageError(f"sender {engine.name}: {error}") from error
    trained = resampler.config.sender_fingerprint if resampler is not None else ""
    if trained not in ("", engine.weights_fingerprint):
        raise InputError(
            f"the resampler was trained on the states of the model [{trained[:12]}], but the sender {engine.name} is "
            f"[{engine.weights_fingerprint[:12]}]; give the sender that it was trained with"
        )


def _header(engine: Engine, bridge: Bridge | None) -> Header:
    """The header of a message of one latent from this sender."""
    header = dataclasses.replace(header_of(engine), kind="hidden", shape=(1, engine.hidden_size))
    if bridge is None:
        return header
    config = bridge.config
    return dataclasses.replace(
        header,
        shape=(1, config.message_size),
        space_fingerprint=config.sender_fingerprint,
        layer=config.layer,
        norm=config.norm,
        state_at=config.state_at,
    )


def check_role(role: str, place: str, expected: MessageKind) -> None:
    """Refuse a receiver that was trained to read another kind of message; one that does not say is accepted.

    Args:
        role: its name among the checkpoints, for the error text.
        place: its folder or hub id.
        expected: the kind of message that it will get.

    Raises:
        InputError: it was trained to read another kind.
    """
    kind = AgentSettings.beside(place).message_kind
    if kind not in ("", expected):
        raise InputError(
            f"checkpoints.{role} is {place}, which was trained with messages of the kind {kind!r}, expected "
            f"{expected!r}; give the actor that was trained for this"
        )
