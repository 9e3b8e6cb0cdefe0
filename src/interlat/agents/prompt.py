"""The one place where a system turn, a user turn and a beginning of the reply become a prompt."""

from interlat.engine.chat import ChatFormat
from interlat.engine.prompt import Part, Prompt, Text, join_text


def chat_prompt(chat: ChatFormat, content: Prompt, *, system: str = "", opening: str = "") -> list[Part]:
    """The opening of a conversation, ready for `Engine.prefill`.

    Args:
        chat: the chat template of the model that reads it.
        content: parts of the first user turn: text, token ids and latents.
        system: system turn; empty means none.
        opening: the beginning of the reply, such as ``<think>`` and a line break.

    Raises:
        PromptError: the template refuses the turns, or drops or repeats a part that is not text.
    """
    turns = [("system", [Text(system)])] if system else []
    parts = chat.opening([*turns, ("user", content)])
    return join_text([*parts, Text(opening)]) if opening else parts
