"""The teams that come along: one agent, agents in a row, experts beside each other, and debates; in words or latents.

The prompts are the same in words and in latents but for the sentence that says where to find what others worked out.
All of them begin with the question. The topologies are those of LatentMAS (arXiv 2511.20639) and of multi-agent debate
(arXiv 2305.14325); the prompts are our own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from interlat.engine.options import Sampling
from interlat.errors import InputError
from interlat.tasks.grading import PLACE_OF_FORMAT
from interlat.teams.team import PLACE_OF_MESSAGES, PLACE_OF_QUESTION, HandsOver, Member, Speaks, Team

Topology = Literal["single", "sequential", "hierarchical", "chained", "debate"]

PLACE_OF_HEARD = "{heard}"
_HEARD: Mapping[Speaks, str] = {
    "text": f"What your colleagues wrote:\n\n{PLACE_OF_MESSAGES}\n\n",
    "latents": "What your colleagues worked out is in your memory, not in words.\n\n",
}

_ANSWER = (
    "Answer the question. Rely on what your colleagues worked out where it is right and do without it where it is not. "
    f"Reason step by step. {PLACE_OF_FORMAT}"
)
_PLACE_OF_DISCIPLINE = "{discipline}"
_EXPERT = (
    f"Work on the question with the eyes of a {_PLACE_OF_DISCIPLINE}. Reason step by step, then say what you take for "
    "the answer."
)
ROLES: Mapping[str, str] = {
    "solver": f"Answer the question. Reason step by step. {PLACE_OF_FORMAT}",
    "planner": (
        "Plan how to get to the answer: a few numbered steps, each in one sentence. Leave the answer itself to others."
    ),
    "critic": (
        "Check the plan. For each step say whether it is right and whether something is missing before the next one. "
        "Where a step is wrong, say what to do instead. Leave the answer itself to others."
    ),
    "refiner": (
        "Write the plan anew: keep its sound steps, mend what the check found, leave out what does not help. A few "
        "numbered steps, nothing else. Leave the answer itself to others."
    ),
    "judger": _ANSWER,
    "mathematician": _EXPERT.replace(_PLACE_OF_DISCIPLINE, "mathematician"),
    "scientist": _EXPERT.replace(_PLACE_OF_DISCIPLINE, "scientist"),
    "programmer": _EXPERT.replace(_PLACE_OF_DISCIPLINE, "programmer"),
    "summariser": _ANSWER,
    "debater": (
        "Work on the question and say what you take for the answer. Where colleagues came to another one, say who is "
        "right and why, and change your mind if it is they."
    ),
}
"""What each role is told to do, behind the question and what it hears."""

EXPERTS = ("mathematician", "scientist", "programmer")


@dataclass(frozen=True)
class TeamOptions:
    """How one of the teams that come along is set up."""

    topology: Topology = "sequential"
    """single: one agent. sequential: planner, critic, refiner and judger. hierarchical: three experts who do not hear
    each other, and a summariser. chained: the same, but each expert gets the memory of those before, as in the released
    code of LatentMAS. debate: debaters who hear each other's last round, and a judger."""
    method: Speaks = "latents"
    """Whether the agents before the last one write or think."""
    latent_steps: int = 10
    """Steps of a thought."""
    tolerance: float = 0.0
    """latents: end a thought where its state changes by less than this share of its norm; 0 never does."""
    hands_over: HandsOver = "all"
    """latents: which part of a memory listeners get."""
    share: float = 0.5
    """latents: which share of the columns of prompts, where a part is selected."""
    layers: tuple[int, ...] = ()
    """latents: the layers that are handed over, from 1 on; empty is all."""
    int8: bool = False
    """latents: hand memories over in 8 bits a number."""
    first_writes: bool = False
    """latents: the first agent writes its message; the others think."""
    agents: int = 3
    """debate: number of debaters."""
    rounds: int = 2
    """debate: number of rounds."""
    answer_format: str = ""
    """A sentence that says what the answer must look like; the task knows it."""
    system: str = ""
    """System turn of every agent; empty is none."""
    opening: str = ""
    """What every reply and thought begins with, such as ``<think>`` and a line break."""
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=1024))
    """How words are chosen."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Other user turns, by role: with ``{question}``, ``{heard}`` and ``{format}`` in their places."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.prompts) - set(ROLES))
        if unknown:
            raise InputError(f"there is no role {unknown[0]!r}; prompts can be given for {', '.join(ROLES)}")
        if self.agents < 1 or self.rounds < 1:
            raise InputError(f"a debate of {self.agents} agents in {self.rounds} rounds; give at least 1 of each")


def make_team(options: TeamOptions) -> Team:
    """One of the teams that come along.

    Raises:
        InputError: the options make no sense together.
    """
    places = _places(options)
    speaks: dict[str, Speaks] = {}
    members = []
    for number, (name, role, reads) in enumerate(places):
        writes = number == len(places) - 1 or (options.first_writes and number == 0)
        speaks[name] = "text" if writes else options.method
        heard = {speaks[other] for other in reads}
        members.append(
            Member(
                name=name,
                prompt=role_prompt(role, "".join(text for kind, text in _HEARD.items() if kind in heard), options),
                reads=tuple(reads),
                speaks=speaks[name],
                latent_steps=options.latent_steps,
                tolerance=options.tolerance,
                hands_over=options.hands_over,
                share=options.share,
                layers=options.layers,
                int8=options.int8,
                system=options.system,
                opening=options.opening,
                sampling=options.sampling,
            )
        )
    return Team(tuple(members))


def role_prompt(role: str, hears: str, options: TeamOptions) -> str:
    """The user turn of a role.

    Args:
        role: one of `ROLES`.
        hears: what stands at the place of what it hears; empty where it hears nothing.
        options: may bring another prompt for the role.
    """
    template = options.prompts.get(role, f"Question: {PLACE_OF_QUESTION}\n\n{PLACE_OF_HEARD}{ROLES[role]}")
    return template.replace(PLACE_OF_HEARD, hears).replace(PLACE_OF_FORMAT, options.answer_format).rstrip()


def _places(options: TeamOptions) -> list[tuple[str, str, Sequence[str]]]:
    """Name, role and whom it listens to, of each member."""
    if options.topology == "single":
        return [("solver", "solver", ())]
    if options.topology == "sequential":
        return _in_a_row(("planner", "critic", "refiner"), "judger", options)
    if options.topology == "hierarchical":
        return [*((role, role, ()) for role in EXPERTS), ("summariser", "summariser", EXPERTS)]
    if options.topology == "chained":
        return _in_a_row(EXPERTS, "summariser", options)
    return _debate(options)


def _in_a_row(roles: Sequence[str], last: str, options: TeamOptions) -> list[tuple[str, str, Sequence[str]]]:
    """Who thinks gets the memory of the one before, which holds all that was before that; who writes gets all texts."""
    first = (lambda place: 0) if options.method == "text" else (lambda place: max(0, place - 1))
    return [(role, role, roles[first(place) : place]) for place, role in enumerate((*roles, last))]


def _debate(options: TeamOptions) -> list[tuple[str, str, Sequence[str]]]:
    places: list[tuple[str, str, Sequence[str]]] = []
    before: tuple[str, ...] = ()
    for number in range(1, options.rounds + 1):
        names = tuple(f"debater {agent}, round {number}" for agent in range(1, options.agents + 1))
        places += [(name, "debater", before) for name in names]
        before = names
    return [*places, ("judger", "judger", before)]
