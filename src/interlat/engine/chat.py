"""Chat templates as parts: what the tokenizer's own template writes around a turn, found by rendering it."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from interlat.engine.control_tokens import ControlTokens, control_tokens
from interlat.engine.prompt import Latents, Part, Prompt, Text, Tokens, as_parts, join_text
from interlat.engine.template import TemplateOptions, render_template
from interlat.errors import PromptError
from interlat.reasoning import opened_thought

Turn = tuple[str, Prompt | str]
_GAP = Text("\x00", True)
ASSISTANT = "assistant"
_SHORT: tuple[Turn, ...] = (("user", "u"), (ASSISTANT, "r"))
"""A conversation like any other."""
_OPEN_THOUGHT = re.compile(r"<(?P<name>[\w:]+)>(?P<space>\s*)$")
_ENDED_THOUGHT = re.compile(r"(?:<[\w:]+>\s*)?</(?P<name>[\w:]+)>\s*$")


class ChatFormat:
    """The chat template of a tokenizer, usable with parts.

    Nothing of a template is known here. A conversation is rendered with marker words in the places of what is
    not text, and the rendered string is cut at the markers.

    A conversation is only ever added to, at play and in training alike: `opening`, then for each reply what the model
    writes (`reply`) and what comes behind it (`continuation`). Templates that leave out the thoughts of earlier turns
    leave them out where a conversation is rendered anew; here what was written stays.

    Args:
        options: further arguments of the template; a mapping is taken for `TemplateOptions.arguments`.

    Raises:
        PromptError: the tokenizer has no chat template.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, options: TemplateOptions | Mapping[str, Any] | None = None
    ) -> None:
        if not tokenizer.chat_template:
            raise PromptError(
                "the tokenizer has no chat template; set one, or give prompts as plain text, which begin as the "
                "tokenizer wants them (collect: --prompt.no-chat, in Python a string for Engine.prefill)"
            )
        self.tokenizer = tokenizer
        self.options = (
            options if isinstance(options, TemplateOptions) else TemplateOptions(arguments={**(options or {})})
        )

    def render(self, turns: Sequence[tuple[str, str]], *, generation_prompt: bool) -> str:
        """The text that the template makes of turns of text.

        Raises:
            PromptError: the template refuses them, fails, or does not end.
        """
        return render_template(self.tokenizer, turns, self.options, generation_prompt=generation_prompt)

    def opening(self, turns: Sequence[Turn], *, generation_prompt: bool = True) -> list[Part]:
        """The start of a conversation, ending with the prompt for the assistant's reply.

        Args:
            turns: ``(role, content)`` pairs; content is a string, which is literal, or parts, where token ids and
                latent rows keep their exact place inside the text of the turn.
            generation_prompt: whether the prompt for the reply stands at the end.

        Returns:
            What the template writes, and the parts. Literal text stands apart only where it would make a control token.

        Raises:
            PromptError: no turns, the template refuses them, it drops or repeats a part that is not text, or it
                changes control tokens in a content.
        """
        if not turns:
            raise PromptError("a conversation needs at least one turn; pass [('user', '...')]")
        return self._guarded(turns, lambda texts: self.render(texts, generation_prompt=generation_prompt))

    def _guarded(self, turns: Sequence[Turn], write: Callable[[Sequence[tuple[str, str]]], str]) -> list[Part]:
        """What ``write`` makes of the texts of turns, as parts, with the literal texts apart that need it.

        These are marker words while it writes: what it writes must not depend on them.
        """
        contents = [(role, as_parts(content, literal=True)) for role, content in turns]
        controls = control_tokens(self.tokenizer)
        guarded = [(role, [piece for part in parts for piece in _cut(part, controls)]) for role, parts in contents]
        whole = _written([(role, _trusted(parts)) for role, parts in contents], write)
        kept_apart = [part.text for _, parts in guarded for part in parts if isinstance(part, Text) and part.literal]
        if not kept_apart:
            return whole
        apart = _written(guarded, write)
        if _text_of(apart) == _text_of(whole):
            pairs = zip(apart, controls.needed(_stretches(apart)), strict=True)
            return join_text([needed if isinstance(part, Text) else part for part, needed in pairs])
        if any(text in controls.names for text in kept_apart):
            raise PromptError(
                "the chat template changes the control tokens in a content, or what it writes depends on them; remove "
                "them from the content, or allow special tokens"
            )
        return whole

    def continuation(
        self, user: Prompt | str, before: Sequence[Turn] = (), *, generation_prompt: bool = True
    ) -> list[Part]:
        """What comes behind an assistant's reply, of which the model has written all but the end of its turn.

        That is: the end of the reply's turn, the user's turn, and the prompt for the next reply.

        Args:
            before: the conversation up to and with that reply; what the assistant said in it does not count. Without
                it the template must write every turn alike, which is checked.

        Raises:
            PromptError: the template refuses such a conversation, or it would write anew what stands before: because
                it moves the system turn to the last one, for example.
        """
        if not before and not self._turns_alike:
            raise PromptError(
                "the chat template writes later turns of a conversation in another way than the second; give the "
                "conversation so far, or change the template"
            )
        return self._continued(before or _SHORT, user, generation_prompt, checked=not before)

    def reply(self, content: Prompt | str, before: Sequence[Turn] = _SHORT[:1]) -> list[Part]:
        """What a model has to write behind the generation prompt to say ``content``, the end of its turn included.

        For most templates that is the content and one special token. What the template writes before the content of
        its last turn and does not write for the model belongs to it too: the space of Llama 2, the channel of gpt-oss,
        the empty thought of Qwen 3 (unless ``enable_thinking`` is false). Where the generation prompt opens a thought
        (``<think>``) the reply goes on behind it: with the thought in the content, or with the end of an empty one.

        Args:
            content: what the assistant says, text only; a string is literal.
            before: the conversation up to this turn; what the assistant said in it does not count.

        Raises:
            PromptError: the template drops or rewrites the content, has no generation prompt or no end of turn, or the
                content has a thought where the generation prompt ends one.
        """
        if self._unprompted:
            raise PromptError(
                f"the chat template has no generation prompt, so a model would have to write {self._unprompted!r} "
                "itself; make it write that where add_generation_prompt is true"
            )
        texts, _, _ = _with_marks([(role, _trusted(said)) for role, said in _without_replies(before)])
        prompt = self.render(texts, generation_prompt=True)
        return self._guarded(
            [(ASSISTANT, content)], lambda turns: self._reply_behind(prompt, texts, "".join(text for _, text in turns))
        )

    def _reply_behind(self, prompt: str, texts: Sequence[tuple[str, str]], content: str) -> str:
        rendered = self.render([*texts, (ASSISTANT, content)], generation_prompt=False)
        if not rendered.endswith(self.closing):
            raise PromptError(
                "what the chat template writes behind an assistant's turn depends on its content; change the content "
                "or the template"
            )
        written = _behind_prompt(rendered.removesuffix(self.closing), prompt, content)
        if content.strip() and not written.strip():
            raise PromptError("the chat template drops all that an assistant's turn says; change or leave out the turn")
        return f"{written}{self._ends[0]}{self.tokenizer.convert_ids_to_tokens(self.stop)}"

    @functools.cached_property
    def end_of_thought(self) -> str:
        """What ends a thought that the generation prompt opens and nobody thinks; empty where it opens none."""
        if not _OPEN_THOUGHT.search(self.render([("user", "u")], generation_prompt=True)):
            return ""
        mark = _unused_marker("")
        return _text_of(self.reply([Text(mark)])).partition(mark)[0]

    @functools.cached_property
    def closing(self) -> str:
        """What the template writes after the content of the last assistant turn, such as ``<|im_end|>``."""
        return self._last_turn[1]

    @functools.cached_property
    def opened_thought(self) -> str:
        r"""The mark of a thought that every reply begins behind, such as ``<think>\n``; it counts to the reply."""
        return opened_thought(self.render([("user", "u")], generation_prompt=True))

    @functools.cached_property
    def end_of_turn(self) -> int | None:
        """The first special token that the template writes behind a reply; None if there is none.

        Templates whose last turn has no end (GLM 4) end a reply with the token that opens the next turn.
        """
        end = self._ends[1]
        return self.tokenizer.get_vocab()[end] if end else None

    @property
    def stop(self) -> int:
        """`end_of_turn` of a model that learns to write it. Raises PromptError where there is none."""
        if self.end_of_turn is None:
            raise PromptError(
                "the chat template writes no special token behind an assistant's turn, so a model could not learn to "
                "stop; make the template write one there, such as eos_token"
            )
        return self.end_of_turn

    @property
    def end_of_conversation(self) -> str:
        """What stands behind the last reply of a finished conversation: the end of the turn, and perhaps a newline."""
        end = self._ends[1]
        return end + self.closing.partition(end)[2] if end else ""

    @functools.cached_property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end an assistant's turn: the template's end of turn and the tokenizer's end of text."""
        return frozenset(i for i in (self.end_of_turn, self.tokenizer.eos_token_id) if i is not None)

    def _continued(
        self, before: Sequence[Turn], user: Prompt | str, generation_prompt: bool = True, checked: bool = False
    ) -> list[Part]:
        *asked, _ = _without_replies(before)
        _, _, mark = _with_marks([*asked, ("user", user)])
        turns: list[Turn] = [*asked, (ASSISTANT, [Text(mark)]), ("user", user)]
        parts = self.opening(turns, generation_prompt=generation_prompt)
        place, marked = next(
            ((i, part.text) for i, part in enumerate(parts) if isinstance(part, Text) and mark in part.text), (0, "")
        )
        if not marked:
            raise PromptError("the chat template does not keep assistant turns; it cannot continue a conversation")
        head, tail = marked.split(mark, 1)
        if not checked:
            *opening, prompt = self.opening(asked)
            kept = isinstance(prompt, Text) and head.startswith(_without_thought(prompt.text))
            if opening != parts[:place] or not kept:
                raise PromptError(
                    "the chat template writes a conversation anew when it goes on (it moves the system turn, or "
                    "changes earlier turns), but a model at play only reads on; leave out the system turn, or change "
                    "the template"
                )
        # What stands before the end of the turn the model has written itself.
        trail, end = self._between
        return join_text([Text(tail.removeprefix(trail) if end else tail), *parts[place + 1 :]])

    @functools.cached_property
    def _turns_alike(self) -> bool:
        expected = self._continued(_SHORT, "u")
        return all(self._continued(_SHORT * count, "u") == expected for count in (2, 3, 4))

    @functools.cached_property
    def _last_turn(self) -> tuple[str, str]:
        """What stands before and behind the content of an assistant's turn that is the last one."""
        mark = _unused_marker("")
        before, found, behind = self.render([("user", "u"), (ASSISTANT, mark)], generation_prompt=False).partition(mark)
        if not found:
            raise PromptError("the chat template does not keep assistant turns; it cannot continue a conversation")
        return before, behind

    @functools.cached_property
    def _ends(self) -> tuple[str, str]:
        """What ends a reply: text that the template writes behind the content, and a special token."""
        trail, end = self._cut_at_special(self.closing)
        return (trail, end) if end else self._between

    @functools.cached_property
    def _between(self) -> tuple[str, str]:
        """The same for a reply behind which the conversation goes on."""
        mark = _unused_marker("")
        goes_on = self.render([("user", "u"), (ASSISTANT, mark), ("user", "u")], generation_prompt=False)
        return self._cut_at_special(goes_on.partition(mark)[2])

    def _cut_at_special(self, text: str) -> tuple[str, str]:
        """The text before the first special token in ``text``, and that token; all of it and nothing if none is."""
        found = self._special.search(text)
        return (text[: found.start()], found[0]) if found else (text, "")

    @functools.cached_property
    def _special(self) -> re.Pattern[str]:
        tokens = {*self.tokenizer.all_special_tokens, *map(str, self.tokenizer.added_tokens_decoder.values())}
        # The longest of those that begin at one place; a pattern that finds nothing where there are none.
        return re.compile("|".join(map(re.escape, sorted(tokens - {""}, key=len, reverse=True))) or r"(?!)")

    @functools.cached_property
    def _unprompted(self) -> str:
        """The header of a reply where the template has no generation prompt; empty if it has one, or needs none."""
        asked = [("user", "u")]
        prompt, before = self.render(asked, generation_prompt=True), self._last_turn[0]
        has_prompt = prompt != self.render(asked, generation_prompt=False) or not before.startswith(prompt)
        return "" if has_prompt else before.removeprefix(prompt).strip()


def _behind_prompt(written: str, prompt: str, content: str) -> str:
    """The end of a conversation up to the end of a reply's content that is left to the model, behind the prompt."""
    if written.startswith(prompt):
        return written.removeprefix(prompt)
    opened, ended = _OPEN_THOUGHT.search(prompt), _ENDED_THOUGHT.search(prompt)
    found = opened or ended
    if found is None or not written.startswith(prompt[: found.start()]):
        raise PromptError(
            "the chat template rewrites the beginning of an assistant's turn, so that its header has no clear end; "
            "pass other template options, or a content that the template keeps"
        )
    begin, end = f"<{found['name']}>", f"</{found['name']}>"
    thought, thinks, said = content.partition(end)
    if thinks and opened:
        thought = thought.partition(begin)[2] if begin in thought else thought
        return f"{thought}{end}{said}".removeprefix(opened["space"])
    if thinks or begin in content:
        raise PromptError(
            f"a reply has {end if thinks else begin}, but the generation prompt ends with {found[0]!r}; set "
            "template.enable_thinking to true, take the thought out, or end it"
        )
    answer = re.sub(rf"^(?:{begin}\s*)?{end}\s*", "", written[found.start() :])
    if not opened:
        return answer
    return (f"\n{end}\n\n" if "\n" in opened["space"] else end) + answer


def _without_thought(prompt: str) -> str:
    """A generation prompt without a thought that it begins, or ends."""
    found = _OPEN_THOUGHT.search(prompt) or _ENDED_THOUGHT.search(prompt)
    return prompt[: found.start()] if found else prompt


def _without_replies(turns: Sequence[Turn]) -> list[Turn]:
    """The turns with a word for what the assistant says: a template may cut its thoughts."""
    return [(role, "r" if role == ASSISTANT else content) for role, content in turns]


def _with_marks(turns: Sequence[Turn]) -> tuple[list[tuple[str, str]], list[Part], str]:
    """The turns as text with numbered markers in the places of other and of literal parts, those, and the marker."""
    contents = [(role, join_text(as_parts(content))) for role, content in turns]
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
    return texts, inserted, marker


def _written(turns: Sequence[Turn], write: Callable[[Sequence[tuple[str, str]]], str]) -> list[Part]:
    """What ``write`` makes of the turns, with their parts in the places of the marks."""
    texts, inserted, marker = _with_marks(turns)
    pieces = re.split(f"{marker}(\\d+)x", write(texts))
    found = [inserted[int(number)] for number in pieces[1::2]]
    if [part for part in found if not isinstance(part, Text)] != [p for p in inserted if not isinstance(p, Text)]:
        raise PromptError(
            "the chat template drops, repeats or reorders a part that is not text; move it to a user turn"
        )
    result: list[Part] = [Text(pieces[0])]
    for part, text in zip(found, pieces[2::2], strict=True):
        result += [part, Text(text)]
    return join_text(result)


def _cut(part: Part, controls: ControlTokens) -> Sequence[Part]:
    """A literal text cut at what could become a control token; any other part as it is."""
    return controls.marked(part.text) if isinstance(part, Text) and part.literal else [part]


def _trusted(content: Prompt | str) -> list[Part]:
    """A content of which no text is literal."""
    return [Text(part.text) if isinstance(part, Text) else part for part in as_parts(content)]


def _stretches(parts: Prompt) -> list[Text]:
    """The texts of a prompt, with a gap in the place of any other part."""
    return [part if isinstance(part, Text) else _GAP for part in parts]


def _text_of(parts: Prompt) -> str:
    return "".join(stretch.text for stretch in _stretches(parts))


def _unused_marker(text: str) -> str:
    """A word of plain letters that does not occur in ``text``."""
    marker = "Qinsertq"
    while marker in text:
        marker += "q"
    return marker


__all__ = ["ChatFormat", "Latents", "Part", "Prompt", "Text", "Tokens", "Turn"]
