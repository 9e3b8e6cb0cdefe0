"""Chat templates as parts: what the tokenizer's own template writes around a turn, found by rendering it."""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase

from interlat.engine.control_tokens import ControlTokens, Stretch, control_tokens
from interlat.engine.prompt import Latents, Part, Prompt, Text, Tokens, as_parts, join_text
from interlat.errors import PromptError

Turn = tuple[str, Prompt | str]
_GAP = Stretch("\x00", True)


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
            raise PromptError(
                "the tokenizer has no chat template; set one, or give prompts as plain text, which begin as the "
                "tokenizer wants them (collect: --prompt.no-chat, in Python a string for Engine.prefill)"
            )
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
            turns: ``(role, content)`` pairs; content is a string, which is literal, or parts, where token ids and
                latent rows keep their exact place inside the text of the turn.

        Returns:
            What the template writes, and the parts. Only where literal text would make a control token, the texts in
            question stand apart as literal parts.

        Raises:
            PromptError: no turns, the template refuses them, it drops or repeats a part that is not text, or it
                changes control tokens in a content.
        """
        if not turns:
            raise PromptError("a conversation needs at least one turn; pass [('user', '...')]")
        contents = [(role, as_parts(content, literal=True)) for role, content in turns]
        controls = control_tokens(self.tokenizer)
        whole = self._rendered([(role, [_trusted(part) for part in parts]) for role, parts in contents])
        guarded = [(role, [piece for part in parts for piece in _guarded(part, controls)]) for role, parts in contents]
        kept_apart = [part.text for _, parts in guarded for part in parts if isinstance(part, Text) and part.literal]
        if not kept_apart:
            return whole
        # The template saw marker words instead; the text has to be what it makes of the words themselves.
        apart = self._rendered(guarded)
        same = _joined(whole) == _joined(apart)
        if not same and any(text in controls.names for text in kept_apart):
            raise PromptError(
                "the chat template changes the control tokens in a content, or what it writes depends on them; remove "
                "them from the content, or allow special tokens"
            )
        return apart if same and controls.intrude(_stretches(apart)) else whole

    def _rendered(self, contents: Sequence[tuple[str, Prompt]]) -> list[Part]:
        """A conversation with its generation prompt, in which trusted text has become a part of the template's."""
        contents = [(role, join_text(parts)) for role, parts in contents]
        marker = _unused_marker("".join(part.text for _, parts in contents for part in parts if isinstance(part, Text)))
        inserted: list[Part] = []
        texts: list[tuple[str, str]] = []
        for role, parts in contents:
            pieces = []
            for part in parts:
                if isinstance(part, Text) and not part.literal:
                    pieces.append(part.text)
                else:
                    pieces.append(f"{marker}{len(inserted)}x")
                    inserted.append(part)
            texts.append((role, "".join(pieces)))
        pieces = re.split(f"{marker}(\\d+)x", self.render(texts, generation_prompt=True))
        written = [inserted[int(number)] for number in pieces[1::2]]
        if [p for p in written if not isinstance(p, Text)] != [p for p in inserted if not isinstance(p, Text)]:
            raise PromptError(
                "the chat template drops, repeats or reorders a part that is not text; move it to a user turn"
            )
        result: list[Part] = [Text(pieces[0])]
        for part, text in zip(written, pieces[2::2], strict=True):
            result += [part, Text(text)]
        return join_text(result)

    def continuation(self, user: Prompt | str) -> list[Part]:
        """What stands between the content of an assistant's reply and the next one.

        That is: the end of the reply's turn, the user's turn, and the prompt for the next reply.

        Raises:
            PromptError: the template refuses such a conversation.
        """
        mark = _unused_marker("")
        parts = self.opening([("user", [Text("u")]), ("assistant", [Text(mark)]), ("user", user)])
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
    def end_of_turn(self) -> int | None:
        """The special token that the template writes right after a reply; None if there is ordinary text."""
        ids = self.tokenizer(self.closing, add_special_tokens=False)["input_ids"]
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
        return ids[0] if ids and ids[0] in special else None

    @functools.cached_property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end an assistant's turn: the template's end of turn and the tokenizer's end of text."""
        return frozenset(i for i in (self.end_of_turn, self.tokenizer.eos_token_id) if i is not None)


def _trusted(part: Part) -> Part:
    return Text(part.text) if isinstance(part, Text) else part


def _guarded(part: Part, controls: ControlTokens) -> list[Part]:
    """A literal text cut at what could become a control token; any other part as it is."""
    if isinstance(part, Text) and part.literal:
        return [Text(text, literal) for text, literal in controls.marked(part.text)]
    return [part]


def _stretches(parts: Prompt) -> list[Stretch]:
    """The texts of a prompt, with a gap in the place of any other part."""
    return [Stretch(part.text, part.literal) if isinstance(part, Text) else _GAP for part in parts]


def _joined(parts: Prompt) -> str:
    return "".join(stretch.text for stretch in _stretches(parts))


def _unused_marker(text: str) -> str:
    """A word of plain letters that does not occur in ``text``."""
    marker = "Qinsertq"
    while marker in text:
        marker += "q"
    return marker


__all__ = ["ChatFormat", "Latents", "Part", "Prompt", "Text", "Tokens", "Turn"]
