"""Episodes of household games as training examples, built by the same functions as prompts at play."""

from collections.abc import Sequence
from typing import Any

from interlat.engine.chat import ChatFormat
from interlat.engine.prompt import Part, Text, token_ids_of, tokenize
from interlat.experiments.household.evidence import Belief
from interlat.experiments.household.prompts import BEGIN_MESSAGE, END_MESSAGE, actor_prompt, scout_prompt
from interlat.training.examples import IGNORED, Example, ids_of


def actor_example(
    record: dict[str, Any],
    episode: dict[str, Any],
    chat: ChatFormat,
    search_weight: float = 1.0,
    advice: Sequence[str | None] | None = None,
) -> Example:
    """The expert's episode as the actor's conversation; learned are the commands and the ends of the turns.

    Args:
        record: the game.
        episode: one episode of it; commands that are not to be imitated are read and not learned.
        chat: the actor's chat format; where its generation prompt opens a thought, every reply first ends it.
        search_weight: loss weight of where to go; every other token weighs 1.
        advice: for each turn the command that is learned instead of the one that was given: up to the first token in
            which the two differ, and in its place the token of the better one. What comes after it in the command given
            has the weight 0, and so has all of a turn without advice (None).
    """
    prompt = [Text(actor_prompt(record["opening"]), literal=True), Text(f"{BEGIN_MESSAGE}{END_MESSAGE}")]
    opening = _ids(chat.opening([("user", prompt)]), chat)
    begin = chat.tokenizer.convert_tokens_to_ids(BEGIN_MESSAGE)
    split = len(opening) - opening[::-1].index(begin)
    after, labels = list(opening[split:]), [IGNORED] * (len(opening) - split)
    weights = [1.0] * len(after)
    turns = episode["turns"]
    lead, stop = _ids([Text(chat.end_of_thought)], chat), chat.stop
    for number, (command, observation, imitated) in enumerate(turns):
        rest = _ids(chat.continuation(observation), chat)
        if number == len(turns) - 1:
            rest = rest[:1]
        reply = [*ids_of(command, chat), stop]
        after += [*lead, *reply[:-1], *rest]
        better = command if advice is None else advice[number]
        learned, learned_weights = _learned(reply, better, chat, search_weight)
        labels += [*lead, *learned] if imitated else [IGNORED] * (len(lead) + len(reply))
        weights += [*([1.0 if better is not None else 0.0] * len(lead)), *learned_weights]
        labels += [IGNORED] * (len(rest) - 1)
        weights += [1.0] * (len(rest) - 1)
    return Example(
        before=tuple(opening[:split]),
        after=tuple(after),
        labels=tuple(labels),
        weights=tuple(weights),
        item=f"{record['item']}#{episode['draw']}",
    )


def _learned(
    reply: Sequence[int], better: str | None, chat: ChatFormat, search_weight: float
) -> tuple[list[int], list[float]]:
    """Labels and weights of a reply, a command with the end of the turn, of which a better command is learned."""
    if better is None:
        return list(reply), [0.0] * len(reply)
    command = ids_of(better, chat)
    place = search_weight if better.startswith("go to ") else 1.0
    weights = [place if 2 <= index < len(command) else 1.0 for index in range(len(command) + 1)]
    learned = [*command, reply[-1]]
    same = next((index for index, (a, b) in enumerate(zip(reply, learned, strict=False)) if a != b), len(reply))
    labels = [*reply[:same], *learned[same : same + 1], *reply[same + 1 :]]
    return labels, [*weights[: same + 1], *[0.0] * (len(reply) - same - 1)]


def scout_example(
    opening_text: str,
    evidence: str,
    plan: str,
    style: str,
    beliefs: Sequence[Belief],
    place_weight: float,
    chat: ChatFormat,
) -> Example:
    """A scout's conversation; learned is the plan.

    Args:
        opening_text: the opening of the game.
        evidence: the scout's notes.
        plan: the plan to write.
        style: what is asked for.
        beliefs: of the objects whose true place is in the plan, in the order of the plan; there the exact
            posterior is the target. Where a name has several tokens, the target at each is the posterior of the places
            whose names begin as what was written. Empty for a plan that follows from the notes.
        place_weight: loss weight of the tokens in doubt; every other token weighs 1.
        chat: the scout's chat format.
    """
    prompt = _ids(chat.opening([("user", scout_prompt(opening_text, evidence, style))]), chat)
    lead = _ids([Text(chat.end_of_thought)], chat)
    reply, stop = (*lead, *ids_of(plan, chat)), chat.stop
    weights, soft, start = [1.0] * (len(reply) + 1), [], len(lead)
    for belief in beliefs:
        tokens = {place: ids_of(f" {place}", chat) for place in belief.places}
        true = tokens[belief.true_place]
        index = _found(true, reply, start)
        for offset in range(len(true)):
            chances = _next_token([tokens[place] for place in belief.places], belief.probabilities, true[:offset])
            if not offset or len(chances) > 1:
                weights[index + offset] = place_weight
                soft.append((index + offset, tuple(chances.items())))
        start = index + len(true)
    return Example(
        before=tuple(prompt), after=(*reply, stop), labels=(*reply, stop), weights=tuple(weights), soft=tuple(soft)
    )


def _found(name: Sequence[int], reply: Sequence[int], start: int) -> int:
    """Where a name begins in a reply, from ``start`` on."""
    return next(i for i in range(start, len(reply)) if tuple(reply[i : i + len(name)]) == tuple(name))


def _next_token(
    names: Sequence[Sequence[int]], probabilities: Sequence[float], written: Sequence[int]
) -> dict[int, float]:
    """The distribution of the next token of a name of which ``written`` is known."""
    chances: dict[int, float] = {}
    for ids, probability in zip(names, probabilities, strict=True):
        if tuple(ids[: len(written)]) == tuple(written) and len(ids) > len(written):
            chances[ids[len(written)]] = chances.get(ids[len(written)], 0.0) + probability
    total = sum(chances.values())
    # Untouched where all names begin so: one-token names keep their probabilities to the last bit.
    return {token: chance / total for token, chance in chances.items()} if written else chances


def _ids(parts: Sequence[Part], chat: ChatFormat) -> tuple[int, ...]:
    return tuple(token_ids_of(tokenize(parts, chat.tokenizer)))
