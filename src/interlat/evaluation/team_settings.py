"""Settings of `interlat team`: which teams and controls answer which questions. They need no torch."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from interlat.connectors.registry import parse_connector
from interlat.engine.options import TemplateOptions
from interlat.errors import InputError
from interlat.files import content_digest
from interlat.tasks.grading import GRADERS
from interlat.tasks.sandbox.execution import Limits
from interlat.tasks.sources import TaskSource
from interlat.teams.team import PLACE_OF_QUESTION, CacheTransfer, Member, SenderSettings, Team
from interlat.teams.topologies import ROLES, TeamOptions, make_team

METHODS = ("single", "text", "text_cache", "latent", "team")
BUNDLED = METHODS[:-1]
CONTROLS = ("no_transfer", "steps_0", "random_alignment", "shuffled_memory")
Arrangement = Literal["conversation", "published"]
ARRANGEMENTS: Mapping[str, Mapping[str, Any]] = {
    "conversation": {
        "connector": "vocabulary",
        "team": {
            "topology": "review",
            "layout": "conversation",
            "latent_steps": 10,
            # As one agent is asked: a judger that has to look back for the question forgets its numbers.
            "prompts": {"judger": f"Question: {PLACE_OF_QUESTION}\n\n{ROLES['solver']}"},
        },
    },
    "published": {},
}
"""How a bundled team is arranged, by name: values of fields that nobody gives. conversation was chosen with a small
real model (recipes/latentmas); published is LatentMAS (arXiv 2511.20639), which are the defaults of the fields."""
UNHASHED = ("output", "batch_size", "variants", "limit", "traces", "device", "save_messages")
"""Fields that decide no result."""


@dataclass(frozen=True)
class EvaluateTeams:
    """Ask one agent, teams and controls the same questions and grade their answers."""

    RENAMED: ClassVar[Mapping[str, str]] = {"align": "connector"}

    model: str
    """Folder or hub id of the default model of all members."""
    output: str
    """The run directory. The same command continues an existing run."""
    task: TaskSource
    """The questions. Each needs an answer to be graded against."""
    variants: tuple[str, ...] = ("single", "text", "latent", *CONTROLS)
    """Teams and controls to run. single: one agent. text, latent: the bundled team, with text or latent steps.
    text_cache: the bundled team with text, in the layout conversation.
    Each member continues from the cache of the text. team: the members below.
    The other names are controls of the team with latent steps. no_transfer: passes no cache on.
    steps_0: passes caches on without latent steps. random_alignment: takes the steps along a random rotation.
    shuffled_memory: passes on the caches of another question."""
    team: TeamOptions = field(default_factory=TeamOptions)
    """The bundled team. The variant sets its method."""
    members: tuple[Member, ...] = ()
    """Your own team, in topological order: each member comes after its inputs."""
    models: dict[str, str] = field(default_factory=dict)
    """Folders or hub ids of further models, by the names that members use."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat templates. They override those that a model was trained with. A member may have its own."""
    connector: str = "identity"
    """Map from a state to the next input of a latent step, with options after a colon.
    identity: the state, scaled to the norm of an embedding. ridge: the map of LatentMAS.
    vocabulary, vocabulary:temperature=0.7: the mean embedding of expected tokens.
    topk:k=10,temperature=1: the mean embedding of the likeliest tokens alone. bridge:folder=DIR: a trained map.
    Or a connector of another package."""
    share_question: bool = False
    """Prefill the common beginning of all prompts of a question only once. See `interlat.teams.runner.Teamwork`."""
    allow_foreign_cache: bool = False
    """Let members read caches of other models of the same shape.
    Weights, rotary positions, architecture or tokenizer may differ.
    This is an experiment: the meaning of such a cache is not known. Each record names what differs."""
    allow_special_tokens: bool = False
    """Read control tokens in a question or in a member's text, such as ``<|im_end|>``, as control tokens.
    By default they are plain text."""
    limit: int | None = None
    """Use a fixed random subset of this size. None uses all."""
    batch_size: int = 16
    """Number of questions in progress at once.
    In bfloat16 and float16 an answer depends slightly on the others in its batch. See ``exact``."""
    exact: bool = False
    """Ask every question alone.
    In any number format an answer is then the same bit for bit, whatever ran before and after a kill.
    This is slower."""
    seed: int = 0
    """Seed of samples and controls."""
    engine: str = "hf"
    """The engine that runs the models. hf: the reference. recurrent: for layers that keep a state. vllm: vLLM.
    hybrid: latent steps in hf, all else in vllm. Or an engine of another package.
    Only hf can pass on a part of a cache. The others pass on whole caches."""
    dtype: str = "auto"
    """Number format of the models. auto is bfloat16 where the hardware multiplies it natively, else float32.
    int8 is bfloat16 with weights rounded to int8, which takes half of their memory (needs torchao)."""
    device: str = "auto"
    """Device that the models run on. auto is the accelerator if there is one."""
    limits: Limits = field(default_factory=Limits)
    """Limits on the programs of tasks that ask for one."""
    traces: int = 3
    """Number of likeliest tokens of each latent under the logit lens to save. 0 saves none."""
    save_messages: str = ""
    """Folder for the messages of every member about every question, text or cache: VARIANT/QUESTION/MEMBER.safetensors.
    Empty saves none."""

    def __post_init__(self) -> None:
        for variant in self.variants:
            if variant not in (*METHODS, *CONTROLS):
                raise InputError(f"there is no variant {variant!r}; take some of {', '.join((*METHODS, *CONTROLS))}")
            if variant in BUNDLED and self.members:
                raise InputError(f"variant {variant!r} is for the bundled teams, but members is set; take team")
            if variant == "team" and not self.members:
                raise InputError("variant 'team' needs members; list them, or take latent")
            if variant == "text_cache" and self.team.layout != "conversation":
                raise InputError(
                    f"variant 'text_cache' goes on in a conversation, but team.layout is {self.team.layout!r}; set it "
                    "to conversation, or leave the variant out"
                )
        parse_connector(self.connector)
        if not self.variants:
            raise InputError("no variant to run; name at least one")
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; give at least 1")

    def team_of(self, variant: str) -> Team:
        """The team that plays a variant.

        Raises:
            InputError: a control of a team without latent steps.
        """
        answer_format = self.team.answer_format or GRADERS[self.task.grader].answer_format
        options = replace(self.team, answer_format=answer_format)
        if variant == "single":
            return make_team(replace(options, topology="single"))
        if variant in ("text", "text_cache"):
            transfer: CacheTransfer = "own" if variant == "text_cache" else "all"
            return make_team(replace(options, method="text", cache_transfer=transfer))
        options = replace(options, method="latents")
        team = Team(self.members) if self.members else make_team(options)
        if variant in CONTROLS and all(member.output == "text" for member in team.members):
            raise InputError(f"variant {variant!r} is a control of latent steps, but all members write; leave it out")
        if variant == "no_transfer" and not self.members:
            return make_team(replace(options, cache_transfer="nothing"))
        changes: dict[str, Any] = {"no_transfer": {"cache_transfer": "nothing"}, "steps_0": {"latent_steps": 0}}
        if variant not in changes:
            return team
        return Team(tuple(m if m.output == "text" else replace(m, **changes[variant]) for m in team.members))

    @functools.cached_property
    def hash(self) -> str:
        """Twelve digits of all that decides a result, under the names that older versions hashed."""
        # Not the fields that a command adds.
        everything = _with_older_names(self, EvaluateTeams)
        fields = {name: value for name, value in everything.items() if name not in UNHASHED}
        # Results from before there were these choices keep their hash.
        for name in ("exact", "allow_foreign_cache", "allow_special_tokens"):
            if not fields[name]:
                del fields[name]
        if self.engine == "hf":
            del fields["engine"]
        if self.limits.wall_seconds == Limits().wall_seconds:
            del fields["limits"]["wall_seconds"]
        for settings in (fields["team"], *fields["members"]):
            for name in ("layout", "end_thought"):
                if settings[name] == getattr(SenderSettings(), name):
                    del settings[name]
        described = [(self.template, fields)]
        described += [(member.template, found) for member, found in zip(self.members, fields["members"], strict=True)]
        for template, settings in described:
            settings["template"] = template.record
            if not settings["template"]:
                del settings["template"]
        fields["task"] = self.task.record
        fields["model"] = content_digest(self.model)
        fields["models"] = {name: content_digest(place) for name, place in self.models.items()}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


def _with_older_names(value: Any, kind: Any = None) -> Any:
    """As `dataclasses.asdict`, with the fields (those of ``kind``) under their oldest names (``RENAMED``)."""
    if isinstance(value, tuple | list):
        return [_with_older_names(one) for one in value]
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    older = {new: old for old, new in getattr(value, "RENAMED", {}).items()}
    names = [field.name for field in dataclasses.fields(kind or value)]
    return {older.get(name, name): _with_older_names(getattr(value, name)) for name in names}
