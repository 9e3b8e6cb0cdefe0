"""A team at work: items flow through its members, thoughts in batches, words with continuous refill."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import cast, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interlat.connectors.base import Connector
from interlat.engine.cache import DonatedCache, KVCache, MemoryRow, join_rows, shape_text
from interlat.engine.cache_message import rounded
from interlat.engine.cache_selection import Criterion, select_columns
from interlat.engine.chat import ChatFormat
from interlat.engine.prompt import Prompt, Text, Tokens, join_text, token_ids_of, tokenize
from interlat.engine.protocol import Engine
from interlat.engine.rotary import crossing, mixes_factors
from interlat.engine.sampling import row_seed
from interlat.engine.streaming import Request
from interlat.errors import InputError, PromptError
from interlat.reasoning import final_part
from interlat.teams.team import Member, Team, words_heard

QUESTION = "/question"
"""Segment of what all prompts begin with, where it is read once. No member can be called so."""
_CUT = "\x00"


@dataclass(frozen=True)
class Question:
    """What a team is asked."""

    key: str
    """Name of the item; part of the seeds."""
    text: str
    """Goes to the place of the question in every prompt."""
    others: str = ""
    """What all but the last member are asked instead: the control of a memory of another question."""


@dataclass(frozen=True)
class Turn:
    """What one member did for one item, and what it cost."""

    text: str = ""
    """What it wrote, behind what its prompt began for it (`Member.opening`, and the mark of a thought that the chat
    template opens); empty for latent steps."""
    final: str | None = ""
    """The part of the text that listeners get and graders read (`interlat.reasoning.final_part`); None where it never
    came to an end of its thoughts."""
    token_ids: tuple[int, ...] = ()
    """The same in tokens, special ones included."""
    prompt_tokens: int = 0
    """Positions that it read, without those of memories that it got."""
    latent_steps: int = 0
    decoded_tokens: int = 0
    message_bytes: int = 0
    """Bytes that a listener gets: UTF-8 text without thoughts, or keys and values of columns that are handed over."""
    memory_columns: int = 0
    """Columns that are handed over."""
    forward_passes: int = 0
    stopped: bool = True
    """False where a text ran out of tokens or context."""
    seconds: float = 0.0
    """Its share of the time of a batch of thoughts; words, written with continuous refill, are not timed one by one."""


@dataclass(eq=False)
class TeamRun:
    """One item on its way through a team."""

    question: Question
    turns: dict[str, Turn] = field(default_factory=dict)
    """What each member did, by name."""
    latents: dict[str, Float[Tensor, "K D"]] = field(default_factory=dict)
    """The states of each thought, by member."""
    failure: str = ""
    """Why the item could not be finished; empty if it could."""
    shared: tuple[int, ...] = ()
    """The tokens that all its prompts begin with, where these are read once."""
    memories: dict[str, MemoryRow] = field(default_factory=dict, repr=False)
    """What is handed over to members who have not read it yet, and what all begin with, under the name `QUESTION`."""


def check_members(team: Team, models: Mapping[str, tuple[str, int]]) -> None:
    """Check that the models that members name are there and have the layers that are handed over.

    Args:
        team: the team.
        models: by the names that members use: how they are called, and how many layers they have.

    Raises:
        InputError: a model is missing or has too few layers.
    """
    for member in team.members:
        if member.model not in models:
            raise InputError(f"{member.name} needs the model {member.model!r}, which the team lacks; add it to models")
        name, layers = models[member.model]
        if member.layers and max(member.layers) > layers:
            raise InputError(f"{member.name} hands over layer {max(member.layers)}, but {name} has {layers} layers")


class Teamwork:
    """Runs a team. The law of batching holds: what an item gets does not depend on the items beside it.

    Args:
        team: who works.
        engines: by name of the model; the empty name is the model of members that name none.
        aligns: for each of these models the map from a state to the next input of a latent step.
        batch_size: items in one batch of thoughts, and rows that are written at once.
        seed: of all samples.
        keep_latents: keep the states of thoughts, for traces.
        share_question: read what all prompts of an item begin with once; every member goes on from there and does not
            read it again. Who hears nobody else gets what it would get anyway. Who gets a memory finds the question
            once and before it, where it would otherwise read it anew.
        allow_special_tokens: let control tokens written in a question, or by a member in plain characters, be control
            tokens; without it only those of the team's own prompts are.

    Raises:
        InputError: a member has no engine, a memory would go to a model that cannot read it, or a question is to be
            shared between several models.
        PromptError: the chat template of a member's model refuses its turns.
    """

    def __init__(
        self,
        team: Team,
        engines: Mapping[str, Engine],
        aligns: Mapping[str, Connector],
        *,
        batch_size: int = 16,
        seed: int = 0,
        keep_latents: bool = False,
        share_question: bool = False,
        allow_foreign_cache: bool = False,
        allow_special_tokens: bool = False,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; give at least 1")
        self.team = team
        self.engines = engines
        self.aligns = aligns
        self.batch_size = batch_size
        self.seed = seed
        self.keep_latents = keep_latents
        self.share_question = share_question
        self.literal = not allow_special_tokens
        self._chats: dict[str, ChatFormat] = {}
        if share_question and len({member.model for member in team.members}) > 1:
            raise InputError("the members have different models, so they cannot share what they read; leave it out")
        check_members(team, {name: (engine.name, engine.layers) for name, engine in engines.items()})
        self.allow_foreign_cache = allow_foreign_cache
        self.foreign_caches: list[dict[str, str]] = []
        """Which members read memories of another model, of which one, and what differs between the two."""
        for sender, receiver in hand_overs(team):
            self._check_hand_over(sender, receiver)
        for member in team.members:
            # What no question makes a prompt of is not a matter of one question.
            self._prompt(member, Question("", "x"), "x")

    def run(self, questions: Iterable[Question]) -> Iterator[TeamRun]:
        """Every item once, in the order in which they are finished. Questions are taken as they are needed."""
        flow: Iterator[TeamRun] = (TeamRun(question) for question in questions)
        if self.share_question:
            flow = self._read_questions(flow)
        for member in self.team.members:
            stage = self._think if member.speaks == "latents" else self._write
            flow = stage(member, flow)
        return flow

    def prompt(self, member: Member, work: TeamRun) -> Prompt:
        """What a member reads of an item, after the memories that it gets."""
        heard = [name for name in member.reads if self.team.member(name).speaks == "text"]
        texts = [(name, work.turns[name].final or "") for name in heard]
        return self._prompt(member, work.question, words_heard(texts))

    def _prompt(self, member: Member, question: Question, heard: str) -> Prompt:
        asked = question.text if member is self.team.answerer else question.others or question.text
        turns = [("system", [Text(member.system)])] if member.system else []
        content = member.content(asked, heard, literal=self.literal)
        opening = self._chat(member).opening([*turns, ("user", content)])
        return join_text([*opening, Text(member.opening)])

    def _engine(self, member: Member) -> Engine:
        return self.engines[member.model]

    def _chat(self, member: Member) -> ChatFormat:
        if member.name not in self._chats:
            engine = self._engine(member)
            self._chats[member.name] = engine.with_template(member.template.over(engine.template)).chat
        return self._chats[member.name]

    def _opened_thought(self, member: Member) -> str:
        """The mark of a thought that a member's prompts end with, under its own template options."""
        return self._chat(member).opened_thought

    def _check_hand_over(self, sender: Member, receiver: Member) -> None:
        made, read = self._engine(sender), self._engine(receiver)
        if (made.memory_shape, made.hidden_size) != (read.memory_shape, read.hidden_size):
            raise InputError(
                f"{receiver.name} cannot read the memory of {sender.name}: {made.name} has "
                f"{shape_text(made.memory_shape, made.hidden_size)}, {read.name} has "
                f"{shape_text(read.memory_shape, read.hidden_size)}; let {sender.name} speak text, or give both one "
                "model"
            )
        differing = read.origin.differences(made.origin)
        if differing and not self.allow_foreign_cache:
            raise foreign_cache(sender, receiver, differing)
        if differing:
            pair = {"from": sender.name, "to": receiver.name, "model": made.origin.label, "differs": differing}
            self.foreign_caches.append(pair)

    def _read_questions(self, flow: Iterator[TeamRun]) -> Iterator[TeamRun]:
        """Read what all prompts of an item begin with."""
        engine = self._engine(self.team.answerer)
        while batch := list(islice(flow, self.batch_size)):
            for work in batch:
                with _failure_of(work):
                    work.shared = self._common_beginning(work.question)
                    if len(work.shared) > engine.context_length:
                        raise PromptError(
                            f"what the prompts begin with takes {len(work.shared)} positions, but the context of "
                            f"{engine.name} holds {engine.context_length}"
                        )
            ready = [work for work in batch if not work.failure]
            if ready:
                memory = engine.prefill([[Tokens(work.shared)] for work in ready], segment=QUESTION)
                for row, work in enumerate(ready):
                    work.memories[QUESTION] = MemoryRow(memory, row)
                del memory
            yield from batch

    def _common_beginning(self, question: Question) -> tuple[int, ...]:
        tokenizer = self._engine(self.team.answerer).tokenizer
        prompts = [token_ids_of(tokenize(self._prompt(m, question, _CUT), tokenizer)) for m in self.team.members]
        longest = min(len(ids) for ids in prompts) - 1
        common = next((n for n in range(longest) if len({ids[n] for ids in prompts}) > 1), longest)
        # One token less: what stands at the place of words could have another token before it.
        if common < 2:
            raise InputError("the prompts of the members have no common beginning to share; leave share_question out")
        return tuple(prompts[0][: common - 1])

    def _think(self, member: Member, flow: Iterator[TeamRun]) -> Iterator[TeamRun]:
        while batch := list(islice(flow, self.batch_size)):
            # What selects by attention reads one input more.
            further = member.latent_steps + (member.hands_over == "attention")
            prepared = [(work, self._prepare(member, work, further)) for work in batch]
            ready = [(work, parts) for work, parts in prepared if parts is not None]
            if ready:
                self._think_together(member, [work for work, _ in ready], [parts for _, parts in ready])
            yield from batch

    def _think_together(self, member: Member, batch: Sequence[TeamRun], prompts: Sequence[Prompt]) -> None:
        began = time.perf_counter()
        engine = self._engine(member)
        heard = self._heard(member, batch)
        for work in batch:
            self._forget(member, work)
        before = [0] * len(batch) if heard is None else heard.next_position.tolist()
        moved = None if heard is None else DonatedCache(heard)
        del heard
        memory = engine.prefill(prompts, moved, segment=member.prompt_segment, spare=member.latent_steps)
        read = memory.next_position.tolist()
        align = self.aligns[member.model]
        moved = DonatedCache(memory)
        del memory
        memory, states = engine.think(
            moved, member.latent_steps, align, segment=member.latent_segment, tolerance=member.tolerance
        )
        steps = (memory.next_position - torch.tensor(read, device=memory.next_position.device)).tolist()
        handed = self._handed_over(member, memory, batch)
        columns = [0] * len(batch) if handed is None else handed.lengths.tolist()
        seconds = (time.perf_counter() - began) / len(batch)
        for row, work in enumerate(batch):
            work.turns[member.name] = Turn(
                prompt_tokens=read[row] - before[row],
                latent_steps=steps[row],
                message_bytes=0 if handed is None else columns[row] * _bytes_of_column(member, handed),
                memory_columns=columns[row],
                forward_passes=1 + steps[row] + (member.hands_over == "attention"),
                seconds=seconds,
            )
            if self.keep_latents:
                work.latents[member.name] = states[row, : steps[row]].clone()
            if handed is not None:
                work.memories[member.name] = MemoryRow(handed, row)

    def _handed_over(self, member: Member, memory: KVCache, batch: Sequence[TeamRun]) -> KVCache | None:
        """What listeners get of the memory of a member."""
        if member.hands_over == "nothing":
            return None
        handed = self._selected(member, memory, batch)
        if member.layers:
            handed = handed.only_layers(member.layers)
        abroad = any(pair["from"] == member.name for pair in self.foreign_caches)
        handed = handed.released() if abroad else handed
        return rounded(handed) if member.int8 else handed

    def _selected(self, member: Member, memory: KVCache, batch: Sequence[TeamRun]) -> KVCache:
        if member.hands_over == "own":
            return memory.trim(_columns(memory, lambda name: name.startswith(f"{member.name}/")))
        thoughts = _columns(memory, lambda name: name.endswith("/latents"))
        if member.hands_over == "latents":
            return memory.trim(thoughts)
        if member.hands_over in get_args(Criterion):
            return select_columns(
                self._engine(member),
                memory,
                cast(Criterion, member.hands_over),
                member.share,
                protected=thoughts,
                inputs=self.aligns[member.model](memory.hidden_states[:, None]).to(memory.hidden_states.dtype),
                seeds=[row_seed(self.seed, work.question.key, f"{member.name}/columns") for work in batch],
            )
        return memory

    def _write(self, member: Member, flow: Iterator[TeamRun]) -> Iterator[TeamRun]:
        engine = self._engine(member)
        under_way: dict[str, TeamRun] = {}
        failed: list[TeamRun] = []

        def requests() -> Iterator[Request]:
            for work in flow:
                prompt = self._prepare(member, work, 1)
                if prompt is None:
                    failed.append(work)
                    continue
                if work.question.key in under_way:
                    raise InputError(f"two questions are called {work.question.key!r}; give each its own key")
                under_way[work.question.key] = work
                # No name here may refer to the memory, which is given back while it is read.
                yield self._request(member, work, prompt)

        for written in engine.stream(requests(), member.sampling, batch_size=self.batch_size):
            yield from failed
            failed.clear()
            work = under_way.pop(written.key)
            if not written.sound:
                work.failure = f"{engine.name} computes NaN for what {member.name} reads"
            count = len(written.token_ids)
            text = self._opened_thought(member) + member.opening + written.text
            final = final_part(text)
            work.turns[member.name] = Turn(
                text=text,
                final=final,
                token_ids=tuple(written.token_ids),
                prompt_tokens=written.prompt_tokens,
                decoded_tokens=count,
                message_bytes=len((final or "").encode()),
                forward_passes=1 + count,
                stopped=written.stopped,
            )
            yield work
        yield from failed

    def _request(self, member: Member, work: TeamRun, prompt: Prompt) -> Request:
        names = self._sources(member, work)
        memory: KVCache | MemoryRow | None = work.memories[names[0]] if len(names) == 1 else self._heard(member, [work])
        self._forget(member, work)
        return Request(work.question.key, prompt, row_seed(self.seed, work.question.key, member.name), memory)

    def _prepare(self, member: Member, work: TeamRun, further: int) -> Prompt | None:
        """What a member reads of an item, in tokens; None, and a reason in the item, if that does not fit."""
        engine = self._engine(member)
        ids: tuple[int, ...] = ()
        with _failure_of(work):
            ids = () if work.failure else tuple(token_ids_of(tokenize(self.prompt(member, work), engine.tokenizer)))
        if work.failure:
            return None
        if ids[: len(work.shared)] != work.shared:
            work.failure = f"the prompt of {member.name} does not begin as the others do; leave share_question out"
            return None
        ids = ids[len(work.shared) :]
        sources = self._sources(member, work)
        before = max((work.memories[name].next_position for name in sources), default=0)
        room = engine.context_after(before or len(ids))
        if before + len(ids) + further > room:
            work.failure = (
                f"what {member.name} reads takes {before + len(ids)} positions and {further} more, but the context of "
                f"{engine.name} holds {room}"
            )
            return None
        if mixes_factors(engine.original_length, [work.memories[name].next_position for name in sources]):
            work.failure = f"{member.name} cannot merge what it hears: {crossing(engine.original_length or 0)}"
            return None
        return [Tokens(ids)]

    def _sources(self, member: Member, work: TeamRun) -> list[str]:
        """The memories that a member goes on from."""
        return [name for name in (QUESTION, *member.reads) if name in work.memories]

    def _heard(self, member: Member, batch: Sequence[TeamRun]) -> KVCache | None:
        """The memories that some items bring for a member, merged; all of them bring the same ones."""
        names = self._sources(member, batch[0])
        memories = [join_rows([work.memories[name] for work in batch]) for name in names]
        return KVCache.merge(memories) if memories else None

    def _forget(self, member: Member, work: TeamRun) -> None:
        """Drop memories that no later member listens to."""
        place = self.team.members.index(member)
        later = {name for other in self.team.members[place + 1 :] for name in (QUESTION, *other.reads)}
        for name in [name for name in work.memories if name not in later]:
            del work.memories[name]


def hand_overs(team: Team) -> Iterator[tuple[Member, Member]]:
    """Who hands a memory over to whom."""
    for receiver in team.members:
        for sender in map(team.member, receiver.reads):
            if sender.speaks == "latents" and sender.hands_over != "nothing":
                yield sender, receiver


def foreign_cache(sender: Member, receiver: Member, differing: str) -> InputError:
    """Why a memory is refused that another model made."""
    return InputError(
        f"{receiver.name} would read the memory of {sender.name}, which another model makes: {differing}; give both "
        "one model, or allow it (--allow-foreign-cache)"
    )


@contextlib.contextmanager
def _failure_of(work: TeamRun) -> Iterator[None]:
    """What makes no prompt of one item is its failure and does not end the others."""
    try:
        yield
    except PromptError as error:
        work.failure = str(error)


def _bytes_of_column(member: Member, memory: KVCache) -> int:
    """Bytes of the keys and values of one column of one row that a member hands over."""
    pairs = zip(memory.keys, memory.values, strict=True)
    layers = [pair for n, pair in enumerate(pairs, 1) if not member.layers or n in member.layers]
    # In 8 bits with a scale of four bytes for each head.
    return sum(
        t.shape[1] * (t.shape[3] + 4 if member.int8 else t.shape[3] * t.element_size()) for pair in layers for t in pair
    )


def _columns(memory: KVCache, keep: Callable[[str], bool]) -> Bool[Tensor, "B T"]:
    """The columns of all segments whose names are to be kept."""
    columns = torch.zeros_like(memory.attention_mask)
    for name in filter(keep, memory.segment_names):
        columns = columns | memory.segment(name)
    return columns
