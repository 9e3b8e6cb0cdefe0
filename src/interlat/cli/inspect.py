"""`interlat inspect`: what is in a message, row by row."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from interlat.engine.options import TemplateOptions
from interlat.errors import InputError
from interlat.progress import in_bytes

if TYPE_CHECKING:
    from rich.console import RenderableType

    from interlat.agents.agent import Agent
    from interlat.messages import CacheMessage, Message

VISIBLE = 3
"""Tokens that a terminal of 80 columns shows of each row."""


@dataclass(frozen=True)
class Inspect:
    """Show what a message holds: its text, the logit lens of each latent, what a receiver reads and attends to.

    The message is a file, or one record of a latent store. Of a KV cache, the command shows its segments and the norms
    of each layer.
    """

    message: Positional[str]
    """A message file (`Message.save`), or the folder of a latent store."""
    item: str = ""
    """Of a store: key of the message. Empty takes the first."""
    sender: str = ""
    """The model that made the message. Its head reads the latents (logit lens). Empty uses the name in the message."""
    receiver: str = ""
    """A receiver that reads the message.
    For each latent this shows the receiver's most similar tokens and its share of the attention."""
    connector: str = ""
    """How a receiver that was not trained to reads hidden states. See interlat evaluate."""
    text: str = "Hello."
    """Text that the receiver gets beside the message."""
    top_k: int = VISIBLE
    """Number of tokens shown for each latent."""
    dtype: str = "auto"
    """Number format of the models. auto is bfloat16 where the hardware multiplies it natively, else float32."""
    device: str = "auto"
    """Device that the models run on. auto is the accelerator if there is one."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat templates. They override those that the models were trained with."""
    trust_remote_code: bool = False
    """Let `transformers` run code that the checkpoints contain."""
    json: bool = False
    """Print one JSON object on stdout."""

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise InputError(f"top_k is {self.top_k}, expected at least 1")
        if self.connector and not self.receiver:
            raise InputError(f"connector is {self.connector!r}, but there is no receiver to use it; name one")

    def run(self) -> dict[str, Any]:
        """What was found: the message itself, and for a hidden one an inspection and a reception."""
        message = self._message()
        found: dict[str, Any] = {"message": message}
        if message.kind != "hidden":
            if self.receiver or self.sender:
                raise InputError(f"{self.message} is a {message.kind} message, which no model has to read; name none")
            return found
        from interlat.agents.inspection import inspect
        from interlat.agents.reception import receive

        sender = self._loaded(self.sender or message.header.model)
        found["inspection"] = inspect(message, sender, top_k=self.top_k)
        if self.receiver:
            found["reception"] = receive(message, self._receiver(sender), self.text, top_k=self.top_k)
        return found

    def _message(self) -> "Message":
        if Path(self.message).is_dir():
            from interlat.cli.store import open_store

            store = open_store(self.message)
            return store.message(self.item or 0)
        if self.item:
            raise InputError(f"item is {self.item!r}, but {self.message} is no folder of a store; leave out item")
        from interlat.messages import load_message

        return load_message(self.message)

    def _loaded(self, name: str) -> "Agent":
        if not name:
            raise InputError("the message names no model that made it; name it with --sender")
        from interlat.agents.loading import load

        return load(
            name,
            dtype=self.dtype,
            device=self.device,
            template=self.template,
            trust_remote_code=self.trust_remote_code,
        )

    def _receiver(self, sender: "Agent") -> "Agent":
        receiver = self._loaded(self.receiver)
        return receiver.with_connector(self.connector, sender.engine) if self.connector else receiver

    def report(self, found: dict[str, Any]) -> None:
        """Show it as tables, or print it as JSON."""
        message = found["message"]
        facts = facts_of(message)
        if self.json:
            shown = {name: asdict(value) for name, value in found.items() if name != "message"}
            print(json.dumps({**facts, **shown}, ensure_ascii=False))
            return
        from rich.console import Console
        from rich.text import Text

        console = Console()
        for name, value in facts.items():
            console.print(Text(f"{name}: {value}"), soft_wrap=True)
        if message.kind == "cache":
            console.print(layer_table(message))
        elif message.kind == "hidden":
            console.print(latent_table(found["inspection"], found.get("reception")))


def facts_of(message: "Message") -> dict[str, Any]:
    """What a message is: its kind, its maker, its size, and its words if it has any."""
    from interlat.messages import CacheMessage

    header = message.header
    facts: dict[str, Any] = {"kind": message.kind, "model": header.model or "unknown"}
    facts["shape"], facts["dtype"] = list(header.shape), header.dtype
    facts["size"] = in_bytes(message.byte_size)
    if message.kind == "hidden":
        facts |= {"layer": header.layer, "norm": header.norm, "state_at": header.state_at}
    if isinstance(message, CacheMessage):
        facts["segments"] = segments_of(message)
    facts["provenance"] = dict(header.provenance)
    text = getattr(message, "text", "")
    return {name: value for name, value in {**facts, "text": text}.items() if value not in ("", {})}


def segments_of(message: "CacheMessage") -> dict[str, int]:
    """Positions of each segment of a cache, over all its sequences."""
    return {name: int((message.segment_ids == place).sum()) for place, name in enumerate(message.segment_names)}


def layer_table(message: "CacheMessage") -> "RenderableType":
    """The mean norm of the keys and values of each layer, over the positions that hold something."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("layer", "heads", "size", "keys", "values"):
        table.add_column(head, justify="right")
    mask = message.attention_mask

    def norm(layers: Any, scales: Any, layer: int) -> str:
        states = layers[layer].float()
        if scales:
            states = states * scales[layer][..., None]
        return f"{states.norm(dim=-1).transpose(1, 2)[mask].mean().item():.2f}"

    for layer, keys in enumerate(message.keys):
        table.add_row(
            str(layer),
            str(keys.shape[1]),
            str(keys.shape[3]),
            norm(message.keys, message.key_scales, layer),
            norm(message.values, message.value_scales, layer),
        )
    return table


def latent_table(inspection: Any, reception: Any) -> "RenderableType":
    """The rows of a hidden message under its sender's head and, where one reads it, at its receiver."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from interlat.agents.inspection import visible

    parts: list[RenderableType] = [inspection]
    if reception is not None:
        table = Table(
            title=Text(f"what {reception.model} reads; its embeddings have norm {reception.embedding_norm:.1f}")
        )
        for head in ("row", "norm", "attention"):
            table.add_column(head, justify="right")
        table.add_column("most similar input embeddings (cosine)")
        for row in reception.rows:
            near = "  ".join(f"{visible(one.text)} {one.similarity:.2f}" for one in row.nearest)
            share = "-" if row.attention is None else f"{100 * row.attention:.2f} %"
            table.add_row(str(row.index), f"{row.norm:.1f}", share, Text(near))
        parts.append(table)
        if all(row.attention is not None for row in reception.rows):
            share = 100 * sum(row.attention for row in reception.rows)
            parts.append(Text(f"together {share:.1f} % of the attention where the reply begins; the rest is prompt"))
    return Group(*parts)
