"""A sender's thoughts about tasks, into a latent store: what it writes with the states behind it, or latent steps.

Every thought is on disk as soon as it is finished, so the stage can be killed and continued. What is stored of a task
does not depend on the other tasks, the batch size, the order or the number of processes.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interlat.agents.loading import load_engine
from interlat.agents.prompting import PromptMaker, with_thinking
from interlat.collect.settings import CollectThoughts as CollectThoughts
from interlat.connectors.bridge import Bridge, think_over
from interlat.connectors.identity import NormMatchedIdentity
from interlat.engine.distributed import Ranks
from interlat.engine.prompt import Latents, Prompt, Tokens, prompt_length, tokenize
from interlat.engine.protocol import Engine
from interlat.engine.recorder import LayerSelection
from interlat.engine.sampling import row_seed
from interlat.engine.streaming import Completion, Request
from interlat.engine.template import TemplateOptions
from interlat.errors import InputError, MessageError, PromptError
from interlat.store.index import OPENED_THOUGHT, Entry
from interlat.store.manifest import MANIFEST_FILE, KeptLayer, Manifest, read_manifest
from interlat.store.writer import StoreWriter, finish
from interlat.tasks.base import SENDER_NOTES, Task
from interlat.tasks.grading import grade
from interlat.tasks.sources import some_tasks


@dataclass(frozen=True)
class Progress:
    """How far a collection is."""

    done: int
    """Thoughts of this rank's share that are dealt with, in this run or an earlier one."""
    total: int
    """Thoughts of this rank's share."""
    bytes_written: int
    """Bytes of states that this process has written."""


@dataclass(frozen=True)
class _Item:
    """One thought to be had."""

    id: str
    task: Task
    sample: int
    order: int
    prompt: list[Tokens | Latents]
    opened_thought: str = ""
    """The mark of a thought that the prompt ends with."""
    fault: str = ""
    """Why there is no prompt."""

    @property
    def entry(self) -> Entry:
        """Its entry in the store, without what the model writes."""
        task = self.task
        more = {"answer": task.answer, SENDER_NOTES: task.notes}
        return Entry(
            id=self.id,
            task=task.told,
            task_id=task.id,
            sample=self.sample,
            split=task.split,
            task_type=task.task_type,
            order=self.order,
            metadata={**task.metadata, **{name: value for name, value in more.items() if value}},
        )


def collect_thoughts(config: CollectThoughts, ranks: Ranks | None = None) -> Iterator[Progress]:
    """Run or continue the stage; under ``torchrun`` each rank does its share and the first one makes the index.

    Raises:
        InputError: settings or tasks that make no sense, or an older version began the store with other prompts.
        PromptError: no task makes a prompt.
        StorageError: the store there was made with other settings, or the file system refused.
    """
    ranks = ranks or Ranks.from_environment()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    with ranks.together():
        tasks = config.source.load(config.prompt.resolved_ask(config.source.kind))
        judged = config.grade or config.filters.correct
        if judged and not all(task.answer for task in tasks.tasks):
            raise InputError("some tasks have no answer to judge by; leave out grade and filters.correct")
        engine, _ = load_engine(
            config.model,
            with_thinking(config.prompt.thinking, config.template),
            engine=config.engine,
            dtype=config.dtype,
            device=ranks.device(config.device),
            trust_remote_code=config.trust_remote_code,
        )
        collection = _Collection(config, engine, LayerSelection(config.layers, config.norm), config.bridge(), judged)
        template = config.prompt.resolved_template(config.source)
        chosen = some_tasks(tasks, config.limit)
        items = collection.items(config.prompt.maker(template, engine.tokenizer, engine.template), chosen)
        manifest = collection.manifest(template, config.source.describe(tasks.origin))
        manifest = collection.as_begun(manifest, chosen, items)
        with StoreWriter(config.output, manifest, ranks.rank, config.shard_megabytes * 2**20) as writer:
            contents = writer.contents()
            known = contents.ids
            if config.retry_failed:
                known -= {key for key, one in contents.excluded.items() if one.status == "failed"}
            # Shares are cut from all items and not from those still missing, so that ranks need not agree on these.
            share = ranks.share(items)
            missing = [item for item in share if item.id not in known]
            yield Progress(len(share) - len(missing), len(share), 0)
            for number, _ in enumerate(collection.run(missing, writer), len(share) - len(missing) + 1):
                yield Progress(number, len(share), writer.bytes_written)
        ranks.wait()
        if ranks.is_first:
            finish(config.output)
        ranks.wait()


@dataclass
class _Collection:
    """One rank's work."""

    config: CollectThoughts
    engine: Engine
    kept: LayerSelection
    bridge: Bridge | None
    judged: bool

    def manifest(self, template: str, source: dict[str, Any]) -> Manifest:
        config, engine, bridge = self.config, self.engine, self.bridge
        count = engine.layers
        layers = zip(self.kept.numbers(count), self.kept.norms(count), strict=True)
        prompt = dataclasses.asdict(config.prompt) | {
            "ask": config.prompt.resolved_ask(config.source.kind),
            "template": template,
        }
        del prompt["template_file"]
        settings: dict[str, Any] = {"source": source, "prompt": prompt}
        arguments = engine.template.record
        if config.prompt.thinking != "default":
            del arguments["enable_thinking"]  # It is among the settings of the prompt already.
        if arguments:
            settings["template"] = arguments
        resolved = {**dataclasses.asdict(config), "align": "identity" if bridge is None else "bridge"}
        written = ("sampling", "samples", "seed", "filters", "grade")
        settings |= {
            name: resolved[name] for name in (written if config.method == "full" else ("latent_steps", "align"))
        }
        if config.exact:
            settings["exact"] = True
        if config.engine != "hf":
            settings["engine"] = config.engine
        return Manifest(
            hidden_size=engine.hidden_size if bridge is None else bridge.config.message_size,
            layers=tuple(KeptLayer(number - count - 1, norm) for number, norm in layers),
            state_at=config.state_at,
            dtype=str(engine.dtype).removeprefix("torch.") if config.store_dtype == "auto" else config.store_dtype,
            encoding=config.encoding,
            method=config.method,
            prompt_states=config.prompt_states,
            model=engine.name,
            revision=engine.revision,
            weights_fingerprint=engine.weights_fingerprint,
            tokenizer_fingerprint=engine.tokenizer_fingerprint,
            settings=settings,
        )

    def as_begun(self, manifest: Manifest, tasks: Sequence[tuple[int, Task]], items: Sequence[_Item]) -> Manifest:
        """The manifest in its older form, without ``prompt.allow_special_tokens``, if an older version began the store.

        Such a version let control tokens in a task be control tokens, began no bare text, and wrote the day's date
        where the chat template asks for one. Where that makes the same prompts, the store goes on; raises InputError
        where one differs.
        """
        output, tokenizer, template = self.config.output, self.engine.tokenizer, self.engine.template
        if not (Path(output) / MANIFEST_FILE).exists():
            return manifest
        begun = read_manifest(output).settings.get("prompt")
        if not isinstance(begun, dict) or "allow_special_tokens" in begun:
            return manifest
        prompt = {name: value for name, value in manifest.settings["prompt"].items() if name != "allow_special_tokens"}
        settings = {**manifest.settings, "prompt": prompt}
        older, dated = (
            {item.id: item.prompt for item in self.items(PromptMaker.as_collected(settings, tokenizer, one), tasks)}
            for one in (template, TemplateOptions(date="2000-01-01").over(template))
        )
        differing = next((i.id for i in items if not i.prompt == older[i.id] == dated[i.id]), None)
        if differing is not None:
            raise InputError(
                f"an older version began the store {output}, and the prompt of {differing} is another one now "
                "(control tokens in a task are words, a bare text has its beginning, and a date is fixed); collect "
                "into another output"
            )
        return dataclasses.replace(manifest, settings=settings)

    def items(self, make_prompt: PromptMaker, tasks: Sequence[tuple[int, Task]]) -> list[_Item]:
        """All thoughts to be had, longest prompt first. Raises PromptError if no task makes a prompt."""
        items = []
        samples = self.config.samples
        for place, task in tasks:
            prompt: list[Tokens | Latents] = []
            fault = opened = ""
            try:
                prompt = tokenize(make_prompt(task.told), self.engine.tokenizer)
                opened = make_prompt.opened_thought(task.told)
            except PromptError as error:
                fault = str(error)
            for sample in range(samples):
                identifier = task.id if samples == 1 else f"{task.id}#{sample}"
                items.append(_Item(identifier, task, sample, place * samples + sample, prompt, opened, fault))
        if all(item.fault for item in items):
            # Not a matter of one task.
            raise PromptError(items[0].fault)
        return sorted(items, key=lambda item: (-prompt_length(item.prompt), item.order))

    def run(self, items: Sequence[_Item], writer: StoreWriter) -> Iterator[_Item]:
        """Deal with every item; yields each when it is on disk."""
        self.writer = writer
        reasons = [(item, self._unfit(item)) for item in items]
        for item, reason in reasons:
            if reason:
                writer.exclude(item.id, "failed", reason)
                yield item
        fitting = [item for item, reason in reasons if not reason]
        yield from self._write(fitting) if self.config.method == "full" else self._think(fitting)

    def _unfit(self, item: _Item) -> str:
        length = prompt_length(item.prompt)
        if item.fault:
            return item.fault
        if not item.task.text.strip() or not length:
            return "the task is empty"
        room = self.engine.context_after(length)
        is_long = length + (1 if self.config.method == "full" else self.config.latent_steps) > room
        return f"prompt too long: {length} positions, and the context holds {room}" if is_long else ""

    def _write(self, items: Sequence[_Item]) -> Iterator[_Item]:
        config = self.config
        by_id = {item.id: item for item in items}
        stream = self.engine.stream(
            (Request(item.id, item.prompt, row_seed(config.seed, item.id, "sender")) for item in items),
            config.sampling,
            batch_size=config.rows_at_once,
            kept=self.kept,
            state_at=config.state_at,
            prompt_states=config.prompt_states,
        )
        for written in stream:
            self._store_written(by_id[written.key], written)
            yield by_id[written.key]

    def _store_written(self, item: _Item, written: Completion) -> None:
        if not written.sound:
            self.writer.exclude(item.id, "failed", "the model computes NaN or infinite values for this prompt")
            return
        if not written.text.strip():
            self.writer.exclude(item.id, "failed", "empty plan")
            return
        verdict = grade(item.opened_thought + written.text, item.task) if self.judged else None
        against = self.config.filters.reason_against(len(written.token_ids), written.stopped, verdict)
        if against:
            self.writer.exclude(item.id, "filtered", against)
            return
        metadata: dict[str, Any] = {OPENED_THOUGHT: item.opened_thought} if item.opened_thought else {}
        if verdict is not None:
            metadata["verdict"] = {"correct": verdict.correct, "how": verdict.how}
        entry = dataclasses.replace(
            item.entry, plan=written.text, token_ids=tuple(written.token_ids), finished=written.stopped
        )
        self._append(entry, metadata, written.hidden_states, written.prompt_states)

    def _think(self, items: Sequence[_Item]) -> Iterator[_Item]:
        for start in range(0, len(items), self.config.rows_at_once):
            batch = items[start : start + self.config.rows_at_once]
            rows, prompt_states = self._latents([item.prompt for item in batch])
            for item, latents, states in zip(batch, rows, prompt_states, strict=True):
                self._append(item.entry, {}, latents, states)
                yield item

    def _latents(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Sequence[Tensor | None]]:
        """The rows of some prompts, and the states of the prompts where they are kept."""
        steps = self.config.latent_steps
        states: Sequence[Tensor | None] = [None] * len(prompts)
        if self.bridge is not None:
            return think_over(self.engine, self.bridge.to(self.engine.device), prompts, steps)[1], states
        if self.config.prompt_states:
            cache, states = self.engine.prefill_hidden(prompts, kept=self.kept)
        else:
            cache = self.engine.prefill(prompts)
        return self.engine.think(cache, steps, self._identity, kept=self.kept)[1], states

    @functools.cached_property
    def _identity(self) -> NormMatchedIdentity:
        return NormMatchedIdentity.of_embeddings(self.engine.input_embeddings)

    def _append(self, entry: Entry, metadata: dict[str, Any], rows: Tensor, prompt_states: Tensor | None) -> None:
        try:
            entry = dataclasses.replace(entry, metadata={**entry.metadata, **metadata})
            self.writer.append(entry, rows, prompt_states)
        except MessageError as error:
            # One bad thought, such as a NaN, is counted and named; it does not end the others.
            self.writer.exclude(entry.id, "failed", str(error))
