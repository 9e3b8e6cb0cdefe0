"""How the text of a task becomes a sender's prompt: the same at collection, in training and at play."""

from collections.abc import Mapping
from typing import Any, Literal

from interlat.agents.settings import PLACE_OF_TEXT
from interlat.engine.chat import ChatFormat
from interlat.engine.prompt import Part, Text, begun, filled
from interlat.errors import InputError

Thinking = Literal["default", "on", "off"]


class PromptMaker:
    """Turns the texts of tasks into prompts for one model.

    Args:
        template: with ``{text}`` in the place of the task; other braces mean nothing.
        tokenizer: of the model.
        system: system turn; empty is none.
        chat: use the tokenizer's chat template; False gives the model the bare text, begun as its tokenizer does.
        thinking: for templates that have such a switch (Qwen3): whether the model thinks aloud first.
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
        thinking: Thinking = "default",
        allow_special_tokens: bool = False,
        begin: bool = True,
    ) -> None:
        self.system = system
        self.template = template
        self.tokenizer = tokenizer
        self.literal = not allow_special_tokens
        self.begin = begin
        switch = {} if thinking == "default" else {"enable_thinking": thinking == "on"}
        self.chat = ChatFormat(tokenizer, switch) if chat else None
        if self.chat is None and system:
            raise InputError("a system turn needs the chat template; set chat, or write it into the template")

    @classmethod
    def as_collected(cls, settings: Mapping[str, Any], tokenizer: Any) -> "PromptMaker":
        """The maker of the prompts that the thoughts of a store were made with, for another model.

        Args:
            settings: of the store's manifest.
            tokenizer: of the other model.

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
            thinking=prompt["thinking"],
            # Stores of before interlat had this setting were collected with control tokens, and without a beginning.
            allow_special_tokens=prompt.get("allow_special_tokens", True),
            begin="allow_special_tokens" in prompt,
        )

    def __call__(self, text: str) -> list[Part]:
        """The prompt for the text of a task. Raises PromptError if it makes none."""
        content = filled(self.template, {PLACE_OF_TEXT: text}, literal=self.literal)
        if self.chat is None:
            return begun(content, self.tokenizer) if self.begin else [*content]
        turns = [("system", [Text(self.system)])] if self.system else []
        return self.chat.opening([*turns, ("user", content)])
