"""What an agent is told and how it speaks: the file ``agent.json`` beside a checkpoint."""

import dataclasses
import json
from pathlib import Path
from typing import Literal, get_args

from interlat.engine.options import Sampling, TemplateOptions
from interlat.engine.prompt_text import Text, filled
from interlat.errors import CheckpointError, InputError
from interlat.files import write_atomically
from interlat.tasks.sources import PLACE_OF_TEXT
from interlat.tasks.sources import PLAN_REQUEST as PLAN_REQUEST
from interlat.typed import typed

SETTINGS_FILE = "agent.json"

MessageKind = Literal["", "none", "text", "hidden"]


@dataclasses.dataclass(frozen=True)
class AgentSettings:
    """How an agent is prompted. The defaults suit any chat model."""

    role: str = "agent"
    """Name of the role, such as scout or actor. It is part of the seed of a sample."""
    system_prompt: str = ""
    """System prompt. Empty means none."""
    prompt_template: str = ""
    """First user turn, with ``{text}`` in the place of the agent's input.
    Empty means the text alone for a reply, and the text with a request for a plan for `Agent.write` and
    `Agent.think`."""
    connector: str = "\n"
    """Text between the first user turn and the message."""
    message_kind: MessageKind = ""
    """Kind of message that the agent was trained to read.
    If it is not empty, the agent sees ``<bop><eop>`` even without a message."""
    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    """How the agent decodes by default. A call can override it."""
    template: TemplateOptions = dataclasses.field(default_factory=TemplateOptions)
    """Arguments of the chat template. A trained agent has those of its training."""
    allow_special_tokens: bool = False
    """Read control tokens in a text or a message, such as ``<|im_end|>``, as control tokens.
    By default only the chat template and the settings can have control tokens, and text from outside is plain."""

    def __post_init__(self) -> None:
        if self.prompt_template and PLACE_OF_TEXT not in self.prompt_template:
            raise InputError(
                f"prompt_template {self.prompt_template!r} has no {PLACE_OF_TEXT}; write where the text goes"
            )
        if self.message_kind not in get_args(MessageKind):
            raise InputError(
                f"message_kind is {self.message_kind!r}, expected none, text or hidden; leave it empty for a "
                "model that was not trained with messages"
            )

    def content(self, text: str, default_template: str = PLACE_OF_TEXT) -> list[Text]:
        """The first user turn for ``text``. Raises PromptError if that is no text."""
        return filled(self.prompt_template or default_template, {PLACE_OF_TEXT: text}, literal=self.literal)

    @property
    def literal(self) -> bool:
        """Whether control tokens in what comes from outside are words."""
        return not self.allow_special_tokens

    def save(self, directory: str | Path) -> None:
        """Write ``directory/agent.json``, atomically. Raises StorageError if the file system refuses."""
        fields = {**dataclasses.asdict(self), "template": self.template.record}
        if not fields["template"]:
            del fields["template"]
        content = json.dumps(fields, indent=2, ensure_ascii=False)
        write_atomically(Path(directory) / SETTINGS_FILE, content + "\n")

    @classmethod
    def read(cls, path: Path) -> "AgentSettings":
        """The settings in the file ``path``; fields that it leaves out have their defaults.

        Raises:
            CheckpointError: not JSON, an unknown field, or a value that makes no sense.
        """
        try:
            return typed(cls, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError, InputError) as error:
            raise CheckpointError(f"{path} is not usable ({error}); correct it or remove it") from error

    @classmethod
    def beside(cls, place: str | Path) -> "AgentSettings":
        """The settings beside a checkpoint in a folder or on the hub; the defaults where there are none.

        Raises:
            CheckpointError: as `read`.
        """
        from interlat.engine.checkpoint import companion_file

        file = companion_file(str(place), SETTINGS_FILE)
        return cls.read(file) if file else cls()


Thinking = Literal["default", "on", "off"]


def with_thinking(thinking: Thinking, options: TemplateOptions) -> TemplateOptions:
    """The options with the switch that `interlat collect` has for ``enable_thinking``.

    Raises:
        InputError: the two contradict each other.
    """
    wanted = {"default": None, "on": True, "off": False}[thinking]
    if None not in (wanted, options.enable_thinking) and wanted != options.enable_thinking:
        raise InputError(
            f"prompt.thinking is {thinking} and template.enable_thinking is {options.enable_thinking}; set one of them"
        )
    return TemplateOptions(enable_thinking=wanted).over(options)
