"""What a scout knows about a house that an actor does not: stale sightings and places already searched.

For every object that a task needs (`needs_of`) the scout is told of a few sightings of different age. The object
really is at one of the sighted places; which one follows the ages:

    P(true place = i | notes)  =  w(age_i) / sum over sighted places j that were not searched of w(age_j)

This posterior is exact: the true place takes rank i with probability w(age_i), the other sighted places are drawn
uniformly from the remaining plausible ones, and the searched places uniformly from those that do not hold it.
So a text that names one place throws away what the other sightings say, on purpose.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from interlat.environments.alfworld.expert import needs_of
from interlat.environments.alfworld.game import Layout

AGES: tuple[tuple[str, float], ...] = (
    ("today", 0.38),
    ("yesterday", 0.26),
    ("monday", 0.17),
    ("april", 0.11),
    ("winter", 0.08),
)
"""The words for the age of a sighting, each with the weight of its place."""

Language = Literal["short", "plain"]
"""How notes and plans are written. short: few words, for models with a vocabulary of the experiment; plain: English
sentences, for pretrained models."""

SEARCHED: dict[Language, str] = {"short": "searched: ", "plain": "Already searched: "}
"""How the last line of the notes begins."""

_SEEN: dict[str, str] = {
    "today": "today at",
    "yesterday": "yesterday at",
    "monday": "on Monday at",
    "april": "in April at",
    "winter": "last winter at",
}
"""The words of `AGES` in English sentences."""

MINIMUM_PLACES = 5
"""A game with fewer plausible places for a needed object is no search problem and gets no evidence."""


@dataclass(frozen=True)
class Belief:
    """What can be known about where one needed object is."""

    object_type: str
    """Lower-case type ("apple")."""
    sightings: tuple[tuple[str, str], ...]
    """(age word, place) in the order in which the notes tell them."""
    places: tuple[str, ...]
    """The places that may hold it, most probable first."""
    probabilities: tuple[float, ...]
    """The exact posterior of `places`; sums to 1."""
    true_place: str
    """Where it really is; never shown to an agent."""


@dataclass(frozen=True)
class Evidence:
    """The private notes of one scout about one game."""

    beliefs: tuple[Belief, ...]
    """One for each needed object, in the order in which the plan needs them."""
    searched: tuple[str, ...]
    """Places that were searched and hold none of the needed objects."""

    def text(self, language: Language = "short") -> str:
        """The notes as the scout reads them."""
        lines = []
        for number, belief in enumerate(self.beliefs):
            again = any(other.object_type == belief.object_type for other in self.beliefs[:number])
            if language == "short":
                name = f"other {belief.object_type}" if again else belief.object_type
                lines.append(f"{name}: {', '.join(f'{age} {place}' for age, place in belief.sightings)}.")
            else:
                name = f"The {'other ' if again else ''}{belief.object_type}"
                seen = ", ".join(f"{_SEEN[age]} {place}" for age, place in belief.sightings)
                lines.append(f"{name} was seen {seen}.")
        if self.searched:
            lines.append(f"{SEARCHED[language]}{', '.join(self.searched)}.")
        return "\n".join(lines)


def draw_evidence(layout: Layout, rng: random.Random, *, searched_at_most: int = 2) -> Evidence | None:
    """Draw notes about the objects that a game needs.

    Args:
        layout: where everything is at the start.
        rng: the only source of chance.
        searched_at_most: the number of searched places is uniform on 0 .. this.

    Returns:
        The evidence, or None where the game is no search problem: fewer than `MINIMUM_PLACES` plausible places for a
        needed object, or two needed objects at one place.
    """
    needed = needs_of(layout)
    true_places = [layout.objects[name] for _, name in needed]
    if len(set(true_places)) < len(true_places):
        return None
    drawn: list[tuple[str, list[tuple[str, str]], str]] = []
    for (object_type, _), true_place in zip(needed, true_places, strict=True):
        plausible = [
            place for place in layout.plausible_places(object_type) if place == true_place or place not in true_places
        ]
        if true_place not in plausible or len(plausible) < MINIMUM_PLACES:
            return None
        words = [word for word, _ in AGES]
        rank = rng.choices(range(len(AGES)), weights=[weight for _, weight in AGES])[0]
        others = rng.sample([place for place in plausible if place != true_place], len(AGES) - 1)
        sighted = [*others[:rank], true_place, *others[rank:]]
        sightings = list(zip(words, sighted, strict=True))
        rng.shuffle(sightings)
        drawn.append((object_type, sightings, true_place))
    sighted_in_vain = {place for _, sightings, _ in drawn for _, place in sightings} - set(true_places)
    count = rng.randint(0, searched_at_most)
    searched = tuple(rng.sample(sorted(sighted_in_vain), min(count, len(sighted_in_vain))))
    beliefs = tuple(
        _belief(object_type, sightings, true_place, searched) for object_type, sightings, true_place in drawn
    )
    return Evidence(beliefs=beliefs, searched=searched)


def _belief(object_type: str, sightings: Sequence[tuple[str, str]], true_place: str, searched: Sequence[str]) -> Belief:
    weight_of = dict(AGES)
    weights = {place: weight_of[age] for age, place in sightings if place not in searched}
    total = sum(weights.values())
    order = sorted(weights, key=lambda place: -weights[place])
    return Belief(
        object_type=object_type,
        sightings=tuple(sightings),
        places=tuple(order),
        probabilities=tuple(weights[place] / total for place in order),
        true_place=true_place,
    )
