"""What is in a message: the tokens that each row would say under the language-model head."""

import dataclasses
import io

from rich.console import Console
from rich.table import Table
from rich.text import Text

from interlat.agents.agent import Agent
from interlat.engine.lens import logit_lens
from interlat.engine.protocol import Engine
from interlat.errors import InputError, MessageError
from interlat.messages import HiddenMessage, Message

PRINTED_WIDTH = 120


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A token that a row may say."""

    token_id: int
    """Id in the model's vocabulary."""
    text: str
    """The token as text."""
    probability: float
    """Softmax over the whole vocabulary."""


@dataclasses.dataclass(frozen=True)
class InspectedRow:
    """What one row of a message says."""

    index: int
    """Row t."""
    token: str
    """The token that was said with this row; empty if none was."""
    candidates: tuple[Candidate, ...]
    """The most probable tokens, best first."""
    entropy: float
    """Entropy of the distribution over all tokens, in nats."""
    norm: float
    """Euclidean norm of the row."""


@dataclasses.dataclass(frozen=True)
class Inspection:
    """A message row by row; prints as a table, on a terminal (`rich`) or as text."""

    text: str
    """What the sender said."""
    model: str
    """The model whose head was used."""
    same_model: bool
    """Whether that model made the message; another model's head says little about it."""
    rows: tuple[InspectedRow, ...]
    """One entry a message row."""

    def __rich__(self) -> Table:
        made = "" if self.same_model else " (not the model that made the message)"
        table = Table(title=Text(f"{len(self.rows)} latents under the head of {self.model}{made}"))
        for column in ("row", "entropy", "norm"):
            table.add_column(column, justify="right")
        table.add_column("said")
        table.add_column("nearest tokens")
        for row in self.rows:
            candidates = "  ".join(f"{visible(c.text)} {c.probability:.2f}" for c in row.candidates)
            table.add_row(
                str(row.index),
                f"{row.entropy:.2f}",
                f"{row.norm:.1f}",
                Text(visible(row.token)),
                Text(candidates),
            )
        return table

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=PRINTED_WIDTH, color_system=None, force_terminal=False)
        with console.capture() as captured:
            console.print(self)
        return captured.get()


def inspect(message: Message, model: Agent | Engine, *, top_k: int = 5) -> Inspection:
    """Decode every row of a hidden message with the head of ``model``, which should be its sender.

    ``p_t = softmax(W_out h_t)``; a row after the final norm is exactly what the head sees, so for a written
    plan the first candidate of row t is the token that greedy decoding said.

    Args:
        message: a hidden message with states after the final norm.
        model: the agent or engine whose head and vocabulary are used.
        top_k: candidates a row.

    Raises:
        MessageError: not a hidden message, not after the final norm, or of another hidden size than the
            model's.
        InputError: ``top_k`` is below 1.
    """
    engine = model.engine if isinstance(model, Agent) else model
    if top_k < 1:
        raise InputError(f"top_k is {top_k}, expected at least 1; raise it")
    if not isinstance(message, HiddenMessage):
        raise MessageError(f"a {message.kind} message has no rows of hidden states; inspect a hidden message")
    if message.header.norm != "post" or message.header.layer != -1:
        raise MessageError(
            f"the rows come from layer {message.header.layer}, {message.header.norm}-norm, expected the last "
            "layer after the final norm, which is what the head reads; make the message again with "
            "norm='post'"
        )
    if message.hidden_states.shape[1] != engine.hidden_size:
        raise MessageError(
            f"the rows have size {message.hidden_states.shape[1]}, but {engine.name} has "
            f"{engine.hidden_size}; inspect the message with the model that made it"
        )
    tokens = [str(engine.tokenizer.decode([token])) for token in message.token_ids] or [""] * message.latents
    lens = logit_lens(engine.logits, message.hidden_states.to(engine.device, engine.dtype), top_k)
    readings = zip(tokens, *(part.tolist() for part in lens), message.hidden_states, strict=True)
    rows = [
        InspectedRow(
            index=index,
            token=token,
            candidates=tuple(
                Candidate(i, str(engine.tokenizer.decode([i])), p) for i, p in zip(ids, probabilities, strict=True)
            ),
            entropy=entropy,
            norm=state.float().norm().item(),
        )
        for index, (token, ids, probabilities, entropy, state) in enumerate(readings)
    ]
    same_model = message.header.weights_fingerprint == engine.weights_fingerprint
    return Inspection(message.text, engine.name, same_model, tuple(rows))


def visible(token: str) -> str:
    """A token as it can be printed."""
    return repr(token)[1:-1] if not token.isprintable() else token
