"""The bundled teams: one agent, agents in a row, experts beside each other, and debates; in text or latents.

The prompts for text and for latents differ in one sentence: where to find what others worked out. All of them begin
with the question. The topologies are those of LatentMAS (arXiv 2511.20639) and of multi-agent debate
(arXiv 2305.14325); the prompts are our own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from interlat.errors import InputError
from interlat.tasks.grading import PLACE_OF_FORMAT
from interlat.teams.team import PLACE_OF_MESSAGES, PLACE_OF_QUESTION, Member, Output, SenderSettings, Team

Topology = Literal["single", "review", "sequential", "hierarchical", "chained", "debate"]

PLACE_OF_HEARD = "{heard}"
_HEARD: Mapping[Output, str] = {
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
    "reviser": "Check the plan and improve it. Leave the answer itself to others.",
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
"""The request to each role, after the question and its inputs."""

TURNS: Mapping[str, str] = {
    "planner": "First make a short plan.",
    "reviser": "Check the plan and improve it.",
    "critic": "Check the plan.",
    "refiner": "Improve the plan.",
    "judger": f"Now solve the question by the plan. Reason step by step. {PLACE_OF_FORMAT}",
}
"""The user turns of plans in a conversation, where longer ones did harm (recipes/latentmas). Other roles are asked as
ever, and a last turn without a plan by `CLOSING`."""
CLOSING = f"Now answer the question. Reason step by step. {PLACE_OF_FORMAT}"
REVIEW = ("planner", "reviser", "judger")
SEQUENCE = ("planner", "critic", "refiner", "judger")
EXPERTS = ("mathematician", "scientist", "programmer")


@dataclass(frozen=True)
class TeamOptions(SenderSettings):
    """Options of the bundled teams."""

    topology: Topology = "sequential"
    """Which members the team has. single: one agent. review: planner, reviser and judger.
    sequential: planner, critic, refiner and judger.
    hierarchical: three experts that do not read each other, and a summariser.
    chained: the same members, but each expert reads the cache of those before (LatentMAS as released).
    debate: debaters that read each other's last round, and a judger."""
    method: Output = "latents"
    """Output of all agents before the last one: text or latents."""
    first_writes: bool = False
    """latents: the first agent writes text. The others take latent steps."""
    agents: int = 3
    """debate: number of debaters."""
    rounds: int = 2
    """debate: number of rounds."""
    answer_format: str = ""
    """Sentence that says what the answer must look like. Empty uses the task's own."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Your own user turns, by role.
    ``{question}``, ``{heard}`` and ``{format}`` mark the places of the question, the inputs and the answer format.
    In a conversation ``{heard}`` is left empty."""

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = sorted(set(self.prompts) - set(ROLES))
        if unknown:
            raise InputError(f"there is no role {unknown[0]!r}; prompts can be given for {', '.join(ROLES)}")
        if self.agents < 1 or self.rounds < 1:
            raise InputError(f"a debate of {self.agents} agents in {self.rounds} rounds; give at least 1 of each")


def make_team(options: TeamOptions) -> Team:
    """One of the bundled teams. Raises InputError if the options make no sense together."""
    places = _places(options)
    output: dict[str, Output] = {name: options.method for name, _, _ in places}
    output[places[-1][0]] = "text"
    if options.first_writes:
        output[places[0][0]] = "text"
    settings: dict[str, Any] = {one.name: getattr(options, one.name) for one in fields(SenderSettings)}
    members = []
    for name, role, inputs in places:
        kinds = {output[one] for one in inputs}
        read = "".join(text for kind, text in _HEARD.items() if kind in kinds)
        if options.layout == "conversation":
            silent = options.method == "latents" and options.cache_transfer == "nothing"
            prompt = _turn_prompt(role, options, begins=silent or not inputs, planned="planner" in output)
        else:
            prompt = role_prompt(role, read, options)
        members.append(Member(name, prompt, tuple(inputs), output[name], **settings))
    return Team(tuple(members))


def _turn_prompt(role: str, options: TeamOptions, *, begins: bool, planned: bool) -> str:
    """The user turn of a role in a conversation; the question is in it where the conversation begins."""
    turn = TURNS.get(role, ROLES[role]) if planned else CLOSING if role in ("judger", "summariser") else ROLES[role]
    question = f"Question: {PLACE_OF_QUESTION}\n\n" if begins else ""
    template = options.prompts.get(role, question + turn)
    return template.replace(PLACE_OF_HEARD, "").replace(PLACE_OF_FORMAT, options.answer_format).rstrip()


def role_prompt(role: str, inputs: str, options: TeamOptions) -> str:
    """The user turn of a role.

    Args:
        role: one of `ROLES`.
        inputs: what replaces ``{heard}``; empty for an agent without inputs.
        options: may bring another prompt for the role.
    """
    template = options.prompts.get(role, f"Question: {PLACE_OF_QUESTION}\n\n{PLACE_OF_HEARD}{ROLES[role]}")
    return template.replace(PLACE_OF_HEARD, inputs).replace(PLACE_OF_FORMAT, options.answer_format).rstrip()


def _places(options: TeamOptions) -> list[tuple[str, str, Sequence[str]]]:
    """Name, role and inputs of each member."""
    if options.topology == "hierarchical":
        return [*((role, role, ()) for role in EXPERTS), ("summariser", "summariser", EXPERTS)]
    if options.topology == "debate":
        return _debate(options)
    rows = {"single": ("solver",), "review": REVIEW, "sequential": SEQUENCE, "chained": (*EXPERTS, "summariser")}
    roles = rows[options.topology]
    # Text: each reads all earlier texts. Latents: each reads the cache before it, which holds all earlier ones.
    first = [0 if options.method == "text" else max(0, place - 1) for place in range(len(roles))]
    return [(role, role, roles[first[place] : place]) for place, role in enumerate(roles)]


def _debate(options: TeamOptions) -> list[tuple[str, str, Sequence[str]]]:
    places: list[tuple[str, str, Sequence[str]]] = []
    before: tuple[str, ...] = ()
    for number in range(1, options.rounds + 1):
        names = tuple(f"debater {agent}, round {number}" for agent in range(1, options.agents + 1))
        places += [(name, "debater", before) for name in names]
        before = names
    return [*places, ("judger", "judger", before)]
