"""Games that a trained actor played, as conversations to agree on and not to imitate."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from interlat.engine.chat import ChatFormat
from interlat.errors import InputError
from interlat.learning.examples import Example, actor_example


def played_examples(
    lines: Iterable[dict[str, Any]], records: Sequence[dict[str, Any]], chat: ChatFormat
) -> list[Example]:
    """Each played game as the conversation that it was, every command in it labelled and none of them weighed.

    So a loss that compares two readings of a conversation reads it wherever the actor went, right or wrong, and the
    cross-entropy, whose labels have the weight 0, learns none of the actor's mistakes.

    Args:
        lines: results of `interlat evaluate`: an item, the evidence of its sender, and the turns.
        records: the games with their episodes, whose evidence the senders had. Games that are not among them are left
            out.
        chat: the actor's chat format.

    Returns:
        Examples with the items of the episodes whose evidence it was, in the order of the records.

    Raises:
        InputError: a game among the records was played with evidence that none of its episodes has.
    """
    known = {
        (record["item"], episode["evidence"]): (record, episode) for record in records for episode in record["episodes"]
    }
    places = {record["item"]: place for place, record in enumerate(records)}
    among = [line for line in lines if line["item"] in places]
    examples = []
    for line in sorted(among, key=lambda line: places[line["item"]]):
        found = known.get((line["item"], line.get("evidence", "")))
        if found is None:
            raise InputError(
                f"{line['item']} was played with evidence that no thought is about; play the games on the episodes "
                "that the thoughts were collected from"
            )
        record, episode = found
        turns = [(turn["action"], turn["observation"], True) for turn in line["turns"]]
        example = actor_example(record, {**episode, "turns": turns}, chat)
        examples.append(replace(example, weights=(0.0,) * len(example.weights)))
    return examples
