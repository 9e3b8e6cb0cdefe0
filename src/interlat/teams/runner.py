"""Runs a team: items flow through its members, with latent steps in batches and text with continuous batching."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from interlat.agents.agent import Agent
from interlat.agents.settings import AgentSettings
from interlat.connectors.base import Connector
from interlat.connectors.identity import NormMatchedIdentity
from interlat.engine.cache import CachedSequence, DonatedCache, KVCache, join_sequences
from interlat.engine.cache_message import cache_of_message, header_of, message_of_cache, rounded
from interlat.engine.prompt import Prompt, Tokens, token_ids_of, tokenize
from interlat.engine.protocol import Engine
from interlat.engine.rotary import crossing, mixes_factors
from interlat.engine.sampling import row_seed
from interlat.engine.streaming import Request
from interlat.errors import InputError, MessageError, PromptError
from interlat.messages import CacheMessage, Message, TextMessage
from interlat.reasoning import final_part
from interlat.teams.prompts import TeamPrompts
from interlat.teams.team import Member, Team
from interlat.teams.transfer import bytes_of_position, check_team, passed_on
from interlat.teams.turns import QUESTION, Question, TeamRun, Turn


class Teamwork:
    """Runs a team. The law of batching holds: the result of an item does not depend on the other items of its batch.

    Args:
        team: the team and its members.
        agents: agents or engines by name of the model. The empty name is for members that name no model. The team uses
            only the engine of an agent. Prompts and sampling are those of the members.
        connectors: for each of these models the map from a state to the next input of a latent step. The default is the
            norm-matched identity.
        batch_size: number of items in one batch.
        seed: seed of all samples.
        keep_latents: keep the states of latent steps, for traces.
        share_question: read the common beginning of all prompts of an item only once. For a member without inputs this
            changes nothing. A receiver of caches reads the question once, before the caches.
        allow_foreign_cache: let members read caches of other models of the same shape.
        allow_special_tokens: read control tokens as control tokens if they are written in a question, or by a member in
            plain characters. By default only those in the team's own prompts are.
        send: called with every message that a member sends, for example to save it. Empty text is not a message.

    Raises:
        InputError: ``batch_size`` is below 1, a member has no model, or ``share_question`` does not fit the team: its
            members have several models, or a conversation.
        MessageError: a member cannot read the cache of one of its inputs.
        PromptError: the chat template of a member's model refuses its turns.
    """

    def __init__(
        self,
        team: Team,
        agents: Mapping[str, Agent | Engine],
        connectors: Mapping[str, Connector] | None = None,
        *,
        batch_size: int = 16,
        seed: int = 0,
        keep_latents: bool = False,
        share_question: bool = False,
        allow_foreign_cache: bool = False,
        allow_special_tokens: bool = False,
        send: Callable[[Question, Member, Message], None] | None = None,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; give at least 1")
        if share_question and len({member.model for member in team.members}) > 1:
            raise InputError("the members have different models, so they cannot share what they read; leave it out")
        if share_question and any(member.inputs and member.layout == "conversation" for member in team.members):
            raise InputError("share_question is on, but a conversation reads its question once anyway; leave it out")
        self.team = team
        self.batch_size = batch_size
        self.seed = seed
        self.keep_latents = keep_latents
        self.share_question = share_question
        self.allow_foreign_cache = allow_foreign_cache
        self.send = send
        engines = {name: one.engine if isinstance(one, Agent) else one for name, one in agents.items()}
        models = {name: engine.origin for name, engine in engines.items()}
        self.foreign_caches = check_team(team, models, allow_foreign_cache=allow_foreign_cache)
        """The members that read caches of another model, that model, and what differs between the two."""
        self.members = {
            one.name: Agent(
                engines[one.model],
                settings=AgentSettings(
                    role=one.name,
                    system_prompt=one.system,
                    sampling=one.sampling,
                    template=one.template,
                    allow_special_tokens=allow_special_tokens,
                ),
            )
            for one in team.members
        }
        self.prompts = TeamPrompts(team, self.members)
        self.connectors = dict(connectors or {})
        for member in team.members:
            if member.int8 or (member.sends_cache and send is not None):
                engines[member.model].check_caches_travel(int8=member.int8)
            if member.output == "latents" and member.model not in self.connectors:
                table = engines[member.model].input_embeddings
                self.connectors[member.model] = NormMatchedIdentity.of_embeddings(table)
            # Templates that refuse every question are an error of the team, not of one item.
            self.prompt(member, TeamRun(Question("", "x"), {one: Turn("x", "x") for one in member.inputs}))

    def run(self, questions: Iterable[Question]) -> Iterator[TeamRun]:
        """Run every item once. Yields them in the order in which they finish, and takes questions as needed.

        Raises:
            InputError: two questions have the same key, or a question comes with a message of an unknown member.
            MessageError: a question comes with a message that its receivers cannot read.
        """
        flow: Iterator[TeamRun] = map(self._begin, questions)
        if self.share_question:
            flow = self._read_questions(flow)
        for member in self.team.members:
            stage = self._make_caches if member.sends_cache or member.output == "latents" else self._write
            flow = stage(member, flow)
        return flow

    def prompt(self, member: Member, run: TeamRun) -> Prompt:
        """The prompt of a member for an item. The member reads it after the caches that it receives."""
        return self.prompts.prompt(member, run)

    def _opened_thought(self, member: Member) -> str:
        """The opening mark of reasoning that a member's prompts end with, under its own template options."""
        return self.members[member.name].chat.opened_thought

    def _begin(self, question: Question) -> TeamRun:
        """An item, with the messages that its question brings in the places of their senders."""
        run = TeamRun(question)
        senders = {member.name: member for member in self.team.members[:-1]}
        for name, message in question.messages.items():
            if name not in senders:
                raise InputError(f"{question.key} brings a message of {name!r}, expected {' or '.join(senders)}")
            self._receive(run, senders[name], message)
        return run

    def _receive(self, run: TeamRun, sender: Member, message: Message) -> None:
        if isinstance(message, TextMessage) and sender.sends_words:
            run.turns[sender.name] = Turn(message.text, message.text, message_bytes=message.byte_size)
            return
        if not isinstance(message, CacheMessage) or sender.sends_words or len(message.next_position) > 1:
            raise MessageError(
                f"{sender.name} sends {sender.output} about {run.question.key}, got a {message.kind} message of shape "
                f"{list(message.header.shape)}; give the message that it sent"
            )
        if (QUESTION in message.segment_names) != self.share_question:
            raise MessageError(
                f"share_question is {self.share_question}, but not in the run that made the cache of {sender.name}; "
                "give both the same"
            )
        readers = [self.members[receiver.name].engine for one, receiver in self.team.cache_edges() if one is sender]
        caches = [cache_of_message(one, message, allow_foreign_cache=self.allow_foreign_cache) for one in readers]
        run.turns[sender.name] = Turn()
        if caches:
            foreign = any(cache.foreign for cache in caches)
            self._pass_on(sender, caches[0].released() if foreign else caches[0], [run])

    def _pass_on(self, member: Member, cache: KVCache, batch: Sequence[TeamRun]) -> None:
        size = bytes_of_position(member, cache)
        for row, (run, count) in enumerate(zip(batch, cache.lengths.tolist(), strict=True)):
            turn = run.turns[member.name]
            run.turns[member.name] = replace(turn, message_bytes=count * size, cache_positions=count)
            run.caches[member.name] = CachedSequence(cache, row)

    def _runs(self, member: Member, run: TeamRun) -> bool:
        """Whether a member has to run for an item: not where messages of an earlier run take its place."""
        needed = {self.team.final_agent.name}
        for one in reversed(self.team.members):
            if one.name in needed and one.name not in run.question.messages:
                needed.update(one.inputs)
        return member.name in needed and member.name not in run.question.messages

    def _read_questions(self, flow: Iterator[TeamRun]) -> Iterator[TeamRun]:
        """Read the common beginning of all prompts of an item."""
        engine = self.members[self.team.final_agent.name].engine
        while batch := list(islice(flow, self.batch_size)):
            for run in batch:
                with _failure_of(run):
                    run.shared = self.prompts.common_beginning(run.question)
                    if len(run.shared) > engine.context_length:
                        raise PromptError(
                            f"what the prompts begin with takes {len(run.shared)} positions, but the context of "
                            f"{engine.name} holds {engine.context_length}"
                        )
            ready = [run for run in batch if not run.failure]
            if ready:
                cache = engine.prefill([[Tokens(run.shared)] for run in ready], segment=QUESTION)
                for row, run in enumerate(ready):
                    run.caches[QUESTION] = CachedSequence(cache, row)
                del cache
            yield from batch

    def _make_caches(self, member: Member, flow: Iterator[TeamRun]) -> Iterator[TeamRun]:
        """Latent steps, or words whose cache is passed on, batch by batch."""
        # Selection by attention reads one input more.
        further = member.latent_steps + (member.cache_transfer == "attention") if member.output == "latents" else 1
        while batch := list(islice(flow, self.batch_size)):
            prepared = [(run, self._prepare(member, run, further)) for run in batch]
            ready = [(run, parts) for run, parts in prepared if parts is not None]
            if ready:
                together = self._think_together if member.output == "latents" else self._write_together
                began = time.perf_counter()
                runs = [run for run, _ in ready]
                together(member, runs, [parts for _, parts in ready])
                seconds = (time.perf_counter() - began) / len(runs)
                for run in runs:
                    run.turns[member.name] = replace(run.turns[member.name], seconds=seconds)
            yield from batch

    def _read(self, member: Member, batch: Sequence[TeamRun], prompts: Sequence[Prompt], spare: int) -> KVCache:
        """The caches of some items with what a member reads of them; counts it."""
        received = self._received(member, batch)
        for run in batch:
            self._forget(member, run)
        before = [0] * len(batch) if received is None else received.next_position.tolist()
        donated = None if received is None else DonatedCache(received)
        del received  # What nobody else refers to is freed while it is copied.
        engine = self.members[member.name].engine
        cache = engine.prefill(prompts, donated, segment=f"{member.name}/prompt", spare=spare)
        for run, read, start in zip(batch, cache.next_position.tolist(), before, strict=True):
            run.turns[member.name] = Turn(prompt_tokens=read - start)
        return cache

    def _think_together(self, member: Member, batch: Sequence[TeamRun], prompts: Sequence[Prompt]) -> None:
        engine, connector = self.members[member.name].engine, self.connectors[member.model]
        cache = self._read(member, batch, prompts, member.latent_steps)
        read = cache.next_position.tolist()
        donated = DonatedCache(cache)
        del cache
        cache, states = engine.think(
            donated,
            member.latent_steps,
            connector,
            segment=f"{member.name}/latents",
            tolerance=member.tolerance,
            stop_ids=engine.stop_ids if member.end_thought else (),
        )
        steps = [end - start for end, start in zip(cache.next_position.tolist(), read, strict=True)]
        for row, run in enumerate(batch):
            run.turns[member.name] = replace(
                run.turns[member.name],
                latent_steps=steps[row],
                forward_passes=1 + steps[row] + (member.cache_transfer == "attention"),
            )
            if self.keep_latents:
                run.latents[member.name] = states[row, : steps[row]].clone()
        if member.sends_cache:
            last = cache.hidden_states
            seeds = [row_seed(self.seed, run.question.key, f"{member.name}/columns") for run in batch]
            cache = passed_on(member, engine, cache, lambda: connector(last[:, None]).to(last.dtype), seeds)
            self._send_caches(member, batch, cache)

    def _write_together(self, member: Member, batch: Sequence[TeamRun], prompts: Sequence[Prompt]) -> None:
        """Words whose cache is passed on."""
        engine = self.members[member.name].engine
        cache = self._read(member, batch, prompts, 0)
        sound = cache.hidden_states.isfinite().all(dim=1).tolist()
        seeds = [row_seed(self.seed, run.question.key, member.name) for run in batch]
        written = engine.decode(cache, member.sampling, seeds, segment=f"{member.name}/text")
        del cache
        for row, run in enumerate(batch):
            self._record_text(member, run, written.texts[row], written.token_ids[row], written.stopped[row], sound[row])
        self._send_caches(member, batch, passed_on(member, engine, written.cache))

    def _record_text(
        self, member: Member, run: TeamRun, written: str, token_ids: Sequence[int], stopped: bool, sound: bool
    ) -> None:
        """Note what a member wrote in the turn that says what it read."""
        if not sound:
            run.failure = f"{self.members[member.name].engine.name} computes NaN for what {member.name} reads"
        text = self._opened_thought(member) + member.opening + written
        final = final_part(text)
        run.turns[member.name] = replace(
            run.turns[member.name],
            text=text,
            final=final,
            token_ids=tuple(token_ids),
            decoded_tokens=len(token_ids),
            message_bytes=len((final or "").encode()),
            forward_passes=1 + len(token_ids),
            stopped=stopped,
        )

    def _send_caches(self, member: Member, batch: Sequence[TeamRun], cache: KVCache) -> None:
        """Pass the caches of some items on, and show them to whoever wants to see messages."""
        if self.send is not None:
            engine = self.members[member.name].engine
            for row, run in enumerate(batch):
                one = cache.select([row])
                provenance = self._provenance(member, run.question)
                self.send(run.question, member, message_of_cache(engine, one, provenance, int8=member.int8))
        abroad = any(pair["from"] == member.name for pair in self.foreign_caches)
        cache = cache.released() if abroad else cache
        self._pass_on(member, rounded(cache) if member.int8 else cache, batch)

    def _provenance(self, member: Member, question: Question) -> dict[str, Any]:
        return {"method": "team", "item": question.key, "member": member.name, "seed": self.seed}

    def _write(self, member: Member, flow: Iterator[TeamRun]) -> Iterator[TeamRun]:
        engine = self.members[member.name].engine
        under_way: dict[str, TeamRun] = {}
        passing: list[TeamRun] = []

        def requests() -> Iterator[Request]:
            for run in flow:
                prompt = self._prepare(member, run, 1)
                if prompt is None:
                    passing.append(run)
                    continue
                if run.question.key in under_way:
                    raise InputError(f"two questions are called {run.question.key!r}; give each its own key")
                under_way[run.question.key] = run
                # No name here may refer to the cache, which is freed while it is read.
                yield self._request(member, run, prompt)

        for written in engine.stream(requests(), member.sampling, batch_size=self.batch_size):
            yield from passing
            passing.clear()
            run = under_way.pop(written.key)
            run.turns[member.name] = Turn(prompt_tokens=written.prompt_tokens)
            self._record_text(member, run, written.text, written.token_ids, written.stopped, written.sound)
            final = run.turns[member.name].final
            if self.send is not None and member is not self.team.final_agent and (final or "").strip():
                header = header_of(engine, self._provenance(member, run.question))
                self.send(run.question, member, TextMessage(final or "", header))
            yield run
        yield from passing

    def _request(self, member: Member, run: TeamRun, prompt: Prompt) -> Request:
        names = self._sources(member, run)
        cache: KVCache | CachedSequence | None = (
            run.caches[names[0]] if len(names) == 1 else self._received(member, [run])
        )
        self._forget(member, run)
        return Request(run.question.key, prompt, row_seed(self.seed, run.question.key, member.name), cache)

    def _prepare(self, member: Member, run: TeamRun, further: int) -> Prompt | None:
        """What a member reads of an item, in tokens; None where it does not run, or cannot: then the item fails."""
        if run.failure or not self._runs(member, run):
            return None
        engine = self.members[member.name].engine
        prompt = None
        with _failure_of(run):
            ids = tuple(token_ids_of(tokenize(self.prompt(member, run), engine.tokenizer)))
            if ids[: len(run.shared)] != run.shared:
                raise PromptError(f"the prompt of {member.name} begins otherwise; leave share_question out")
            ids = ids[len(run.shared) :]
            positions = [run.caches[name].next_position for name in self._sources(member, run)]
            before = max(positions, default=0)
            holds = engine.context_after(before or len(ids))
            if before + len(ids) + further > holds:
                raise PromptError(
                    f"what {member.name} reads takes {before + len(ids)} positions and {further} more, but the context "
                    f"of {engine.name} holds {holds}"
                )
            if mixes_factors(engine.original_length, positions):
                raise PromptError(f"{member.name} cannot merge its inputs: {crossing(engine.original_length or 0)}")
            prompt = [Tokens(ids)]
        return prompt

    def _sources(self, member: Member, run: TeamRun) -> list[str]:
        """The caches that a member continues."""
        return [name for name in (QUESTION, *member.inputs) if name in run.caches]

    def _received(self, member: Member, batch: Sequence[TeamRun]) -> KVCache | None:
        """The caches that some items bring for a member, merged; all of them bring the same ones."""
        names = self._sources(member, batch[0])
        caches = [join_sequences([run.caches[name] for run in batch]) for name in names]
        return KVCache.merge(caches) if caches else None

    def _forget(self, member: Member, run: TeamRun) -> None:
        """Drop caches that no later member reads."""
        place = self.team.members.index(member)
        later = {name for other in self.team.members[place + 1 :] for name in (QUESTION, *other.inputs)}
        for name in [name for name in run.caches if name not in later]:
            del run.caches[name]


@contextlib.contextmanager
def _failure_of(run: TeamRun) -> Iterator[None]:
    """A prompt that cannot be made fails its item and no other."""
    try:
        yield
    except PromptError as error:
        run.failure = str(error)
