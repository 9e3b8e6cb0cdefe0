"""A team: agents that listen to each other, as a graph without cycles."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from interlat.engine.options import Sampling, TemplateOptions
from interlat.engine.prompt_text import Text, filled
from interlat.errors import InputError

PLACE_OF_QUESTION = "{question}"
PLACE_OF_MESSAGES = "{messages}"

Speaks = Literal["text", "latents"]
HandsOver = Literal["all", "own", "latents", "attention", "nearest", "farthest", "random", "nothing"]


@dataclass(frozen=True)
class Member:
    """One agent of a team."""

    name: str
    """Its name in the team; part of the seed of its samples."""
    prompt: str
    """Its user turn, with ``{question}`` and ``{messages}`` in the places of the question and of what it hears in
    words. Other braces mean nothing."""
    reads: tuple[str, ...] = ()
    """The members that it listens to. Words of earlier members reach it only if it listens to them itself; a memory
    holds all that its owner has heard."""
    speaks: Speaks = "text"
    """text: it writes words. latents: it thinks and hands its memory over."""
    latent_steps: int = 10
    """Latent steps of a thought. 0 hands over the memory of what it has read."""
    tolerance: float = 0.0
    """A thought ends early where its state changes by less than this share of its norm in a step; 0 never does."""
    hands_over: HandsOver = "all"
    """What listeners get of its memory: all of it; its own prompt and thoughts; the thoughts of all members in it; all
    thoughts and a share of the prompts, see ``share``; or nothing, the control of a hand-over. What is handed over
    stands at its true positions in any case."""
    share: float = 0.5
    """Which share of the columns of prompts is handed over, from 0 to 1. attention: those that its next step would look
    at most; nearest, farthest: those that are most or least like its last column; random: chance, their control. The
    first four columns always are (see `interlat.engine.cache_selection`)."""
    layers: tuple[int, ...] = ()
    """Numbers of the layers, from 1 on, whose keys and values are handed over; listeners' other layers do not see these
    columns. Empty is all layers."""
    int8: bool = False
    """Hand keys and values over in 8 bits a number, see `interlat.engine.cache_message.rounded`."""
    system: str = ""
    """System turn; empty is none."""
    opening: str = ""
    """What its reply begins with, such as ``<think>`` and a line break; it is part of what is read."""
    model: str = ""
    """Name of its model; empty is the team's."""
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=1024))
    """How it chooses words."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat template, over those of its model."""

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise InputError(f"a member is called {self.name!r}; give it a name without a slash")
        for name, allowed in (("speaks", Speaks), ("hands_over", HandsOver)):
            if getattr(self, name) not in get_args(allowed):
                raise InputError(
                    f"{name} of {self.name} is {getattr(self, name)!r}, expected {' or '.join(get_args(allowed))}"
                )
        if self.latent_steps < 0 or self.tolerance < 0:
            raise InputError(
                f"latent_steps of {self.name} is {self.latent_steps} and tolerance {self.tolerance}; give 0 or more"
            )
        if not 0 <= self.share <= 1 or any(layer < 1 for layer in self.layers):
            raise InputError(
                f"share of {self.name} is {self.share} and layers {list(self.layers)}; give a share from 0 to 1 and "
                "layers from 1 on"
            )

    def content(self, question: str, heard: str = "", *, literal: bool = True) -> list[Text]:
        """Its user turn about a question; what stands in the values is never a place.

        Args:
            question: what is asked.
            heard: what others wrote.
            literal: whether control tokens in these two are words.

        Raises:
            PromptError: one of them is no text.
        """
        return filled(self.prompt, {PLACE_OF_QUESTION: question, PLACE_OF_MESSAGES: heard}, literal=literal)

    def filled(self, question: str, heard: str = "") -> str:
        """The same as one string."""
        return "".join(part.text for part in self.content(question, heard))

    @property
    def prompt_segment(self) -> str:
        """Name of the columns of its prompt in a memory."""
        return f"{self.name}/prompt"

    @property
    def latent_segment(self) -> str:
        """Name of the columns of its thoughts in a memory."""
        return f"{self.name}/latents"


@dataclass(frozen=True)
class Team:
    """Members in an order in which everybody comes after those whom they listen to; the last one answers.

    Raises InputError if the order, a name or a prompt makes no sense: the message says which.
    """

    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise InputError("a team needs at least one member")
        known: dict[str, Member] = {}
        for member in self.members:
            if member.name in known:
                raise InputError(f"two members are called {member.name}; give each its own name")
            for name in member.reads:
                if name not in known:
                    raise InputError(
                        f"{member.name} listens to {name}, which is no member before it; a team is a graph without "
                        "cycles, listed so that everybody comes after those whom they listen to"
                    )
            if len(set(member.reads)) < len(member.reads):
                raise InputError(f"{member.name} listens to a member twice; name each once")
            words = [name for name in member.reads if known[name].speaks == "text"]
            if words and PLACE_OF_MESSAGES not in member.prompt:
                raise InputError(
                    f"the prompt of {member.name} has no {PLACE_OF_MESSAGES}, so what {words[0]} writes would be lost; "
                    "write where it goes"
                )
            known[member.name] = member
        if self.answerer.speaks != "text":
            raise InputError(f"{self.answerer.name} is the last member and thinks in latents; the last one must write")
        unheard = [member.name for member in self.members[:-1] if not self.listeners(member.name)]
        if unheard:
            raise InputError(f"nobody listens to {', '.join(sorted(unheard))}; leave it out or let someone listen")

    @property
    def answerer(self) -> Member:
        """The member whose words are the team's answer."""
        return self.members[-1]

    def member(self, name: str) -> Member:
        """The member of that name."""
        return next(member for member in self.members if member.name == name)

    def listeners(self, name: str) -> list[Member]:
        """Who listens to a member."""
        return [member for member in self.members if name in member.reads]


def words_heard(texts: Sequence[tuple[str, str]]) -> str:
    """What stands at ``{messages}``: each text under the name of who wrote it."""
    return "\n\n".join(f"[{name}]\n{text.strip()}" for name, text in texts)
