"""The model card of a trained agent: what it is, how to use it, and what its run measured; nothing else."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import ModelCard, ModelCardData

import interlat
from interlat.agents.settings import MessageKind
from interlat.connectors.adapter import AdapterConfig
from interlat.training.loop import SELECTED_BY, best_record, read_metrics

CARD_FILE = "README.md"
ALWAYS_SHOWN = frozenset({"steps", "batch_size", "learning_rate", "seed"})
LEFT_OUT = frozenset({"output", "device", "threads", "compile"})
"""Settings that say where a run was and not what it learned."""
READS: dict[MessageKind, str] = {
    "": "It was not trained to read messages.",
    "none": "It was trained without messages.",
    "text": "It was trained to read messages in words.",
    "hidden": "It was trained to read messages that are hidden states of another model.",
}
USES: dict[MessageKind, str] = {
    "": 'print(agent.write("...").text)',
    "none": 'print(agent.reply("..."))',
    "text": 'print(agent.reply("...", message=interlat.TextMessage("...")))',
    "hidden": 'print(agent.reply("...", message=interlat.load_message("thought.safetensors")))',
}
_VALIDATION = "validation_"


def model_card(
    directory: str | Path,
    command: str,
    *,
    role: str,
    reads: MessageKind = "",
    settings: Mapping[str, object],
    kept: str = "last",
    start: str | None = None,
    adapter: AdapterConfig | None = None,
    about: str | None = None,
    use: str | None = None,
) -> str:
    """The card of the model that a training has ended with, the same text for the same run.

    Args:
        directory: folder of the training; its name is the model's, its metrics are the numbers.
        command: what was run, such as ``interlat train actor``.
        role: what the agent is, such as actor.
        reads: the kind of message that it was trained to read.
        settings: names and values for the table of settings, see `settings_of`.
        kept: whether the parameters are those of the "best" validation or the "last" ones.
        start: folder or hub id of the model that the training began with; None if it began from scratch.
        adapter: shape and sender of the adapter beside the model, if there is one.
        about: what it was trained for, where that is not to read messages.
        use: lines of Python that use it, where they are not those of an agent that reads.
    """
    base = base_model(start) if start else None
    beside = "An adapter beside the model turns them into its input rows." if adapter else ""
    origin = f"It began as `{base}`." if base else "It was trained from scratch."
    sentences = (f"An agent in the role of {role}.", about or READS[reads], beside, origin)
    versions = {"interlat": interlat.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
    card = ModelCard.from_template(
        ModelCardData(library_name="interlat", tags=["interlat", role], base_model=base),
        str(Path(__file__).with_name("card.md.jinja")),
        name=Path(directory).resolve().name,
        summary=" ".join(filter(None, sentences)),
        use=use or f'agent = interlat.load("folder or hub id of this model")\n{USES[reads]}',
        sections={
            "Messages that it reads": _table(["", ""], _senders(adapter)) if adapter else "",
            "What the run measured": _measured(read_metrics(directory), kept),
            "Settings": f"{_table(['setting', 'value'], settings.items())}\n\nAll others have their defaults.",
        },
        versions=_table(["", ""], versions.items()),
        command=command,
    )
    return str(card).rstrip() + "\n"


def settings_of(kind: type[Any], config: Any) -> dict[str, object]:
    """The settings of a training that a reader wants to know: those off their defaults, and the most asked for, of the
    fields of ``kind``, the class of ``config`` or one above it."""
    found: dict[str, object] = {}
    for field in dataclasses.fields(kind):
        value = getattr(config, field.name)
        if field.name in LEFT_OUT:
            continue
        if dataclasses.is_dataclass(value):
            found |= {f"{field.name}.{name}": inner for name, inner in settings_of(type(value), value).items()}
        elif field.name in ALWAYS_SHOWN or value != (
            field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        ):
            found[field.name] = value
    return found


def base_model(start: str) -> str:
    """A hub id or known name as it is; the name of a folder or GGUF file; for the ``model`` folder of a training, the
    name of the training."""
    path = Path(start).resolve()
    if not path.exists():
        return start
    return path.parent.name if path.name == "model" else path.name


def _measured(records: Sequence[dict[str, Any]], kept: str) -> str:
    last, best = records[-1]["step"], best_record(records)
    if best is None:
        return f"The parameters are those of step {last:,}, the last one. The run has no validation."
    final = [record for record in records if SELECTED_BY in record][-1]
    shown = {"best": best, "last": final} if best is not final else {"best and last": best}
    columns = ["", *(f"{name}, step {record['step']:,}" for name, record in shown.items())]
    rows = [
        (name.replace("_", " "), *(f"{record[name]:.4f}" if name in record else "" for record in shown.values()))
        for name in best
        if name.startswith(_VALIDATION)
    ]
    step = f"{best['step']:,}, that of the best validation" if kept == "best" else f"{last:,}, the last one"
    return (
        f"The parameters are those of step {step}; {last:,} steps were taken.\n\n{_table(columns, rows)}\n\n"
        "A loss is not a success rate: what the model achieves in a task was not measured in this run."
    )


def _senders(adapter: AdapterConfig) -> list[tuple[str, object]]:
    rows = f"{adapter.source_size} numbers a row, turned into {adapter.target_size}"
    facts = {
        "sender": adapter.sender,
        "fingerprints of its weights": adapter.sender_fingerprints,
        "fingerprint of its tokenizer": adapter.sender_tokenizer_fingerprint,
        "layer": f"{adapter.layer} ({adapter.norm}-norm)",
        "state_at": adapter.state_at,
        "rows": rows if adapter.max_rows is None else f"{rows}; at most {adapter.max_rows}",
    }
    return [(name, value) for name, value in facts.items() if value]


def _table(columns: Sequence[str], rows: Any) -> str:
    lines = [columns, ["---"] * len(columns), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(_cell(inner) for inner in value)
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "/").split())
