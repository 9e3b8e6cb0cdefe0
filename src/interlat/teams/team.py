"""A team: a directed graph of agents without cycles, whose edges are messages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from interlat.engine.options import Sampling, TemplateOptions
from interlat.engine.prompt_text import Text, filled
from interlat.errors import InputError

PLACE_OF_QUESTION = "{question}"
PLACE_OF_MESSAGES = "{messages}"

Output = Literal["text", "latents"]
Layout = Literal["chained", "conversation"]
CacheTransfer = Literal["all", "own", "latents", "attention", "nearest", "farthest", "random", "nothing"]


@dataclass(frozen=True, kw_only=True)
class SenderSettings:
    """How members read and make messages, for one member or for all members of a bundled team."""

    RENAMED: ClassVar[Mapping[str, str]] = {"hands_over": "cache_transfer", "share": "kept_fraction"}

    layout: Layout = "chained"
    """How a member reads its inputs. chained: its own chat prompt follows the caches, whose last turn stays open.
    Words are in its user turn (LatentMAS, as published). conversation: all members share one chat.
    The inputs are the assistant's turns, each with the template's end of turn.
    The member's prompt is the next user turn."""
    latent_steps: int = 10
    """Number of latent steps of a member that does not write. With 0 its message is the cache of what it has read."""
    tolerance: float = 0.0
    """Stop the latent steps when a step changes the state by less than this fraction of its norm. 0 takes all steps."""
    end_thought: bool = False
    """Stop the latent steps where the model would end its turn: before a step whose likeliest token is a stop token."""
    cache_transfer: CacheTransfer = "all"
    """Part of the cache that is passed on. all: every position. own: the member's own prompt and latent steps.
    For a member that writes, in the layout conversation: its own prompt and text.
    Its receivers continue from the keys and values of the words and do not read the words again.
    latents: the latent steps of all members.
    attention, nearest, farthest, random: all latent steps and a part of the prompts, see ``kept_fraction``.
    nothing: no position, the control. All positions keep their rotary positions."""
    kept_fraction: float = 0.5
    """Fraction of the prompt positions that is passed on, from 0 to 1.
    attention: the positions that the next step attends to most.
    nearest, farthest: the positions most or least similar to the last one. random: their control.
    The first four positions are always kept (see `interlat.engine.cache_selection`)."""
    layers: tuple[int, ...] = ()
    """Layers, counted from 1, whose keys and values are passed on.
    The receiver's other layers do not see these positions. Empty means all layers."""
    int8: bool = False
    """Pass keys and values on as int8. See `interlat.engine.cache_message.rounded`."""
    system: str = ""
    """System prompt. Empty means none."""
    opening: str = ""
    """Beginning of a reply, such as ``<think>`` and a line break. It is part of the prompt."""
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=1024))
    """How the member decodes text."""

    def __post_init__(self) -> None:
        for name, sound, expected in (
            ("latent_steps", self.latent_steps >= 0, "0 or more"),
            ("tolerance", self.tolerance >= 0, "0 or more"),
            ("layout", self.layout in get_args(Layout), " or ".join(get_args(Layout))),
            ("cache_transfer", self.cache_transfer in get_args(CacheTransfer), " or ".join(get_args(CacheTransfer))),
            ("kept_fraction", 0 <= self.kept_fraction <= 1, "a fraction from 0 to 1"),
            ("layers", all(layer >= 1 for layer in self.layers), "layers from 1 on"),
        ):
            if not sound:
                owner = getattr(self, "name", "the team")
                raise InputError(f"{name} of {owner} is {getattr(self, name)!r}, expected {expected}")


@dataclass(frozen=True)
class Member(SenderSettings):
    """One agent of a team."""

    RENAMED: ClassVar[Mapping[str, str]] = {**SenderSettings.RENAMED, "reads": "inputs", "speaks": "output"}

    name: str
    """Name of the member in the team. It is part of the seed of its samples."""
    prompt: str
    """User turn of the member.
    ``{question}`` and ``{messages}`` mark the places of the question and of its inputs in words.
    Other braces are plain text. In a conversation without ``{messages}``, words are the assistant's turns before it."""
    inputs: tuple[str, ...] = ()
    """Names of the members whose messages it reads.
    It reads the words of an earlier member only if that member is listed.
    A cache holds everything that its sender has read."""
    output: Output = "text"
    """text: it writes words. In a conversation with ``cache_transfer`` own it also passes their cache on.
    latents: it takes latent steps and passes its cache on."""
    model: str = ""
    """Name of its model. Empty means the team's model."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat template. They override those of its model."""

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise InputError(f"a member is called {self.name!r}; give it a name without a slash")
        if self.output not in get_args(Output):
            raise InputError(f"output of {self.name} is {self.output!r}, expected {' or '.join(get_args(Output))}")
        super().__post_init__()

    def content(self, question: str, words: str = "", *, literal: bool = True) -> list[Text]:
        """The user turn of the member. A placeholder inside a value is not filled.

        Args:
            question: replaces ``{question}``.
            words: the text of other members. It replaces ``{messages}``.
            literal: whether control tokens in these two values are plain text.

        Raises:
            PromptError: one of them is not text.
        """
        return filled(self.prompt, {PLACE_OF_QUESTION: question, PLACE_OF_MESSAGES: words}, literal=literal)

    def filled(self, question: str, words: str = "") -> str:
        """The same as one string."""
        return "".join(part.text for part in self.content(question, words))

    @property
    def sends_cache(self) -> bool:
        """Whether its message is a KV cache. Its segments are called NAME/prompt, and NAME/latents or NAME/text."""
        if self.output == "text":
            return self.layout == "conversation" and self.cache_transfer == "own"
        return self.cache_transfer != "nothing"

    @property
    def sends_words(self) -> bool:
        """Whether its message is its text."""
        return self.output == "text" and not self.sends_cache

    @property
    def reads_turns(self) -> bool:
        """Whether the words of its inputs are the assistant's turns before its own user turn."""
        return self.layout == "conversation" and PLACE_OF_MESSAGES not in self.prompt


@dataclass(frozen=True)
class Team:
    """Members in topological order: each comes after its inputs. The last one is the final agent.

    Raises InputError if the order, a name or a prompt is not valid.
    """

    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise InputError("a team needs at least one member")
        known: dict[str, Member] = {}
        for member in self.members:
            if member.name in known:
                raise InputError(f"two members are called {member.name}; give each its own name")
            for name in member.inputs:
                if name not in known:
                    raise InputError(
                        f"{name}, an input of {member.name}, is no earlier member; list members in topological order"
                    )
            if len(set(member.inputs)) < len(member.inputs):
                raise InputError(f"inputs of {member.name} are {', '.join(member.inputs)}; name each member once")
            self._check_inputs(member, [known[name] for name in member.inputs])
            known[member.name] = member
        if self.final_agent.output != "text":
            raise InputError(f"output of {self.final_agent.name}, the final agent, is latents, expected text")
        unread = sorted(set(known) - {self.final_agent.name} - {name for m in self.members for name in m.inputs})
        if unread:
            raise InputError(f"{', '.join(unread)}: the input of no member; leave it out or add it to some inputs")

    def _check_inputs(self, member: Member, inputs: Sequence[Member]) -> None:
        """Check that every input has its place in the prompt of a member, and its own system turn too."""
        words = [one.name for one in inputs if one.sends_words]
        caches = [one for one in inputs if one.sends_cache]
        if words and PLACE_OF_MESSAGES not in member.prompt and (caches or not member.reads_turns):
            raise InputError(
                f"the prompt of {member.name} has no {PLACE_OF_MESSAGES}, so the text of {words[0]} would be lost; "
                "write where it goes"
            )
        before = caches or ([one for one in inputs if one.sends_words] if member.reads_turns else [])
        if member.layout == "conversation" and before and member.system not in ("", before[0].system):
            raise InputError(
                f"system of {member.name} is {member.system[:40]!r}, but it goes on in the conversation of "
                f"{before[0].name}, whose system turn is {before[0].system[:40]!r}; give both the same, or none"
            )

    @property
    def final_agent(self) -> Member:
        """The last member. Its text is the team's answer."""
        return self.members[-1]

    def member(self, name: str) -> Member:
        """The member of that name."""
        return next(member for member in self.members if member.name == name)

    def cache_edges(self) -> list[tuple[Member, Member]]:
        """All pairs of a member that sends a KV cache and one of its receivers."""
        edges = [(self.member(name), receiver) for receiver in self.members for name in receiver.inputs]
        return [(sender, receiver) for sender, receiver in edges if sender.sends_cache]


def joined_messages(texts: Sequence[tuple[str, str]]) -> str:
    """The text that replaces ``{messages}``: each text under the name of its writer."""
    return "\n\n".join(f"[{name}]\n{text.strip()}" for name, text in texts)
