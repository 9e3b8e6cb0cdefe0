"""A team at work: items flow through its members, thoughts in batches, words with continuous refill."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from interlat.agents.team import PLACE_OF_MESSAGES, PLACE_OF_QUESTION, Member, Team, words_heard
from interlat.engine.memory import Memory
from interlat.engine.prompt import Part, Text, join_text, prompt_length, tokenize
from interlat.engine.sampling import row_seed
from interlat.engine.streaming import Request
from interlat.engine.transformers import Align, Engine
from interlat.errors import InputError


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
    """What it wrote; empty for a thought."""
    token_ids: tuple[int, ...] = ()
    """The same in tokens, special ones included."""
    prompt_tokens: int = 0
    """Positions that it read, without those of memories that it got."""
    latent_steps: int = 0
    decoded_tokens: int = 0
    message_bytes: int = 0
    """Bytes that a listener gets: UTF-8 text, or keys and values of the columns that are handed over."""
    memory_columns: int = 0
    """Columns that are handed over."""
    forward_passes: int = 0
    stopped: bool = True
    """False where a text ran out of tokens or context."""
    seconds: float = 0.0
    """Its share of the time of a batch of thoughts; words, written with continuous refill, are not timed one by one."""


@dataclass(eq=False)
class Work:
    """One item on its way through a team."""

    question: Question
    turns: dict[str, Turn] = field(default_factory=dict)
    """What each member did, by name."""
    latents: dict[str, Float[Tensor, "K D"]] = field(default_factory=dict)
    """The states of each thought, by member."""
    failure: str = ""
    """Why the item could not be finished; empty if it could."""
    memories: dict[str, Memory] = field(default_factory=dict, repr=False)
    """What is handed over to members who have not read it yet: one row each."""


class Teamwork:
    """Runs a team. The law of batching holds: what an item gets does not depend on the items beside it.

    Args:
        team: who works.
        engines: by name of the model; the empty name is the model of members that name none.
        aligns: for each of these models the map from a state to the next input of a latent step.
        batch_size: items in one batch of thoughts, and rows that are written at once.
        seed: of all samples.
        keep_latents: keep the states of thoughts, for traces.

    Raises:
        InputError: a member has no engine, or a memory would go to a model that cannot read it.
    """

    def __init__(
        self,
        team: Team,
        engines: Mapping[str, Engine],
        aligns: Mapping[str, Align],
        *,
        batch_size: int = 16,
        seed: int = 0,
        keep_latents: bool = False,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; give at least 1")
        self.team = team
        self.engines = engines
        self.aligns = aligns
        self.batch_size = batch_size
        self.seed = seed
        self.keep_latents = keep_latents
        for member in team.members:
            if member.model not in engines:
                raise InputError(
                    f"{member.name} wants the model {member.model!r}, which is not among those of the team"
                )
            for name in member.reads:
                self._check_hand_over(team.member(name), member)

    def run(self, questions: Iterable[Question]) -> Iterator[Work]:
        """Every item once, in the order in which they are finished. Questions are taken as they are needed."""
        flow: Iterator[Work] = (Work(question) for question in questions)
        for member in self.team.members:
            stage = self._think if member.speaks == "latents" else self._write
            flow = stage(member, flow)
        return flow

    def prompt(self, member: Member, work: Work) -> list[Part]:
        """What a member reads of an item, after the memories that it gets."""
        texts = [(name, work.turns[name].text) for name in member.reads if self.team.member(name).speaks == "text"]
        question = work.question
        asked = question.text if member is self.team.answerer else question.others or question.text
        filled = _fill(member.prompt, {PLACE_OF_QUESTION: asked, PLACE_OF_MESSAGES: words_heard(texts)})
        turns = [("system", member.system)] if member.system else []
        opening = self._engine(member).chat.opening([*turns, ("user", filled)])
        return join_text([*opening, Text(member.opening)])

    def _engine(self, member: Member) -> Engine:
        return self.engines[member.model]

    def _check_hand_over(self, sender: Member, receiver: Member) -> None:
        if sender.speaks == "text" or sender.hands_over == "nothing":
            return
        made, read = self._engine(sender), self._engine(receiver)
        if made is not read and made.memory_shape != read.memory_shape:
            raise InputError(
                f"{receiver.name} cannot read the memory of {sender.name}: {made.name} has layers, heads, head size "
                f"and hidden size {list(made.memory_shape)}, {read.name} has {list(read.memory_shape)}; let "
                f"{sender.name} speak text, or give both one model"
            )

    def _think(self, member: Member, flow: Iterator[Work]) -> Iterator[Work]:
        engine = self._engine(member)
        while batch := list(islice(flow, self.batch_size)):
            ready = [work for work in batch if self._prepare(member, work, member.latent_steps)]
            if ready:
                self._think_together(engine, member, ready)
            yield from batch

    def _think_together(self, engine: Engine, member: Member, batch: Sequence[Work]) -> None:
        began = time.perf_counter()
        heard = [self._heard(member, work) for work in batch]
        memory = None if heard[0] is None else Memory.concat([one for one in heard if one is not None])
        prompts = [self.prompt(member, work) for work in batch]
        before = [0] * len(batch) if memory is None else memory.next_position.tolist()
        memory = engine.prefill(prompts, memory, segment=member.prompt_segment)
        read = memory.next_position.tolist()
        align = self.aligns[member.model]
        memory, states = engine.think(memory, member.latent_steps, align, segment=member.latent_segment)
        handed = _handed_over(member, memory)
        seconds = (time.perf_counter() - began) / len(batch)
        for row, work in enumerate(batch):
            one = None if handed is None else handed.select([row])
            columns = 0 if one is None else int(one.lengths)
            work.turns[member.name] = Turn(
                prompt_tokens=read[row] - before[row],
                latent_steps=member.latent_steps,
                message_bytes=0 if one is None else one.nbytes,
                memory_columns=columns,
                forward_passes=1 + member.latent_steps,
                seconds=seconds,
            )
            if self.keep_latents:
                work.latents[member.name] = states[row].clone()
            if one is not None:
                work.memories[member.name] = one
            self._forget(member, work)

    def _write(self, member: Member, flow: Iterator[Work]) -> Iterator[Work]:
        engine = self._engine(member)
        under_way: dict[str, Work] = {}
        failed: list[Work] = []

        def requests() -> Iterator[Request]:
            for work in flow:
                if not self._prepare(member, work, 1):
                    failed.append(work)
                    continue
                if work.question.key in under_way:
                    raise InputError(f"two questions are called {work.question.key!r}; give each its own key")
                under_way[work.question.key] = work
                seed = row_seed(self.seed, work.question.key, member.name)
                memory = self._heard(member, work)
                self._forget(member, work)
                yield Request(work.question.key, self.prompt(member, work), seed, memory)

        for written in engine.stream(requests(), member.sampling, batch_size=self.batch_size):
            yield from failed
            failed.clear()
            work = under_way.pop(written.key)
            if not written.sound:
                work.failure = f"{engine.name} computes NaN for what {member.name} reads"
            count = len(written.token_ids)
            work.turns[member.name] = Turn(
                text=written.text,
                token_ids=tuple(written.token_ids),
                prompt_tokens=written.prompt_tokens,
                decoded_tokens=count,
                message_bytes=len(written.text.encode()),
                forward_passes=1 + count,
                stopped=written.stopped,
            )
            yield work
        yield from failed

    def _prepare(self, member: Member, work: Work, further: int) -> bool:
        """Whether an item goes on; if its prompt does not fit, it is marked as failed here."""
        if work.failure:
            return False
        engine = self._engine(member)
        length = prompt_length(tokenize(self.prompt(member, work), engine.tokenizer))
        memory = self._heard(member, work)
        before = 0 if memory is None else int(memory.next_position)
        if before + length + further > engine.context_length:
            work.failure = (
                f"what {member.name} reads takes {before + length} positions and {further} more, but the context of "
                f"{engine.name} holds {engine.context_length}"
            )
        return not work.failure

    def _heard(self, member: Member, work: Work) -> Memory | None:
        memories = [work.memories[name] for name in member.reads if name in work.memories]
        return Memory.merge(memories) if memories else None

    def _forget(self, member: Member, work: Work) -> None:
        """Drop memories that no later member listens to."""
        place = self.team.members.index(member)
        later = {name for other in self.team.members[place + 1 :] for name in other.reads}
        for name in [name for name in work.memories if name not in later]:
            del work.memories[name]


def _handed_over(member: Member, memory: Memory) -> Memory | None:
    if member.hands_over == "nothing":
        return None
    if member.hands_over == "all":
        return memory
    keep: Callable[[str], bool] = (
        (lambda name: name.startswith(f"{member.name}/"))
        if member.hands_over == "own"
        else (lambda name: name.endswith("/latents"))
    )
    columns = torch.zeros_like(memory.attention_mask)
    for name in filter(keep, memory.segment_names):
        columns = columns | memory.segment(name)
    return memory.trim(columns)


def _fill(template: str, values: Mapping[str, str]) -> str:
    """The template with each place filled once: what stands in a value is never a place."""
    pieces = [template]
    for place, value in values.items():
        split: list[str] = []
        for number, piece in enumerate(pieces):
            # Every second piece is a value that was filled in before.
            split += [piece] if number % 2 else _joined_by(piece.split(place), value)
        pieces = split
    return "".join(pieces)


def _joined_by(pieces: Sequence[str], value: str) -> list[str]:
    joined = [pieces[0]]
    for piece in pieces[1:]:
        joined += [value, piece]
    return joined
