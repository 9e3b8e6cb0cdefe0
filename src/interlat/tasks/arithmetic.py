"""Generated word problems: who has how many of something, in a few statements that build on each other.

They need no download, there are as many as anyone wants, and how hard they are is a number: the statements of a
problem. Each comes with a plan and a worked solution, for training small models from scratch.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from interlat.errors import InputError
from interlat.tasks.base import Task, TaskSet

PEOPLE = ("Anna", "Ben", "Cara", "Dan", "Eva", "Finn", "Gina", "Hugo", "Ida", "Jon")
THINGS = ("apples", "books", "coins", "eggs", "keys", "pens", "shells", "stamps")
LARGEST = 99
"""No number of a problem or its solution is larger."""
TEST_SHARE = 0.1


@dataclass(frozen=True)
class ArithmeticOptions:
    """Which word problems are generated."""

    statements: tuple[int, int] = (3, 5)
    """Smallest and largest number of statements in a problem. More statements are harder."""
    seed: int = 0
    """Seed of the problems."""
    split_facts: bool = field(default=False, repr=False)
    """Tell the statements to the sender alone, as the notes of a task.
    The question alone, such as how many apples Ben has, then has no answer, so a channel has something to carry.
    Problems and ids stay the same."""

    def __post_init__(self) -> None:
        fewest, most = self.statements
        if not 2 <= fewest <= most <= len(PEOPLE):
            raise InputError(f"statements is {list(self.statements)}; give two numbers from 2 to {len(PEOPLE)}")


@dataclass
class _Story:
    """What has been told so far."""

    things: str
    counts: dict[str, int] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    steps: list[tuple[str, tuple[str, ...], str]] = field(default_factory=list)
    """(who, whose numbers that takes, the calculation)"""

    def some(self, count: int, more: str = "") -> str:
        """So many of the things; all of their names lose an s in the singular."""
        return f"{count} {more}{self.things[:-1] if count == 1 else self.things}"

    def newcomer(self, people: Sequence[str]) -> str | None:
        return next((who for who in people if who not in self.counts), None)

    def tell(self, who: str, count: int, sentence: str, needs: Sequence[str] = (), sum_: str = "") -> None:
        self.counts[who] = count
        self.sentences.append(sentence)
        self.steps.append((who, tuple(needs), f"{who} {sum_ + ' = ' if sum_ else ''}{count}."))


def arithmetic_problems(count: int, split: str, options: ArithmeticOptions | None = None) -> TaskSet:
    """Different problems of one split; no problem is both in train and in test, whatever the numbers and seeds.

    The id is ``arithmetic/<split>/<seed>/<number>``, and a problem does not depend on how many are asked for. The
    answer is a number from 0 to 99; ``metadata`` holds ``plan`` (whose numbers to find, in order), ``evidence`` (the
    statements that the answer takes, the last one first, as one finds them from the question), ``solution`` (with the
    calculations), ``statements`` and ``level``, one less than these; the task type says how many statements there are.

    Args:
        split: train or test; a problem belongs to the one or the other by a digest of its text.

    Raises:
        InputError: fewer than one is asked for, or there is no such split.
    """
    options = options or ArithmeticOptions()
    if count < 1:
        raise InputError(f"{count} problems asked for; ask for at least 1")
    if split not in ("train", "test"):
        raise InputError(f"there is no split {split!r}; take train or test")
    tasks: list[Task] = []
    seen: set[str] = set()
    for facts, question, answer, metadata in _problems(options):
        text = f"{facts} {question}"
        digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        if text in seen or (digest < TEST_SHARE * 2**64) != (split == "test"):
            continue
        seen.add(text)
        task = Task(
            id=f"arithmetic/{split}/{options.seed}/{len(tasks)}",
            text=question if options.split_facts else text,
            notes=facts if options.split_facts else "",
            answer=str(answer),
            split=split,
            task_type=f"{metadata['statements']} statements",
            metadata=metadata,
        )
        tasks.append(task)
        if len(tasks) == count:
            break
    facts = ", facts split off" if options.split_facts else ""
    return TaskSet(tuple(tasks), {"data": f"generated, {options}{facts}"})


def _problems(options: ArithmeticOptions) -> Iterator[tuple[str, str, int, dict[str, object]]]:
    """Facts, question, answer and metadata of one problem after the other."""
    rng = random.Random(f"arithmetic/{options.seed}")
    while True:
        story = _Story(rng.choice(THINGS))
        people = rng.sample(PEOPLE, len(PEOPLE))
        length = rng.randint(*options.statements)
        while len(story.sentences) < length:
            rng.choice(_STATEMENTS)(rng, story, people)
        asked, answer, question, last = _question(rng, story)
        places = _needed(story, asked)
        needed = [story.steps[number] for number in places]
        plan = " ".join([*(f"{who}." for who in dict.fromkeys(who for who, _, _ in needed)), "Answer."])
        solution = " ".join([*(calculation for _, _, calculation in needed), f"{last}Answer: {answer}"])
        evidence = " ".join(story.sentences[number] for number in reversed(places))
        metadata: dict[str, object] = {
            "plan": plan,
            "evidence": evidence,
            "solution": solution,
            "statements": length,
            "level": length - 1,
        }
        yield " ".join(story.sentences), question, answer, metadata


def _needed(story: _Story, asked: Sequence[str]) -> list[int]:
    """The steps that the numbers of some people take, in the order of the story."""
    wanted, needed = set(asked), []
    for number in range(len(story.steps) - 1, -1, -1):
        who, needs, _ = story.steps[number]
        if who in wanted:
            needed.append(number)
            # What somebody had before is a number of its own, found by an earlier step.
            wanted = (wanted - {who}) | set(needs)
    return needed[::-1]


def _question(rng: random.Random, story: _Story) -> tuple[list[str], int, str, str]:
    """Who is asked about, the answer, the question, and the calculation that is left."""
    people = list(story.counts)
    last = story.steps[-1][0]
    others = [who for who in people if who != last and story.counts[who] + story.counts[last] <= LARGEST]
    if others and rng.random() < 0.3:
        other = rng.choice(others)
        one, two = story.counts[other], story.counts[last]
        question = f"How many {story.things} do {other} and {last} have together?"
        return [other, last], one + two, question, f"{one} + {two} = {one + two}. "
    return [last], story.counts[last], f"How many {story.things} does {last} have?", ""


def _has(rng: random.Random, story: _Story, people: Sequence[str]) -> None:
    who = story.newcomer(people)
    if who is not None and len(story.counts) < 2:
        count = rng.randint(2, 20)
        story.tell(who, count, f"{who} has {story.some(count)}.")


def _compares(rng: random.Random, story: _Story, people: Sequence[str]) -> None:
    who = story.newcomer(people)
    if who is None or not story.counts:
        return
    other = rng.choice(list(story.counts))
    known, difference, factor = story.counts[other], rng.randint(1, 12), rng.choice((2, 3))
    count, words, sum_ = {
        "more": (known + difference, f"{story.some(difference, 'more ')} than", f"{known} + {difference}"),
        "fewer": (known - difference, f"{story.some(difference, 'fewer ')} than", f"{known} - {difference}"),
        "times": (known * factor, f"{factor} times as many {story.things} as", f"{known} * {factor}"),
    }[rng.choice(("more", "fewer", "times"))]
    if 0 < count <= LARGEST:
        story.tell(who, count, f"{who} has {words} {other}.", [other], sum_)


def _joins(rng: random.Random, story: _Story, people: Sequence[str]) -> None:
    who = story.newcomer(people)
    if who is None or len(story.counts) < 2:
        return
    one, two = rng.sample(list(story.counts), 2)
    first, second = story.counts[one], story.counts[two]
    if first + second <= LARGEST:
        sentence = f"{who} has as many {story.things} as {one} and {two} together."
        story.tell(who, first + second, sentence, [one, two], f"{first} + {second}")


def _changes(rng: random.Random, story: _Story, people: Sequence[str]) -> None:
    if not story.counts:
        return
    who = rng.choice(list(story.counts))
    known, difference = story.counts[who], rng.randint(1, 9)
    if rng.random() < 0.5 and known + difference <= LARGEST:
        sentence = f"Then {who} finds {story.some(difference)}."
        story.tell(who, known + difference, sentence, [who], f"{known} + {difference}")
    elif known > difference:
        sentence = f"Then {who} loses {story.some(difference)}."
        story.tell(who, known - difference, sentence, [who], f"{known} - {difference}")


_STATEMENTS = (_has, _compares, _compares, _joins, _changes)
