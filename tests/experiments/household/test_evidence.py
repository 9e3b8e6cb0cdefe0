import random
from collections import Counter

import pytest

from interlat.environments.alfworld.game import Layout
from interlat.experiments.household.evidence import AGES, MINIMUM_PLACES, draw_evidence

PLACES = tuple(f"{kind} {number}" for kind in ("drawer", "cabinet", "shelf") for number in (1, 2, 3))


def layout(objects, task_type="pick_and_place_simple", parent="fridge", toggle=""):
    return Layout(
        task_type=task_type,
        target_type="mug",
        parent_type=parent,
        toggle_type=toggle,
        receptacles=(*PLACES, "fridge 1"),
        openable=frozenset({"fridge 1"}),
        objects=objects,
    )


@pytest.fixture(autouse=True)
def plausible(monkeypatch):
    monkeypatch.setattr(Layout, "plausible_places", lambda self, kind: list(PLACES))


def test_age_weights_are_a_distribution():
    assert sum(weight for _, weight in AGES) == pytest.approx(1)


def test_posterior_is_exact():
    """Among draws where the place of rank r has posterior p, it is the true place in a share p of them."""
    rng = random.Random(0)
    hits, expected, count = Counter(), Counter(), 0
    for _ in range(6000):
        belief = draw_evidence(layout({"mug 1": "shelf 2"}), rng).beliefs[0]
        count += 1
        for rank, (place, probability) in enumerate(zip(belief.places, belief.probabilities, strict=True)):
            hits[rank] += place == belief.true_place
            expected[rank] += probability
    for rank in range(3):
        assert hits[rank] / count == pytest.approx(expected[rank] / count, abs=0.02)


def test_searched_places_hold_nothing_and_leave_the_belief():
    rng = random.Random(1)
    seen = 0
    for _ in range(200):
        evidence = draw_evidence(layout({"mug 1": "shelf 2"}), rng)
        belief = evidence.beliefs[0]
        assert belief.true_place in belief.places
        assert belief.true_place not in evidence.searched
        assert not set(evidence.searched) & set(belief.places)
        assert sum(belief.probabilities) == pytest.approx(1)
        seen += len(evidence.searched)
    assert seen > 0


def test_notes_do_not_tell_the_rank_by_their_order():
    rng = random.Random(2)
    first = Counter(draw_evidence(layout({"mug 1": "shelf 2"}), rng).beliefs[0].sightings[0][0] for _ in range(500))
    assert set(first) == {word for word, _ in AGES}


def test_two_needed_objects_have_two_beliefs_without_each_others_place():
    two = layout({"mug 1": "shelf 2", "mug 2": "drawer 1"}, task_type="pick_two_obj_and_place")
    evidence = draw_evidence(two, random.Random(3))
    first, second = evidence.beliefs
    assert (first.true_place, second.true_place) == ("shelf 2", "drawer 1")
    assert second.true_place not in first.places
    assert evidence.text().splitlines()[1].startswith("other mug: ")
    plain = evidence.text("plain").splitlines()
    assert plain[0].startswith("The mug was seen ") and plain[1].startswith("The other mug was seen ")
    for line, belief in zip(plain, evidence.beliefs, strict=False):
        assert [line.index(place) for _, place in belief.sightings] == sorted(
            line.index(place) for _, place in belief.sightings
        )


def test_no_evidence_where_there_is_no_search():
    together = layout({"mug 1": "shelf 2", "mug 2": "shelf 2"}, task_type="pick_two_obj_and_place")
    assert draw_evidence(together, random.Random(0)) is None


def test_no_evidence_with_too_few_places(monkeypatch):
    monkeypatch.setattr(Layout, "plausible_places", lambda self, kind: list(PLACES[: MINIMUM_PLACES - 1]))
    assert draw_evidence(layout({"mug 1": PLACES[0]}), random.Random(0)) is None
