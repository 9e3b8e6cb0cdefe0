"""Shows the content of a hidden message: the logit lens of each latent, its most probable tokens under the LM head."""

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
    """One of the most probable tokens of a latent."""

    token_id: int
    """Id in the model's vocabulary."""
    text: str
    """The token as text."""
    probability: float
    """Its probability, from the softmax over the whole vocabulary."""


@dataclasses.dataclass(frozen=True)
class InspectedRow:
    """The logit lens of one latent of a message."""

    index: int
    """Index t of the latent."""
    token: str
    """The token that the sender wrote with this latent. Empty if it wrote none."""
    candidates: tuple[Candidate, ...]
    """The most probable tokens, best first."""
    entropy: float
    """Entropy of the distribution over all tokens, in nats."""
    norm: float
    """Euclidean norm of the latent."""


@dataclasses.dataclass(frozen=True)
class Inspection:
    """The logit lens of a whole message, latent by latent. It prints as a table, on a terminal (`rich`) or as text."""

    text: str
    """The text that the sender wrote."""
    model: str
    """Name of the model whose head was used."""
    same_model: bool
    """Whether that model made the message. The head of another model says little about it."""
    rows: tuple[InspectedRow, ...]
    """One entry for each latent."""

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
    """Decode every latent of a hidden message with the LM head of ``model``, which should be its sender (logit lens).

    ``p_t = softmax(W_out h_t)``. The head reads exactly these states, those after the final norm. So if a plan was
    written greedily with ``state_at`` "before_token", the first candidate of latent t is plan token t.

    Args:
        message: a hidden message with states after the final norm.
        model: the agent or engine whose head and vocabulary are used.
        top_k: number of candidates for each latent.

    Raises:
        MessageError: the message is not hidden, its states are not those of the last layer after the final norm, or
            its hidden size is not the model's.
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
    """The token with unprintable characters escaped."""
    return repr(token)[1:-1] if not token.isprintable() else token
