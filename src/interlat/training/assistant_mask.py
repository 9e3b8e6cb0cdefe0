"""A conversation as one training sequence, with labels on what the assistant writes and nowhere else.

It is put together of what a model is given at play, piece by piece: the opening, the reply, what is read behind it, the
next reply. So the ids of training and of play are the same for every chat template, whatever it would make of the
finished conversation; what cannot be put together is an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from interlat.engine.chat import ASSISTANT, ChatFormat, Turn
from interlat.engine.prompt import Latents, Part, Text, Tokens, as_parts, join_text, prompt_length, tokenize
from interlat.errors import PromptError
from interlat.training.examples import IGNORED


@dataclass(frozen=True)
class Supervised:
    """A tokenised conversation and what is learned of it."""

    parts: tuple[Tokens | Latents, ...]
    """The whole conversation; latent rows at their places."""
    labels: tuple[int, ...]
    """For each position of all parts, latent rows included: its token id where it is to be learned, else -100. Not
    shifted: the label of a position is the token that is there, or where a turn ends the token that ends it, in
    whose place templates may write another one when the conversation goes on (gpt-oss)."""


def supervised_conversation(turns: Sequence[Turn], chat: ChatFormat) -> Supervised:
    """Tokenise a conversation and label what the assistant writes.

    Learned is `ChatFormat.reply` of every assistant's turn: all behind the generation prompt, up to and with the token
    that ends the turn. What is behind the last reply is read and not learned. First come other turns, then replies and
    single turns in between; every turn except the assistant's may hold token ids and latents.

    Raises:
        PromptError: the turns are no such conversation, or `ChatFormat` cannot write them.
    """
    replies = [place for place, (role, _) in enumerate(turns) if role == ASSISTANT]
    if not replies:
        raise PromptError("there is no reply to learn; give the conversation an assistant's turn, or leave it out")
    _check_order(turns, replies)
    prompt = chat.opening(turns[: replies[0]])
    parts = tokenize(prompt, chat.tokenizer)
    labels = [IGNORED] * prompt_length(parts)
    for place in replies:
        written = _in_place(chat.reply(_said(turns[place], place), turns[:place]), prompt[-1], chat)
        if place + 1 < len(turns):
            goes_on = place + 2 < len(turns)
            prompt = chat.continuation(turns[place + 1][1], turns[: place + 1], generation_prompt=goes_on)
        else:
            prompt = [Text(chat.end_of_conversation)]
        read = tokenize(prompt, chat.tokenizer)
        # The token that ends the turn is learned where the next thing that is read begins: it ends the reply at play
        # and is never read itself.
        labels += [*written, *[IGNORED] * (prompt_length(read) - 1)]
        parts = tokenize([*parts, Tokens(written[:-1]), *read], chat.tokenizer)
    return Supervised(tuple(parts), tuple(labels))


def _check_order(turns: Sequence[Turn], replies: Sequence[int]) -> None:
    if not replies[0]:
        raise PromptError("the conversation begins with the assistant's turn; begin it with the user's")
    for place in range(replies[0], len(turns)):
        role, expected = turns[place][0], (place - replies[0]) % 2 == 0
        if (role == ASSISTANT) != expected:
            raise PromptError(
                f"turn {place} is the {role}'s, expected {'the assistant' if expected else 'another'}'s; join turns "
                "that follow each other"
            )


def _said(turn: Turn, place: int) -> list[Part]:
    parts = join_text(as_parts(turn[1], literal=True))
    if not all(isinstance(part, Text) for part in parts):
        raise PromptError(
            f"turn {place} is the assistant's and holds token ids or latent rows, expected text only; decode them, or "
            "move them to a user turn"
        )
    return parts


def _in_place(reply: Sequence[Part], prompt: Part, chat: ChatFormat) -> tuple[int, ...]:
    """The ids of a reply as they follow the end of its prompt.

    Some tokenizers split a text in another way at its beginning (SentencePiece adds a space). Where reply and prompt
    share a token, the reply is split alone: at play the prompt is read before a word of it is written.
    """

    def ids(parts: Sequence[Part]) -> tuple[int, ...]:
        return tuple(id for part in tokenize(parts, chat.tokenizer) if isinstance(part, Tokens) for id in part.ids)

    if isinstance(prompt, Text):
        before, both = ids([prompt]), ids([prompt, *reply])
        if both[: len(before)] == before:
            return both[len(before) :]
    return ids(reply)
