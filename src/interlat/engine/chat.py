"""Chat templates as parts: what the tokenizer's own template writes around a turn, found by rendering it."""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase

from interlat.engine.prompt import Latents, Part, Prompt, Text, Tokens, as_parts, join_text
from interlat.errors import PromptError
from interlat.reasoning import opened_thought

Turn = tuple[str, Prompt | str]


class ChatFormat:
    """The chat template of a tokenizer, usable with parts.

    Nothing of a template is known here. A conversation is rendered with marker words in the places of what is
    not text, and the rendered string is cut at the markers.

    Args:
        tokenizer: a tokenizer with a chat template.
        options: further arguments of the template, such as ``enable_thinking`` (Qwen 3) or ``date_string``
            (Llama 3.1, which otherwise writes today's date into every prompt).

    Raises:
        PromptError: the tokenizer has no chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, options: Mapping[str, Any] | None = None) -> None:
        if not tokenizer.chat_template:
            raise PromptError("the tokenizer has no chat template; set one, or write prompts as plain parts")
        self.tokenizer = tokenizer
        self.options = dict(options or {})

    def render(self, turns: Sequence[tuple[str, str]], *, generation_prompt: bool) -> str:
        """The text that the template makes of turns of text.

        Raises:
            PromptError: the template refuses them.
        """
        messages = [{"role": role, "content": content} for role, content in turns]
        try:
            rendered = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=generation_prompt, **self.options
            )
        except jinja2.TemplateError as error:
            roles = ", ".join(role for role, _ in turns)
            raise PromptError(
                f"the chat template refuses the turns ({roles}): {error}; use roles that it allows"
            ) from error
        return str(rendered)

    def opening(self, turns: Sequence[Turn]) -> list[Part]:
        """The start of a conversation, ending with the prompt for the assistant's reply.

        Args:
            turns: ``(role, content)`` pairs; content is a string or parts, where token ids and latent rows
                keep their exact place inside the text of the turn.

        Raises:
            PromptError: no turns, the template refuses them, or it drops or repeats a part that is not text.
        """
        if not turns:
            raise PromptError("a conversation needs at least one turn; pass [('user', '...')]")
        contents = [(role, join_text(as_parts(content))) for role, content in turns]
        written = "".join(part.text for _, parts in contents for part in parts if isinstance(part, Text))
        marker = _unused_marker(written)
        inserted: list[Part] = []
        texts: list[tuple[str, str]] = []
        for role, parts in contents:
            pieces = []
            for part in parts:
                if isinstance(part, Text):
                    pieces.append(part.text)
                else:
                    pieces.append(f"{marker}{len(inserted)}x")
                    inserted.append(part)
            texts.append((role, "".join(pieces)))
        pieces = re.split(f"{marker}(\\d+)x", self.render(texts, generation_prompt=True))
        if [int(number) for number in pieces[1::2]] != list(range(len(inserted))):
            raise PromptError(
                "the chat template drops, repeats or reorders a part that is not text; move it to a user turn"
            )
        result: list[Part] = [Text(pieces[0])]
        for number, text in zip(pieces[1::2], pieces[2::2], strict=True):
            result += [inserted[int(number)], Text(text)]
        return join_text(result)

    def continuation(self, user: Prompt | str) -> list[Part]:
        """What stands between the content of an assistant's reply and the next one.

        That is: the end of the reply's turn, the user's turn, and the prompt for the next reply.

        Raises:
            PromptError: the template refuses such a conversation.
        """
        mark = _unused_marker("")
        parts = self.opening([("user", "u"), ("assistant", mark), ("user", user)])
        head = parts[0]
        if not isinstance(head, Text) or mark not in head.text:
            raise PromptError("the chat template does not keep assistant turns; it cannot continue a conversation")
        return join_text([Text(head.text.split(mark, 1)[1]), *parts[1:]])

    @functools.cached_property
    def closing(self) -> str:
        """What the template writes after the content of the last assistant turn, such as ``<|im_end|>``."""
        mark = _unused_marker("")
        rendered = self.render([("user", "u"), ("assistant", mark)], generation_prompt=False)
        if mark not in rendered:
            raise PromptError("the chat template does not keep assistant turns; it cannot continue a conversation")
        return rendered.split(mark, 1)[1]

    @functools.cached_property
    def opened_thought(self) -> str:
        r"""The mark of a thought that every reply begins behind, such as ``<think>\n``; it counts to the reply."""
        return opened_thought(self.render([("user", "u")], generation_prompt=True))

    @functools.cached_property
    def end_of_turn(self) -> int | None:
        """The special token that the template writes right after a reply; None if there is ordinary text."""
        ids = self.tokenizer(self.closing, add_special_tokens=False)["input_ids"]
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
        return ids[0] if ids and ids[0] in special else None

    @functools.cached_property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end an assistant's turn: the template's end of turn and the tokenizer's end of text."""
        return frozenset(i for i in (self.end_of_turn, self.tokenizer.eos_token_id) if i is not None)


def _unused_marker(text: str) -> str:
    """A word of plain letters that does not occur in ``text``."""
    marker = "Qinsertq"
    while marker in text:
        marker += "q"
    return marker


__all__ = ["ChatFormat", "Latents", "Part", "Prompt", "Text", "Tokens", "Turn"]
