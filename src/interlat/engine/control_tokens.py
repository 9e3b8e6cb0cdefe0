"""Control tokens: they end turns and open messages, so text from outside must never become one."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerBase

from interlat.engine.prompt_text import Text
from interlat.engine.template import TemplateOptions, render_template
from interlat.errors import PromptError
from interlat.reasoning import marks_among

THINK_TAGS = ("<think>", "</think>")
"""Models write them into replies and templates look for them there, so they are content wherever they stand."""
_PRIVATE_USE = [chr(code) for code in range(0xE000, 0xF900)]


class ControlTokens:
    """The control tokens of a tokenizer, found in text and kept out of it. Make it with `control_tokens`.

    Control tokens are the special tokens (``special=True`` or named, such as the end of text), and those other added
    tokens that the chat template writes around the turns of a plain conversation (DeepSeek's are not special). Tokens
    of white space, words and `THINK_TAGS` are content.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        added = tokenizer.added_tokens_decoder
        names = {token.content: number for number, token in added.items() if token.special}
        for name in tokenizer.all_special_tokens:
            number = tokenizer.convert_tokens_to_ids(name)
            names |= {name: number} if isinstance(number, int) else {}
        ordinary = {token.content: number for number, token in added.items() if token.content not in names}
        names |= {name: ordinary[name] for name in _around_turns(tokenizer, ordinary)}
        self.names = {name: number for name, number in names.items() if name.strip() and name not in THINK_TAGS}
        # A tokenizer gives the unknown token for what it cannot spell; that alone does no harm.
        self.ids = frozenset(self.names.values()) - {tokenizer.unk_token_id}
        self._added = added
        self._ordinary = {token.content for token in added.values()} - set(self.names)
        self._twins: dict[str, tuple[Any, dict[int, int]]] = {}
        self._starts = {name[:end] for name in self.names for end in range(1, len(name))}
        self._ends = {name[start:] for name in self.names for start in range(1, len(name))}
        self._found, self._found_ordinary = _finder(self.names), _finder(self._ordinary)
        special = {number: token.content for number, token in added.items() if token.special}
        marks = marks_among(special.values())
        self.marks_of_thoughts = frozenset(number for number, name in special.items() if name in marks)
        self.left_out = frozenset({*special, *tokenizer.all_special_ids}) - self.marks_of_thoughts

    def marked(self, text: str) -> list[Text]:
        """``text`` cut so that whatever could become a control token, or a part of one, is literal.

        A part of one is the beginning of a control token at the end of the text, the rest of one at its beginning, or
        anything within one: neighbours may hold what is missing.
        """
        longest = max(map(len, self.names), default=0)
        if len(text) < longest and any(text in name for name in self.names):
            return [Text(text, True)]
        sizes = range(min(len(text), longest), 0, -1)
        head = next((size for size in sizes if text[:size] in self._ends), 0)
        tail = next((size for size in sizes if text[-size:] in self._starts), 0)
        end = max(head, len(text) - tail)
        pieces = [Text(text[:head], True), *self._cut(text[head:end]), Text(text[end:], True)]
        return [piece for piece in pieces if piece.text]

    def needed(self, stretches: Sequence[Text]) -> list[Text]:
        """The stretches, literal only where they take part in a control token of the joined text."""
        intruding = set(self._found(_joined(stretches))) - set(self._trusted(stretches))
        needed, start = [], 0
        for one in stretches:
            end = start + len(one.text)
            literal = one.literal and any(first < end and start < last for first, last in intruding)
            needed.append(Text(one.text, literal))
            start = end
        # Where control tokens overlap, what takes one away may make another one.
        return needed if self._trusted(needed) == self._trusted(stretches) else list(stretches)

    def intrude(self, stretches: Sequence[Text]) -> bool:
        """Whether literal text takes part in a control token of the joined text, or takes a part of one away."""
        return list(self._found(_joined(stretches))) != self._trusted(stretches)

    def split(self, stretches: Sequence[Text], tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
        """Token ids of the joined text, without special tokens added, in which only trusted text makes control tokens.

        Unless literal text would make one, these are the tokenizer's ids of the joined text. Else they are its ids in
        a vocabulary in which only the trusted control tokens are there: all else is split like ordinary text.

        Raises:
            PromptError: the vocabulary has no ordinary tokens to spell a control token with.
        """
        text = _joined(stretches)
        ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        if not any(stretch.literal for stretch in stretches):
            return ids
        trusted = self._trusted(stretches)
        # The count finds what only the tokenizer's own normalisation turns into a control token.
        if not self.intrude(stretches) and sum(number in self.ids for number in ids) <= len(trusted):
            return ids
        is_fast = isinstance(getattr(tokenizer, "backend_tokenizer", None), Tokenizer)
        return tuple((self._split_fast if is_fast else self._split_slow)(text, trusted, tokenizer))

    def _cut(self, text: str) -> Iterator[Text]:
        start = 0
        for first, end in self._found(text):
            yield Text(text[start:first], False)
            yield Text(text[first:end], True)
            start = end
        yield Text(text[start:], False)

    def _trusted(self, stretches: Sequence[Text]) -> list[tuple[int, int]]:
        """Where trusted text alone writes control tokens in the joined text."""
        return list(self._found("".join("\x00" * len(one.text) if one.literal else one.text for one in stretches)))

    def _split_fast(
        self, text: str, trusted: Sequence[tuple[int, int]], tokenizer: PreTrainedTokenizerBase
    ) -> Iterator[int]:
        mark = next(character for character in _PRIVATE_USE if character not in text)
        if mark not in self._twins:
            self._twins[mark] = self._twin(tokenizer, mark)
        twin, numbers = self._twins[mark]
        pieces, start = [], 0
        for first, end in trusted:
            pieces += [text[start:first], f"{mark}{self.names[text[first:end]]}{mark}"]
            start = end
        for number in twin.encode("".join([*pieces, text[start:]]), add_special_tokens=False).ids:
            yield from [numbers[number]] if number in numbers else self._spelled(number, tokenizer)

    def _twin(self, tokenizer: Any, mark: str) -> tuple[Any, dict[int, int]]:
        """The tokenizer with numbers between marks in the places of control tokens, and the ids of its added tokens."""
        backend = tokenizer.backend_tokenizer
        twin: Any = Tokenizer(backend.model)
        # The parts cannot be set to None.
        if backend.normalizer is not None:
            twin.normalizer = backend.normalizer
        if backend.pre_tokenizer is not None:
            twin.pre_tokenizer = backend.pre_tokenizer
        private = {f"{mark}{number}{mark}": number for number in self.names.values()}
        twin.add_tokens([_like(self._added.get(number), name) for name, number in private.items()])
        ordinary = {token.content: number for number, token in self._added.items() if token.content in self._ordinary}
        twin.add_tokens([self._added[number] for number in ordinary.values()])
        return twin, {twin.token_to_id(name): number for name, number in {**private, **ordinary}.items()}

    def _split_slow(
        self, text: str, trusted: Sequence[tuple[int, int]], tokenizer: PreTrainedTokenizerBase
    ) -> Iterator[int]:
        """As `_split_fast` for a tokenizer in Python, which splits the texts between added tokens one by one."""
        start, strip = 0, False
        for first, end in [*trusted, (len(text), len(text))]:
            number = self.names.get(text[first:end])
            token = None if number is None else self._added.get(number)
            piece = text[start:first].lstrip() if strip else text[start:first]
            yield from self._pieces(piece.rstrip() if token and token.lstrip else piece, tokenizer)
            if number is not None:
                yield number
            start, strip = end, bool(token and token.rstrip)

    def _pieces(self, text: str, tokenizer: Any) -> Iterator[int]:
        start = 0
        for first, end in [*self._found_ordinary(text), (len(text), len(text))]:
            for token in tokenizer.tokenize(text[start:first], split_special_tokens=True) if start < first else ():
                yield from self._spelled(tokenizer.convert_tokens_to_ids(token), tokenizer)
            if first < end:
                yield tokenizer.convert_tokens_to_ids(text[first:end])
            start = end

    def _spelled(self, number: int, tokenizer: Any) -> list[int]:
        """An id as it is, or a control token that the vocabulary also has as a word, by its characters."""
        if number not in self.ids:
            return [number]
        name = tokenizer.convert_ids_to_tokens(number)
        ids = [tokenizer.convert_tokens_to_ids(character) for character in name]
        if any(one is None or one == tokenizer.unk_token_id or one in self.ids for one in ids):
            raise PromptError(
                f"the text holds {name!r}, a control token, and the vocabulary has no other tokens to spell it with; "
                "remove it from the text, or allow special tokens"
            )
        return ids


_KNOWN: "WeakKeyDictionary[PreTrainedTokenizerBase, tuple[tuple[int, Any], ControlTokens]]" = WeakKeyDictionary()


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> ControlTokens:
    """The control tokens of a tokenizer, kept until it gets further tokens or another template."""
    state = (len(tokenizer), tokenizer.chat_template)
    known = _KNOWN.get(tokenizer)
    if known is None or known[0] != state:
        known = _KNOWN[tokenizer] = state, ControlTokens(tokenizer)
    return known[1]


def text_of(token_ids: list[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """The text of ``token_ids`` without special tokens.

    Some tokenizers make special tokens of the marks around thoughts (gpt-oss, Magistral). These stay in the text:
    without them nobody could tell a thought from an answer, see `interlat.reasoning.final_part`.
    """
    known = control_tokens(tokenizer)
    if known.marks_of_thoughts.isdisjoint(token_ids):
        return str(tokenizer.decode(token_ids, skip_special_tokens=True))
    kept = [number for number in token_ids if number not in known.left_out]
    return str(tokenizer.decode(kept, skip_special_tokens=False))


def _joined(stretches: Sequence[Text]) -> str:
    return "".join(stretch.text for stretch in stretches)


def _finder(names: Collection[str]) -> Callable[[str], Iterator[tuple[int, int]]]:
    """What finds some strings in a text, from left to right, the longest where several begin together.

    Made once: some tokenizers (Gemma) have thousands of them.
    """
    sizes = sorted({len(name) for name in names}, reverse=True)
    beginnings = re.compile("|".join(map(re.escape, {name[0] for name in names})) or "(?!)")

    def found(text: str) -> Iterator[tuple[int, int]]:
        start = 0
        while match := beginnings.search(text, start):
            first = match.start()
            start = next((first + size for size in sizes if text[first : first + size] in names), first + 1)
            if text[first:start] in names:
                yield first, start

    return found


def _like(token: AddedToken | None, name: str) -> AddedToken:
    """A token of another name that takes the same white space around it."""
    strips = {} if token is None else {"lstrip": token.lstrip, "rstrip": token.rstrip}
    return AddedToken(name, normalized=False, **strips)


def _around_turns(tokenizer: PreTrainedTokenizerBase, names: Any) -> list[str]:
    """Which of some tokens the chat template writes around the turns of a plain conversation."""
    template = str(tokenizer.chat_template or "")
    names = [name for name in names if name in template and name not in THINK_TAGS and not name.strip().isalnum()]
    if not any(name.strip() for name in names):
        return []
    turns = [(role, "x") for role in ("user", "assistant", "user")]
    try:
        rendered = render_template(tokenizer, turns, TemplateOptions(), generation_prompt=True)
    except PromptError:
        return []
    return [name for name in names if name in rendered]
