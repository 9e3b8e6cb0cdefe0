"""How an untrained receiver reads hidden states: a map without training, for the states of one sender."""

from dataclasses import dataclass

from interlat.connectors.base import Connector, build_connector, check_states, connector_options
from interlat.connectors.registry import parse_connector
from interlat.connectors.vocabulary import VocabularyMean, embeddings_of_tokens
from interlat.engine.protocol import Engine
from interlat.errors import InputError
from interlat.messages import Header
from interlat.states import Norm, StateAt

BETWEEN_MODELS = "vocabulary"
"""The connector that maps between models of different widths and tokenizers. All others work within one model."""


@dataclass(frozen=True, eq=False)
class Reader:
    """Lets an untrained receiver read a sender's last-layer states that each predicted a token."""

    connector: Connector
    """Maps a state of the sender to an input embedding of the receiver."""
    sender: str
    """Name of the model whose states it maps."""
    sender_fingerprints: tuple[str, ...]
    """Fingerprint of that model's weights."""
    layer: int = -1
    norm: Norm = "post"
    state_at: StateAt = "before_token"
    sender_tokenizer_fingerprint: str = ""
    max_rows: int | None = None

    @property
    def source_size(self) -> int:
        """Size of a state."""
        return self.connector.source_size

    def check(self, header: Header) -> None:
        """Check that a message holds such states.

        Raises:
            MessageError: the message does not fit. The error names all misfits in one sentence.
        """
        check_states(
            self,
            header,
            "the message does not fit the connector of this receiver",
            "let the sender that the connector was made for write it",
        )


def reader_of(text: str, sender: Engine, receiver: Engine) -> Reader:
    """Make the reader between two models from a connector on one line, such as ``vocabulary:temperature=0.5``.

    Args:
        text: see `parse_connector`.
        sender: the model whose states are read.
        receiver: the model that reads them.

    Raises:
        InputError: there is no such connector, or it does not map the states of this sender to this receiver.
        CheckpointError: the connector's file is damaged or missing.
    """
    name, options = parse_connector(text)[0], connector_options(text)
    alone = sender.weights_fingerprint == receiver.weights_fingerprint
    if alone:
        connector = build_connector(name, receiver, **options)
    elif name == BETWEEN_MODELS:
        rows, known = embeddings_of_tokens(sender.tokenizer, receiver.tokenizer, receiver.input_embeddings)
        connector = VocabularyMean(sender.logits, sender.hidden_size, rows, known.to(rows.device), **options)
    else:
        raise InputError(
            f"connector is {text!r}, which stays within one model, but {sender.name} is to be read by {receiver.name}; "
            f"take {BETWEEN_MODELS}, or train the receiver: interlat train actor"
        )
    if (connector.source_size, connector.target_size) != (sender.hidden_size, receiver.hidden_size):
        raise InputError(
            f"connector is {text!r}, which maps size {connector.source_size} to {connector.target_size}, but the "
            f"models have {sender.hidden_size} and {receiver.hidden_size}; take another connector"
        )
    return Reader(connector, sender.name, (sender.weights_fingerprint,))
