"""Games that a trained actor played, as conversations to agree on, and to learn what an expert had done there."""

from collections.abc import Iterable, Sequence
from typing import Any

from interlat.engine.chat import ChatFormat
from interlat.environments.alfworld.expert import NOTHING_HAPPENS, Expert
from interlat.environments.alfworld.game import Layout, type_of
from interlat.environments.protocol import Observation
from interlat.errors import InputError
from interlat.experiments.household.episodes import evidence_of, layout_of
from interlat.experiments.household.examples import actor_example
from interlat.training.examples import Example


def played_examples(
    lines: Iterable[dict[str, Any]],
    records: Sequence[dict[str, Any]],
    chat: ChatFormat,
    *,
    search_weight: float = 1.0,
    dagger: bool = False,
) -> list[Example]:
    """Each played game as the conversation that it was, every command in it labelled and none of them weighed.

    So a loss that compares two readings of a conversation reads it wherever the actor went, right or wrong, and the
    cross-entropy, whose labels have the weight 0, learns none of the actor's mistakes.

    Corrected, it learns what an expert who knows the sender's evidence would have done in each turn of the actor's
    (dataset aggregation: Ross et al., arXiv 1011.0686).

    Args:
        lines: results of `interlat evaluate`: an item, the evidence of its sender, and the turns.
        records: the games with their episodes, whose evidence the senders had. Games that are not among them are left
            out.
        chat: the actor's chat format.
        search_weight: with dagger, loss weight of where to go; every other token weighs 1.
        dagger: give the expert's commands as labels where they differ, and weigh them.

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
        advice = expert_advice(record, episode, turns) if dagger else [None] * len(turns)
        examples.append(actor_example(record, {**episode, "turns": turns}, chat, search_weight, advice))
    return examples


def expert_advice(
    record: dict[str, Any], episode: dict[str, Any], turns: Sequence[tuple[str, str, bool]]
) -> list[str | None]:
    """What an expert who searches in the order of belief would have done before each turn of another player.

    Args:
        record: the game.
        episode: its evidence.
        turns: commands and observations of the player.

    Returns:
        A command for each turn; None from where the player holds or has put down what the task does not ask for, which
        the expert never meets.
    """
    layout = layout_of(record)
    expert = Expert(layout, [belief.places for belief in evidence_of(episode).beliefs])
    # How a game calls putting something down is seen in what its own expert said.
    puts = any(command.startswith("put ") for other in record["episodes"] for command, *_ in other["turns"])
    moves = () if puts else tuple(f"move {name} to {place}" for name in layout.objects for place in layout.receptacles)
    advice: list[str | None] = []
    text = record["opening"]
    for command, answer, _ in turns:
        advice.append(expert.next_command(Observation(text, moves, won=False, done=False, steps=len(advice))))
        if answer != NOTHING_HAPPENS and _leads_off(command, layout):
            break
        expert.has_acted(command)
        text = answer
    return advice + [None] * (len(turns) - len(advice))


def _leads_off(command: str, layout: Layout) -> bool:
    verb, _, rest = command.partition(" ")
    if verb == "take":
        return type_of(rest.partition(" from ")[0]) != layout.target_type
    if verb in ("move", "put"):
        place = rest.rpartition(" to ")[2] if verb == "move" else rest.rpartition(" in/on ")[2]
        return type_of(place) != layout.parent_type
    return False
