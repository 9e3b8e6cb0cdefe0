"""Settings of `interlat team`. They need no torch, so that the command line can read them at once."""

import dataclasses
import functools
import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from interlat.agents.sources import TaskSource
from interlat.engine.options import TemplateOptions
from interlat.errors import InputError
from interlat.files import content_digest
from interlat.tasks.grading import GRADERS
from interlat.tasks.sandbox.execution import Limits
from interlat.teams.team import Member, Team
from interlat.teams.topologies import TeamOptions, make_team

METHODS = ("single", "text", "latent", "team")
CONTROLS = ("no_transfer", "steps_0", "random_alignment", "shuffled_memory")
AlignName = Literal["identity", "ridge", "vocabulary"]


@dataclass(frozen=True)
class EvaluateTeams:
    """Ask one agent, teams and controls the same questions and grade their answers."""

    model: str
    """Folder or hub id of the model of all members that name none."""
    output: str
    """The run directory."""
    task: TaskSource
    """The questions; every one needs an answer to be graded against."""
    variants: tuple[str, ...] = ("single", "text", "latent", *CONTROLS)
    """single: one agent. text, latent: the team, writing or thinking. team: the members given below. Controls of the
    team that thinks: no_transfer hands nothing over; steps_0 hands over memories without a thought; random_alignment
    thinks along a random rotation; shuffled_memory hands over what was thought about another question."""
    team: TeamOptions = field(default_factory=TeamOptions)
    """Which of the teams that come along; its method is that of the variant."""
    members: tuple[Member, ...] = ()
    """A team of your own, in an order in which everybody comes after those whom they listen to."""
    models: dict[str, str] = field(default_factory=dict)
    """Folders or hub ids of further models, by the names that members use."""
    template: TemplateOptions = field(default_factory=TemplateOptions)
    """Arguments of the chat templates, over those that a model was trained with; a member may have further ones."""
    align: AlignName = "identity"
    """From a state to the next input of a latent step: identity with the norm of an embedding, the ridge map of
    LatentMAS, or the mean of the embeddings of expected words."""
    share_question: bool = False
    """Read what all prompts of a question begin with once; see `interlat.teams.runner.Teamwork`."""
    allow_foreign_cache: bool = False
    """Let members read the memories of other models of the same shape, whose weights, rotary positions, architecture or
    tokenizer differ. An experiment: what such a memory means to them is not known. Each record names what differs."""
    allow_special_tokens: bool = False
    """Let control tokens that are written in a question or by a member, such as ``<|im_end|>``, be control tokens
    instead of words."""
    limit: int | None = None
    """Ask this many of the questions, chosen by chance, always the same ones; None asks all."""
    batch_size: int = 16
    """Questions under way at once. In bfloat16 and float16 an answer depends a little on those beside it; see
    ``exact``."""
    exact: bool = False
    """Ask every question alone, so that an answer is the same bit for bit whatever ran before it and after a kill, in
    any number format. Slower."""
    seed: int = 0
    """Seed of samples and controls."""
    dtype: str = "auto"
    """Number format of the models; auto is bfloat16 where the hardware multiplies it natively, else float32."""
    device: str = "auto"
    """Where the models run; auto is the accelerator if there is one."""
    limits: Limits = field(default_factory=Limits)
    """What a program may take, in tasks that ask for one."""
    traces: int = 3
    """Keep what each latent of a thought decodes to: this many of the likeliest tokens. 0 keeps nothing."""

    def __post_init__(self) -> None:
        for variant in self.variants:
            if variant not in (*METHODS, *CONTROLS):
                raise InputError(f"there is no variant {variant!r}; take some of {', '.join((*METHODS, *CONTROLS))}")
            if (variant in ("single", "text", "latent")) and self.members:
                raise InputError(f"variant {variant!r} is of the teams that come along; members is set, so take team")
            if variant == "team" and not self.members:
                raise InputError("variant 'team' needs members; list them, or take latent")
        if not self.variants:
            raise InputError("no variant to run; name at least one")
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; give at least 1")

    def team_of(self, variant: str) -> Team:
        """The team that plays a variant.

        Raises:
            InputError: a control of a team in which nobody thinks.
        """
        answer_format = self.team.answer_format or GRADERS[self.task.grader].answer_format
        options = replace(self.team, answer_format=answer_format)
        if variant == "single":
            return make_team(replace(options, topology="single"))
        if variant == "text":
            return make_team(replace(options, method="text"))
        team = Team(self.members) if self.members else make_team(replace(options, method="latents"))
        if variant in CONTROLS and all(member.speaks == "text" for member in team.members):
            raise InputError(
                f"variant {variant!r} is a control of thoughts, and nobody in this team thinks; leave it out"
            )
        changes: dict[str, Any] = {"no_transfer": {"hands_over": "nothing"}, "steps_0": {"latent_steps": 0}}
        if variant not in changes:
            return team
        return Team(tuple(m if m.speaks == "text" else replace(m, **changes[variant]) for m in team.members))

    @functools.cached_property
    def hash(self) -> str:
        """Twelve digits of all that decides a result: not of the output, the batch size, the variants or the limit."""
        left_out = ("output", "batch_size", "variants", "limit", "traces", "device")
        names = {one.name for one in dataclasses.fields(EvaluateTeams)}.difference(left_out)
        fields = {name: value for name, value in dataclasses.asdict(self).items() if name in names}
        # Results from before there were these choices keep their hash.
        for name in ("exact", "allow_foreign_cache", "allow_special_tokens"):
            if not fields[name]:
                del fields[name]
        if self.limits.wall_seconds == Limits().wall_seconds:
            del fields["limits"]["wall_seconds"]
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
