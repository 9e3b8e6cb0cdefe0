"""Any conversations as training examples: a message is at the end of the first user turn, as it does at play.

A task with the replies to learn comes from the metadata of a latent store, or from a file that is joined to the store
by id.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from interlat.agents.settings import AgentSettings, MessageKind
from interlat.engine.chat import ASSISTANT, ChatFormat, Turn
from interlat.engine.prompt import Latents, Part, Text, Tokens, token_ids_of
from interlat.errors import InputError, InterlatError, PromptError
from interlat.store.reading import LatentStore
from interlat.tasks.base import SENDER_NOTES, Task, text_of_told
from interlat.tasks.boxed import last_boxed
from interlat.tasks.conversations import load_conversations, turns_of
from interlat.tasks.published import ANSWER_MARK
from interlat.tasks.records import load_records
from interlat.training.assistant_mask import supervised_conversation
from interlat.training.corpus import Corpus, CorpusSource, LengthOf, Options, StoredMessages
from interlat.training.examples import IGNORED, Example
from interlat.training.model import MESSAGE_TOKENS
from interlat.training.options import ConversationOptions

VALIDATION = "validation"
TEST = "test"
_OTHER_SPLIT = (
    ", from another split: collect with --source.split train, or give stored thoughts other splits with "
    "`interlat store split`"
)


@dataclass(frozen=True, eq=False)
class Conversations:
    """A corpus, and how much was left out of it."""

    corpus: Corpus
    """What is learned; its items are the ids of the thoughts, or of the data where there is no store."""
    missing: int
    """Tasks of the data without a thought."""
    too_long: int
    """Items of which max_length left no reply."""
    cut: int
    """Items that lost their end, but not all replies, to max_length."""
    test: int
    """Items of tasks of the split test."""
    refused: Mapping[str, str]
    """Items of which no example could be made, with the reason."""

    @property
    def counts(self) -> str:
        """How many are learned, held out, cut and left out, as a line to print."""
        left_out = f"{self.missing} tasks without a thought, {self.too_long} too long, {self.test} of the split test"
        if self.refused:
            item, reason = next(iter(self.refused.items()))
            left_out += f", {len(self.refused)} refused, such as {item!r} ({reason})"
        return (
            f"{len(self.corpus.training)} conversations to learn, {len(self.corpus.validation)} held out, "
            f"{self.cut} cut at the end; left out: {left_out}"
        )


class ConversationCorpus(CorpusSource):
    """Any conversations: of a file, a folder or the hub, or those that stand beside the messages in their store."""

    name = "conversations"

    def check(self, options: Options) -> None:
        """Refuse a configuration without conversations."""
        if not options["conversations"].data and not options["thoughts"]:
            raise InputError("set conversations.data to a file or hub id, or thoughts to a store that holds them")

    def load(self, options: Options, chat: ChatFormat, messages: StoredMessages | None, length_of: LengthOf) -> Corpus:
        """The conversations, see `load_corpus`."""
        store = messages.stores[0] if messages else None
        found = load_corpus(options["conversations"], chat, store, length_of, options["validation_share"])
        return replace(found.corpus, counts=found.counts)

    def agent_settings(self, options: Options, message_kind: MessageKind) -> AgentSettings:
        """The settings of the conversations."""
        settings: AgentSettings = options["conversations"].settings(message_kind)
        return settings


CONVERSATIONS = ConversationCorpus()


def load_corpus(
    options: ConversationOptions,
    chat: ChatFormat,
    store: LatentStore | None,
    rows_of: Callable[[str], int],
    validation_share: float,
) -> Conversations:
    """The conversations about the thoughts of a store, with some tasks held out.

    An item is a thought, so several samples of a task are items with the same conversation; they and all others with
    the same notes and text (but for white space) are one task. Where some thoughts are of the split "validation", their
    tasks are held out; else a ``validation_share`` of them, at random but always the same ones. Tasks of the split
    "test" are in neither part. Notes that only the sender was told are in no conversation.
    An item of which no example can be made is left out and counted.

    Args:
        options: which conversations.
        chat: the chat format of the model that learns; its tokenizer must have `MESSAGE_TOKENS`.
        store: the thoughts; None takes every task of the data as an item.
        rows_of: item -> positions of the longest message that it will have in training.
        validation_share: share of the tasks to hold out.

    Raises:
        InputError: no such data, a task without a thought, an item that max_length leaves no reply, no ``<bop>`` or
            ``<eop>`` in the vocabulary, no task with a reply, or none left to train on or to validate with.
        PromptError: the chat template does not fit any conversation; names the first.
    """
    if not 0 < validation_share < 1:
        raise InputError(f"validation_share is {validation_share}, expected a number between 0 and 1; correct it")
    items, missing = _items(options, store)
    first_with: dict[str, str] = {}
    task_of = {item: first_with.setdefault(" ".join(task.told.split()), task.id) for item, task in items.items()}
    splits: dict[str, set[str]] = defaultdict(set)
    for item, task in items.items():
        splits[task_of[item]].add(task.split)
    examples, test, too_long, cut = [], 0, 0, 0
    refused: dict[str, InterlatError] = {}
    for item, task in items.items():
        if TEST in splits[task_of[item]]:
            test += 1
            continue
        try:
            whole = conversation_example(item, task, options, chat)
        except (InputError, PromptError) as error:
            refused[item] = error
            continue
        # What a message is long costs a tokenisation, and matters only under a bound.
        rows = 0 if options.max_length is None else rows_of(item)
        example = _within(whole, rows, options.max_length)
        if example is not None:
            examples.append(example)
            cut += len(example.after) < len(whole.after)
        elif options.too_long == "drop":
            too_long += 1
        else:
            raise InputError(
                f"item {item!r} has {len(whole.before)} positions before its message of up to {rows}, which "
                f"leaves no reply within max_length {options.max_length}; raise it, or set too_long to drop"
            )
    if refused and not examples:
        raise next(iter(refused.values()))
    kept = {example.item: task_of[example.item] for example in examples}
    named = {task for task, names in splits.items() if VALIDATION in names}
    held_out = named or _some(list(dict.fromkeys(kept.values())), validation_share)
    training = [example for example in examples if kept[example.item] not in held_out]
    validation = [example for example in examples if kept[example.item] in held_out]
    if not training or not validation:
        raise InputError(
            f"{len(training)} items are left to train on and {len(validation)} for validation, expected at least one "
            f"task each; {test} items are of the split test, {missing} tasks have no thought and {too_long} items are "
            f"too long: give more tasks{_OTHER_SPLIT if test else ''}"
        )
    reasons = {item: str(error) for item, error in refused.items()}
    return Conversations(Corpus(training, validation, kept), missing, too_long, cut, test, reasons)


def conversation_example(item: str, task: Task, options: ConversationOptions, chat: ChatFormat) -> Example:
    """A task as a conversation with a place for a message, whole; learned are all replies and the ends of their turns.

    The ids up to the first reply are those of `Agent.prompt` under the same settings, for any message.

    Raises:
        InputError: no ``<bop>`` or ``<eop>`` in the vocabulary, or nothing to reply in the task.
        PromptError: the chat template does not fit the conversation, or there is nothing to learn.
    """
    settings = options.settings()
    opening, rest = _opening_and_rest(item, task, options.task_turn)
    asked: list[Part] = [*settings.content(opening)]
    if options.place_for_message:
        ids: list[Any] = [chat.tokenizer.convert_tokens_to_ids(token) for token in MESSAGE_TOKENS]
        if {None, chat.tokenizer.unk_token_id} & set(ids):
            raise InputError(f"the tokenizer lacks {' or '.join(MESSAGE_TOKENS)}; add them with add_message_tokens")
        begin, end = (Tokens((token,)) for token in ids)
        asked += [Text(settings.connector), begin, Latents(torch.zeros(1, 1)), end]
    system: list[Turn] = [("system", [Text(settings.system_prompt)])] if settings.system_prompt else []
    later: list[Turn] = [(role, [Text(text, settings.literal)]) for role, text in rest]
    try:
        supervised = supervised_conversation([*system, ("user", asked), *later], chat)
    except PromptError as error:
        # Only here is known which of many conversations it is.
        raise PromptError(f"item {item!r}: {error}") from error
    if options.place_for_message:
        # The three parts are what is before the message, its place, and the rest.
        before, _, after = (tuple(token_ids_of([part])) for part in supervised.parts)
    else:
        first = next(place for place, label in enumerate(supervised.labels) if label != IGNORED)
        tokens = tuple(token_ids_of(supervised.parts))
        before, after = tokens[:first], tokens[first:]
    return Example(before, after, supervised.labels[-len(after) :], (1.0,) * len(after), item)


def _items(options: ConversationOptions, store: LatentStore | None) -> tuple[dict[str, Task], int]:
    """The task of each item, and how many tasks of the data have none."""
    if not options.data:
        if store is None:
            raise InputError("there are neither thoughts nor conversations; set data to a file or hub id")
        tasks = {}
        for identifier in store.ids:
            entry = store.entry(identifier)
            answer = entry.metadata.get("answer")
            known = "" if answer is None else str(answer)
            # A receiver gets the text alone, as it does at play.
            notes = str(entry.metadata.get(SENDER_NOTES) or "")
            text = text_of_told(entry.task, notes)
            tasks[identifier] = Task(entry.task_id, text, known, entry.split, metadata=entry.metadata, notes=notes)
        return tasks, 0
    if options.kind == "conversations":
        loaded = load_conversations(options.data, options.split, options.task_turn)
    else:
        loaded = load_records(options.data, options.split, options.fields, options.name)
    tasks = {task.id: task for task in loaded.tasks}
    if store is None:
        return tasks, 0
    thoughts = _thoughts_of(tasks, store)
    missing = [identifier for identifier in tasks if identifier not in thoughts]
    if missing and options.missing == "error":
        raise InputError(
            f"{len(missing)} of the {len(tasks)} tasks of {options.data} have no thought in {store.directory}, such as "
            f"{missing[0]!r} ({_reason(missing[0], store)}); collect them, or set missing to drop"
        )
    items = {
        item: replace(tasks[identifier], split=split or tasks[identifier].split)
        for identifier, found in thoughts.items()
        for item, split in found
    }
    return items, len(missing)


def _thoughts_of(tasks: Mapping[str, Task], store: LatentStore) -> dict[str, list[tuple[str, str]]]:
    """The thoughts about each task, with their splits, in the order of the tasks; tasks without any are left out."""
    found: dict[str, list[tuple[str, str]]] = {identifier: [] for identifier in tasks}
    columns = (store.table.column(name).to_pylist() for name in ("id", "task_id", "split"))
    for item, task_id, split in zip(*columns, strict=True):
        # A thought has the task's own id, or is one of several samples that name it.
        task = item if item in tasks else task_id
        if task in found:
            found[task].append((item, split))
    return {identifier: thoughts for identifier, thoughts in found.items() if thoughts}


def _reason(identifier: str, store: LatentStore) -> str:
    for item, excluded in store.excluded.items():
        if identifier in (item, item.rpartition("#")[0]):
            return f"{excluded.status}: {excluded.reason}"
    return "never collected"


def _some(tasks: Sequence[str], share: float) -> set[str]:
    """A share of the tasks at random, at least one; none where that would leave nothing else."""
    count = min(max(1, round(share * len(tasks))), len(tasks) - 1)
    return set(random.Random("validation tasks").sample(tasks, count)) if tasks else set()


def _opening_and_rest(item: str, task: Task, task_turn: int) -> tuple[str, list[tuple[str, str]]]:
    """The text of the first user turn, and the turns behind it as ``(role, text)``."""
    if "conversations" not in task.metadata:
        return task.text, [(ASSISTANT, _solution(item, task))]
    turns = turns_of(task.metadata, f"item {item!r}", task_turn)
    asked = [turn["value"] for turn in turns[: task_turn + 1 : 2]]
    rest = [(ASSISTANT if turn["from"] == "gpt" else "user", turn["value"]) for turn in turns[task_turn + 1 :]]
    return "\n".join(asked), rest


def _solution(item: str, task: Task) -> str:
    """The reference solution with its answer, or the answer alone."""
    found = task.metadata.get("solution")
    solution = found if isinstance(found, str) else ""
    if not solution and not task.answer:
        raise InputError(
            f"item {item!r} has neither a conversation nor a solution or an answer, so there is no reply to learn; "
            "set data to a file that has them, or leave the item out"
        )
    if not solution or not task.answer or last_boxed(solution) is not None or ANSWER_MARK in solution:
        return solution or task.answer
    # As GSM8K itself ends a solution.
    return f"{solution}\n{ANSWER_MARK} {task.answer}"


def _within(example: Example, rows: int, max_length: int | None) -> Example | None:
    """The example cut at ``max_length`` positions, a message of ``rows`` included; None if nothing is left to learn."""
    if max_length is None:
        return example
    room = max(0, max_length - len(example.before) - rows)
    after, labels, weights = example.after[:room], example.labels[:room], example.weights[:room]
    if all(label == IGNORED for label in labels):
        return None
    return replace(example, after=after, labels=labels, weights=weights)
