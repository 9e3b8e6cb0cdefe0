"""How the text of a task becomes a sender's prompt: the same at collection, in training and at play."""

from collections.abc import Mapping
from typing import Any

from interlat.agents.prompt import chat_prompt
from interlat.agents.settings import Thinking as Thinking
from interlat.agents.settings import with_thinking as with_thinking
from interlat.config import from_mapping
from interlat.engine.chat import ChatFormat
from interlat.engine.prompt import Part, begun, filled
from interlat.engine.template import TemplateOptions
from interlat.errors import InputError
from interlat.reasoning import opened_thought
from interlat.tasks.sources import PLACE_OF_TEXT


class PromptMaker:
    """Turns the texts of tasks into prompts for one model.

    Args:
        template: with ``{text}`` in the place of the task; other braces mean nothing.
        tokenizer: of the model.
        system: system turn; empty is none.
        chat: use the tokenizer's chat template; False gives the model the bare text, begun as its tokenizer does.
        options: arguments of the chat template.
        allow_special_tokens: let control tokens written in a task be control tokens; those of the template are.
        begin: without a chat template: False leaves out what the tokenizer puts before a text.

    Raises:
        InputError: a system turn without a chat template.
    """

    def __init__(
        self,
        template: str,
        tokenizer: Any,
        *,
        system: str = "",
        chat: bool = True,
        options: TemplateOptions | None = None,
        allow_special_tokens: bool = False,
        begin: bool = True,
    ) -> None:
        self.system = system
        self.template = template
        self.tokenizer = tokenizer
        self.literal = not allow_special_tokens
        self.begin = begin
        self.chat = ChatFormat(tokenizer, options) if chat else None
        if self.chat is None and system:
            raise InputError("a system turn needs the chat template; set chat, or write it into the template")

    @classmethod
    def as_collected(
        cls, settings: Mapping[str, Any], tokenizer: Any, options: TemplateOptions | None = None
    ) -> "PromptMaker":
        """The maker of the prompts that the thoughts of a store were made with, for another model.

        Args:
            settings: of the store's manifest.
            tokenizer: of the other model.
            options: arguments of its chat template, over those of the collection.

        Raises:
            InputError: the store does not say how its prompts were made.
        """
        prompt = settings.get("prompt", {})
        if "template" not in prompt:
            raise InputError("the store does not say with which prompts its thoughts were made; collect it again")
        return cls(
            prompt["template"],
            tokenizer,
            system=prompt["system"],
            chat=prompt["chat"],
            options=(options or TemplateOptions()).over(collected_options(settings)),
            # Stores of before interlat had this setting were collected with control tokens, and without a beginning.
            allow_special_tokens=prompt.get("allow_special_tokens", True),
            begin="allow_special_tokens" in prompt,
        )

    def opened_thought(self, text: str) -> str:
        """The mark of a thought that the prompt for a text ends with, which counts to the reply; empty if none."""
        if self.chat is not None:
            return self.chat.opened_thought
        return opened_thought(self.template.replace(PLACE_OF_TEXT, text))

    def __call__(self, text: str) -> list[Part]:
        """The prompt for the text of a task. Raises PromptError if it makes none."""
        content = filled(self.template, {PLACE_OF_TEXT: text}, literal=self.literal)
        if self.chat is None:
            return begun(content, self.tokenizer) if self.begin else [*content]
        return chat_prompt(self.chat, content, system=self.system)


def collected_options(settings: Mapping[str, Any]) -> TemplateOptions:
    """The arguments of the chat template that the settings of a store's manifest name."""
    options = from_mapping(TemplateOptions, settings.get("template", {}), "the settings of the store: template")
    return with_thinking(settings.get("prompt", {}).get("thinking", "default"), options)
