"""Secret contents: something that only the sender is told, and that the receiver is asked for.

Nothing is to be worked out, so whether the receiver answers is whether the channel carried the content; and nobody can
guess, so an answer without a message is next to never right. Success over channels of more and fewer latents is the
curve of what a channel carries (a test of the kind asked for by arXiv 2607.26773). The question does not say of which
kind the secret is, so an answer can follow the message of any other item.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from interlat.errors import InputError
from interlat.tasks.base import Task, TaskSet

Content = Literal["digits", "name", "word"]
CONTENTS: tuple[Content, ...] = get_args(Content)
MOST_LENGTH = 12
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_NAMES = (
    *("Adele", "Bruno", "Clara", "Dorian", "Elena", "Felix", "Greta", "Hector", "Irene", "Jonas", "Karin", "Lukas"),
    *("Maria", "Nadia", "Oscar", "Paula", "Quentin", "Rosa", "Simon", "Tessa", "Ulrich", "Vera", "Walter", "Yvonne"),
)
_FAMILIES = (
    *("Abbott", "Bishop", "Carter", "Dalton", "Ellis", "Fisher", "Garner", "Hudson", "Irving", "Jensen", "Keller"),
    *("Lawson", "Mercer", "Norris", "Osborn", "Parker", "Reeves", "Sutton", "Turner", "Vaughn", "Wallace", "Yates"),
)
# One question for all kinds: an item whose message was swapped for one of another kind can follow it all the same.
_QUESTION = "What is written on the card?"
_NOTES = "On the card is written: {}."


@dataclass(frozen=True)
class SecretOptions:
    """Which secrets are generated."""

    contents: tuple[Content, ...] = CONTENTS
    """Kinds of secrets, used in turn. digits: a number. name: a first and last name. word: a made-up word."""
    length: int = 4
    """Number of digits in a number and of letters in a word."""
    seed: int = 0
    """Seed of the secrets."""

    def __post_init__(self) -> None:
        if not self.contents or not set(self.contents) <= set(CONTENTS) or len(set(self.contents)) < len(self.contents):
            raise InputError(f"contents is {list(self.contents)}, expected some of {', '.join(CONTENTS)}, each once")
        if not 2 <= self.length <= MOST_LENGTH:
            raise InputError(f"length is {self.length}, expected 2 to {MOST_LENGTH}")


def secret_tasks(count: int, split: str, options: SecretOptions | None = None) -> TaskSet:
    """Secrets of one split; no secret is both in train and in test, whatever the numbers and seeds.

    The id is ``secret/<split>/<seed>/<number>``, and a secret does not depend on how many are asked for. The text is
    the question, the notes are what only the sender may see, and the task type is the kind of secret.

    Args:
        split: train or test. Test has the secrets whose bytes sum up to an even number, train the others.

    Raises:
        InputError: fewer than one is asked for, there is no such split, or there are not so many different secrets.
    """
    options = options or SecretOptions()
    if count < 1:
        raise InputError(f"{count} secrets asked for; ask for at least 1")
    if split not in ("train", "test"):
        raise InputError(f"there is no split {split!r}; take train or test")
    rng = random.Random(f"secret/{options.seed}/{options.length}")
    tasks: list[Task] = []
    seen: set[str] = set()
    for number in range(count):
        content = options.contents[number % len(options.contents)]
        answer = _new_secret(content, split, rng, options.length, seen)
        seen.add(answer)
        tasks.append(
            Task(
                id=f"secret/{split}/{options.seed}/{number}",
                text=_QUESTION,
                notes=_NOTES.format(answer),
                answer=answer,
                split=split,
                task_type=content,
                metadata={"length": options.length},
            )
        )
    return TaskSet(tuple(tasks), {"data": f"generated, {options}"})


_ATTEMPTS = 2_000


def _new_secret(content: Content, split: str, rng: random.Random, length: int, seen: set[str]) -> str:
    for _ in range(_ATTEMPTS):
        secret = _DRAWN[content](rng, length)
        if secret not in seen and (sum(secret.encode()) % 2 == 0) == (split == "test"):
            return secret
    raise InputError(
        f"there are too few different secrets of kind {content} and length {length}, got {len(seen)}; ask for fewer, "
        "or raise length"
    )


def _digits(rng: random.Random, length: int) -> str:
    """No leading zero, which a reader of numbers would lose."""
    return str(rng.randrange(10 ** (length - 1), 10**length))


def _name(rng: random.Random, length: int) -> str:
    return f"{rng.choice(_NAMES)} {rng.choice(_FAMILIES)}"


def _word(rng: random.Random, length: int) -> str:
    return "".join(rng.choice(_VOWELS if place % 2 else _CONSONANTS) for place in range(length))


_DRAWN: dict[Content, Callable[[random.Random, int], str]] = {"digits": _digits, "name": _name, "word": _word}
