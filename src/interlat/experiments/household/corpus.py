"""Expert episodes of household games as what an actor learns from: the corpus ``household`` of `CORPORA`."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from interlat.engine.chat import ChatFormat
from interlat.errors import InputError
from interlat.experiments.household.episodes import (
    direct_episode,
    evidence_of,
    language_of,
    layout_of,
    read_episodes,
)
from interlat.experiments.household.examples import actor_example
from interlat.experiments.household.on_policy import played_examples
from interlat.experiments.household.prompts import plan_text
from interlat.results import read_results
from interlat.store.reading import LatentStore
from interlat.training.corpus import Corpus, CorpusSource, LengthOf, Options, StoredMessages
from interlat.training.examples import Example

Told = tuple[Example, dict[str, Any], dict[str, Any]]
"""An example, its game and its episode."""
Game = TypeVar("Game")


class HouseholdCorpus(CorpusSource):
    """Episodes of authored games: of a file, or those that stand beside the messages in their store."""

    name = "household"
    has_games = True

    def check(self, options: Options) -> None:
        """Refuse a configuration without episodes."""
        if not options.get("episodes") and not options["thoughts"]:
            raise InputError("set episodes to a file of episodes, or thoughts to a store that holds them")

    def load(self, options: Options, chat: ChatFormat, messages: StoredMessages | None, length_of: LengthOf) -> Corpus:
        """The episodes, each game either learned or held out."""
        path = options.get("episodes")
        records = read_episodes(path) if path else stored_episodes(messages.stores[0]) if messages else []
        return household_corpus(
            records,
            chat,
            validation_share=options["validation_share"],
            search_weight=options["search_weight"],
            direct_share=options.get("direct_share", 0.0),
        )

    def on_policy(
        self, options: Options, chat: ChatFormat, messages: StoredMessages
    ) -> tuple[list[Example], list[Example]]:
        """Games that the receiver played with compressed messages, see `played_examples`."""
        lines = []
        for path in options["on_policy"]:
            # Other actors have other habits: what they do is not what the receiver meets.
            read = read_results([path], fields={"actor": str, "turns": list})
            found = [line for line in read.records if line["actor"] == "latent"]
            if not found:
                raise InputError(f"no game of the latent actor in {path}; give results.jsonl of `interlat evaluate`")
            lines += found
        learned, held_out = split_games(stored_episodes(messages.stores[0]), options["validation_share"])
        weight, dagger = options["search_weight"], options["dagger"]
        return (
            played_examples(lines, learned, chat, search_weight=weight, dagger=dagger),
            played_examples(lines, held_out, chat, dagger=dagger),
        )

    def held_out_order(self, store: LatentStore) -> list[str]:
        """All games in a store, those that a training of the actor on it holds out first."""
        items = {store.entry(number).metadata["record"]["item"] for number in range(len(store))}
        return in_validation_order(sorted(items))

    def trajectory(self, metadata: Mapping[str, Any], turns: Sequence[tuple[str, str]], chat: ChatFormat) -> Example:
        """A played game; a command that was cut off at its longest length has an end here all the same."""
        learned = [(command, answer, True) for command, answer in turns]
        return actor_example(metadata["record"], {**metadata["episode"], "turns": learned}, chat)


HOUSEHOLD = HouseholdCorpus()


def stored_episodes(store: LatentStore) -> list[dict[str, Any]]:
    """The records of the games and their episodes that a store's messages are about, as `read_episodes` gives them.

    Raises:
        InputError: the messages are not about episodes of authored games.
    """
    records: dict[str, dict[str, Any]] = {}
    for number in range(len(store)):
        metadata = store.entry(number).metadata
        if not {"record", "episode"} <= metadata.keys():
            raise InputError(
                f"{store.directory} holds no episodes of games; give --corpus conversations for other tasks, or "
                "collect it with source.kind alfworld"
            )
        record = metadata["record"]
        records.setdefault(record["item"], {**record, "episodes": []})["episodes"].append(metadata["episode"])
    for record in records.values():
        record["episodes"].sort(key=lambda episode: episode["draw"])
    return [records[item] for item in sorted(records)]


def household_corpus(
    records: Sequence[dict[str, Any]],
    chat: ChatFormat,
    *,
    validation_share: float,
    search_weight: float = 1.0,
    direct_share: float = 0.0,
) -> Corpus:
    """The episodes of some games, each game either learned or held out.

    Args:
        records: games with their episodes; those without any are left out.
        chat: the actor's chat format.
        validation_share: share of the games that is held out, at least one game.
        search_weight: loss weight of where to go in what is learned.
        direct_share: share of direct episodes in what is learned, see `direct_episode`.

    Raises:
        InputError: fewer than two games, or no episode can be a direct one.
    """
    learned, held_out = split_games(records, validation_share)
    training = _with_direct(_told(learned, chat, search_weight), direct_share, chat, search_weight)
    validation = _told(held_out, chat, 1.0)
    # By identity: a direct episode has the item of the one that it was made of.
    told = {id(example): (record, episode) for example, record, episode in [*training, *validation]}
    return Corpus(
        training=[example for example, _, _ in training],
        validation=[example for example, _, _ in validation],
        task_of={example.item: record["item"] for example, record, _ in [*training, *validation]},
        written_plan=lambda example, rng: believed_plan(*told[id(example)], rng),
    )


def split_games(
    records: Sequence[dict[str, Any]], validation_share: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The games that are learned and those that are held out, at least one; those without episodes are left out.

    Raises:
        InputError: fewer than two games.
    """
    games = [record for record in records if record["episodes"]]
    if len(games) < 2:
        raise InputError(f"{len(games)} games with episodes, expected two at least: one is held out; collect more")
    games = in_validation_order(games)
    held_out = max(1, round(validation_share * len(games)))
    return games[held_out:], games[:held_out]


def in_validation_order(games: Sequence[Game]) -> list[Game]:
    """All games, sorted by item, in the order in which they are held out: at random, always the same.

    Not by name, for names begin with the task type, and each part needs all of them.
    """
    ordered = list(games)
    random.Random("validation games").shuffle(ordered)
    return ordered


def believed_plan(record: dict[str, Any], episode: dict[str, Any], rng: random.Random) -> str:
    """A plan written from the exact belief: the best place of each object, or one sampled from the posterior.

    A direct episode has the plan that it follows, the true places.
    """
    evidence = evidence_of(episode)
    places: list[tuple[str, ...]]
    if episode.get("direct"):
        places = [(belief.true_place,) for belief in evidence.beliefs]
    elif rng.random() < 0.85:
        places = [belief.places[:1] for belief in evidence.beliefs]
    else:
        places = [tuple(rng.choices(b.places, b.probabilities)) for b in evidence.beliefs]
    return plan_text(layout_of(record), evidence, places, language_of(record))


def _told(records: Sequence[dict[str, Any]], chat: ChatFormat, search_weight: float) -> list[Told]:
    return [
        (actor_example(record, episode, chat, search_weight), record, episode)
        for record in records
        for episode in record["episodes"]
    ]


def _with_direct(told: list[Told], share: float, chat: ChatFormat, search_weight: float) -> list[Told]:
    """Examples of which ``share`` are direct episodes, repeated as often as needed."""
    if not share:
        return told
    pairs = [(record, direct_episode(episode)) for _, record, episode in told]
    direct = [(actor_example(r, e, chat, search_weight), r, e) for r, e in pairs if e is not None]
    if not direct:
        raise InputError("no episode can do without its visits in vain; set direct_share to 0 or collect more games")
    if share == 1:
        return direct
    count = round(len(told) * share / (1 - share))
    return told + [direct[index % len(direct)] for index in range(count)]
