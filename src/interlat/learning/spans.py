"""A conversation as one training sequence, with labels on what the assistant writes and nowhere else.

Nothing of a chat template is known here, as in `ChatFormat`: where a reply begins and ends is found by rendering the
conversation in several ways and comparing. A reply begins where the template's generation prompt ends, so what is
learned is what the model has to write at play; it ends with the first special token behind its content.
"""

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from interlat.engine.chat import ChatFormat, Turn
from interlat.engine.prompt import Latents, Text, Tokens, as_parts, join_text, prompt_length, tokenize
from interlat.errors import InputError, PromptError
from interlat.learning.examples import IGNORED

ASSISTANT = "assistant"


@dataclass(frozen=True)
class Supervised:
    """A tokenised conversation and what is learned of it."""

    parts: tuple[Tokens | Latents, ...]
    """The whole conversation; latent rows at their places."""
    labels: tuple[int, ...]
    """For each position of all parts, latent rows included: its token id where it is to be learned, else -100. Not
    shifted: the label of a position is the token that stands there."""


class _Reply(NamedTuple):
    """Where an assistant's turn stands in the rendered conversation, in characters."""

    turn: int
    """Its place among all turns."""
    start: int
    """Behind the generation prompt."""
    end: int
    """Behind the content."""
    limit: int
    """Behind what the template writes between this content and the next one."""


class _Token(NamedTuple):
    """A token of the rendered text."""

    id: int
    """In the vocabulary."""
    position: int
    """In the sequence."""
    start: int
    """Its first character in the rendered conversation."""
    end: int
    """Behind its last character."""


def supervised_conversation(
    turns: Sequence[Turn],
    chat: ChatFormat,
    learned: Sequence[bool] | None = None,
    max_length: int | None = None,
) -> Supervised:
    """Tokenise a conversation and label what the assistant writes.

    The tokens are those of the rendered conversation, cut only where a part that is not text stands, as `tokenize`
    does it. The labels of a reply cover all that the template writes behind its own generation prompt, up to and with
    the token that ends the turn: for most templates the content and that token. Templates that lead a reply with a
    space (Mistral, Llama 2) or an empty think block (the last turn of Qwen 3, unless ``enable_thinking`` is false puts
    it into the generation prompt) leave those to the model, so they are learned. Where a template trims or shortens a
    content, what is left of it is learned. A token with characters on both sides of the border is learned.

    Args:
        turns: ``(role, content)`` pairs; token ids and latent rows may stand in every turn but the assistant's.
        chat: the chat format of the model that learns.
        learned: for each assistant turn, in order, whether it is learned; all of them by default.
        max_length: positions after which the sequence is cut; whole by default.

    Returns:
        The sequence and its labels.

    Raises:
        InputError: ``learned`` has not one value for each assistant turn, or ``max_length`` is not positive.
        PromptError: the template refuses, drops or repeats a turn or a part, writes no end of turn, or hides where a
            reply begins; an assistant turn is not text; the cut goes through a message; or nothing is left to learn.
    """
    if not turns:
        raise PromptError("a conversation needs at least one turn; pass [('user', '...'), ('assistant', '...')]")
    if max_length is not None and max_length < 1:
        raise InputError(f"max_length is {max_length}, expected a positive number of positions; raise it or leave it")
    if not chat.tokenizer.is_fast:
        raise PromptError("the tokenizer does not tell which characters a token covers; load its fast version")
    texts, inserted, mark = _with_marks(turns)
    rendered = chat.render(texts, generation_prompt=False)
    closings = _closings(texts, chat, mark)
    replies = [_reply(turn, texts, rendered, closings[turn], chat, mark) for turn in _learned_turns(turns, learned)]
    parts, tokens, message_end = _tokenize(rendered, inserted, chat, mark)
    labels = [IGNORED] * prompt_length(parts)
    special = chat.tokenizer.added_tokens_decoder
    for reply in replies:
        for token in _written(reply, tokens, special):
            labels[token.position] = token.id
    if max_length is not None and len(labels) > max_length:
        if message_end > max_length:
            raise PromptError(
                f"a message ends at position {message_end}, behind max_length {max_length}: it would be cut; raise "
                "max_length, or shorten what stands before it"
            )
        parts, labels = _cut(parts, max_length), labels[:max_length]
    if all(label == IGNORED for label in labels):
        raise PromptError(
            "no token of the conversation is learned; give it an assistant turn that is learned and stands within "
            "max_length, or leave it out"
        )
    return Supervised(tuple(parts), tuple(labels))


def _with_marks(turns: Sequence[Turn]) -> tuple[list[tuple[str, str]], list[Tokens | Latents], str]:
    """The turns as text with numbered marks in the places of other parts, those parts, and the mark."""
    contents = [(role, join_text(as_parts(content))) for role, content in turns]
    mark = _unused_character("".join(part.text for _, parts in contents for part in parts if isinstance(part, Text)))
    inserted: list[Tokens | Latents] = []
    texts: list[tuple[str, str]] = []
    for role, parts in contents:
        pieces = []
        for part in parts:
            if isinstance(part, Text):
                pieces.append(part.text)
            elif role == ASSISTANT:
                raise PromptError(
                    f"turn {len(texts)} is the assistant's and holds token ids or latent rows, expected text only; "
                    "decode them, or move them to a user turn"
                )
            else:
                pieces.append(f"{mark}{len(inserted)}{mark}")
                inserted.append(part)
        texts.append((role, "".join(pieces)))
    return texts, inserted, mark


def _unused_character(text: str) -> str:
    """A character for private use that does not occur in ``text``: no template trims or changes it."""
    return next(character for character in map(chr, range(0xE000, 0xF900)) if character not in text)


def _split(rendered: str, mark: str) -> tuple[list[str], list[int]]:
    """The texts around numbered marks, and the numbers."""
    pieces = re.split(f"{mark}(\\d+){mark}", rendered)
    return pieces[::2], [int(number) for number in pieces[1::2]]


def _learned_turns(turns: Sequence[Turn], learned: Sequence[bool] | None) -> list[int]:
    places = [place for place, (role, _) in enumerate(turns) if role == ASSISTANT]
    if learned is None:
        return places
    if len(learned) != len(places):
        raise InputError(
            f"learned has {len(learned)} values but the conversation has {len(places)} assistant turns; give one each"
        )
    return [place for place, wanted in zip(places, learned, strict=True) if wanted]


def _closings(texts: Sequence[tuple[str, str]], chat: ChatFormat, mark: str) -> dict[int, str]:
    """What the template writes between the content of each turn and the content that comes next."""
    skeleton = [(role, f"{mark}{turn}{mark}") for turn, (role, _) in enumerate(texts)]
    between, order = _split(chat.render(skeleton, generation_prompt=False), mark)
    for turn, (role, _) in enumerate(texts):
        if order.count(turn) != 1:
            raise PromptError(
                f"the chat template writes the content of turn {turn} ({role}) {order.count(turn)} times, expected "
                "once; put it into a turn that the template keeps"
            )
    return dict(zip(order, between[1:], strict=True))


def _reply(
    turn: int, texts: Sequence[tuple[str, str]], rendered: str, closing: str, chat: ChatFormat, mark: str
) -> _Reply:
    """Find an assistant's turn by rendering the conversation without its content, and up to its generation prompt."""
    role, content = texts[turn]
    hole = f"{mark}reply{mark}"
    around = chat.render([*texts[:turn], (role, hole), *texts[turn + 1 :]], generation_prompt=False).split(hole)
    if len(around) != 2 or not rendered.endswith(around[1]):
        raise PromptError(
            f"the chat template drops turn {turn} (assistant), or what it writes behind it depends on its content; "
            "change the content or the template"
        )
    before, after = around
    prompt = chat.render(texts[:turn], generation_prompt=True) if turn else before
    # The generation prompt may be no prefix: Qwen 3 with enable_thinking=False ends it with an empty think block,
    # which earlier turns do not have. There the reply begins where its content would.
    start = next((len(head) for head in (prompt, before) if rendered.startswith(head)), None)
    if start is None:
        raise PromptError(
            f"the chat template rewrites the beginning of turn {turn} (assistant), so that its header has no clear "
            "end; pass other template options, or a content that the template keeps"
        )
    lead = before.removeprefix(prompt) if before.startswith(prompt) else ""
    if lead.strip() and prompt == chat.render(texts[:turn], generation_prompt=False):
        raise PromptError(
            f"the chat template has no generation prompt, so a model would have to write {lead!r} itself; make it "
            "write that where add_generation_prompt is true"
        )
    end = len(rendered) - len(after)
    if content.strip() and not rendered[start:end].strip():
        raise PromptError(
            f"the chat template drops all that turn {turn} (assistant) says; change or leave out the turn"
        )
    return _Reply(turn, start, end, end + len(closing))


def _tokenize(
    rendered: str, inserted: Sequence[Tokens | Latents], chat: ChatFormat, mark: str
) -> tuple[list[Tokens | Latents], list[_Token], int]:
    """The parts of the sequence, the tokens of its texts, and the position behind the last inserted part."""
    pieces, order = _split(rendered, mark)
    if order != list(range(len(inserted))):
        raise PromptError(
            "the chat template drops, repeats or reorders a part that is not text; move it to a user turn"
        )
    parts: list[Tokens | Latents] = []
    tokens: list[_Token] = []
    position = character = message_end = 0
    for number, piece in enumerate(pieces):
        encoding = chat.tokenizer(piece, add_special_tokens=False, return_offsets_mapping=True)
        ids = tuple(encoding["input_ids"])
        for place, (start, end) in enumerate(encoding["offset_mapping"]):
            tokens.append(_Token(ids[place], position + place, character + start, character + end))
        parts.append(Tokens(ids))
        position += len(ids)
        if number < len(inserted):
            parts.append(inserted[number])
            position += prompt_length([inserted[number]])
            message_end = position
            character += len(piece) + len(f"{mark}{number}{mark}")
    return tokenize(parts, chat.tokenizer), tokens, message_end


def _written(reply: _Reply, tokens: Sequence[_Token], special: Container[int]) -> list[_Token]:
    """The tokens of a reply, from the generation prompt to the token that ends the turn."""
    written = []
    for token in tokens:
        if token.end <= reply.start or token.start >= reply.limit:
            continue
        if token.id in special and token.start < reply.start:
            continue  # A header's token that takes in the white space behind it, as Phi 3 has them.
        written.append(token)
        if token.id in special and token.end > reply.end:
            return written
    raise PromptError(
        f"the chat template writes no special token behind turn {reply.turn} (assistant), so a model could not learn "
        "to stop; make the template write one there, such as eos_token"
    )


def _cut(parts: Sequence[Tokens | Latents], length: int) -> list[Tokens | Latents]:
    """The first ``length`` positions; no latent rows stand behind them."""
    kept: list[Tokens | Latents] = []
    for part in parts:
        room = length - prompt_length(kept)
        kept.append(Tokens(part.ids[:room]) if isinstance(part, Tokens) else part)
    return [part for part in kept if prompt_length([part])]
