import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlat.controls.cross_task import cross_task_partners
from interlat.errors import InputError


@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.integers(0, 2**62))
def test_cross_task_is_a_derangement_with_the_fewest_same_task_pairs(tasks: list[int], seed: int) -> None:
    items = [f"game {place}" for place in range(len(tasks))]
    partners = cross_task_partners(items, run_seed=seed, tasks=tasks)
    assert sorted(partners) == list(range(len(tasks)))
    assert all(place != partner for place, partner in enumerate(partners))
    same = sum(tasks[place] == tasks[partner] for place, partner in enumerate(partners))
    largest = max(tasks.count(task) for task in tasks)
    assert same == max(0, 2 * largest - len(tasks))


def test_cross_task_depends_on_the_set_and_the_seed_only() -> None:
    items, tasks = [f"game {n}" for n in range(30)], [f"task {n % 3}" for n in range(30)]
    partners = cross_task_partners(items, run_seed=5, tasks=tasks)
    backwards = cross_task_partners(items[::-1], run_seed=5, tasks=tasks[::-1])
    assert partners == [29 - place for place in backwards[::-1]]
    assert partners != cross_task_partners(items, run_seed=6, tasks=tasks)


def test_cross_task_mixes_all_other_tasks() -> None:
    """Three tasks of equal size: a bare rotation would always pair the same two."""
    items, tasks = [f"game {n:02}" for n in range(60)], [n % 3 for n in range(60)]
    partners = cross_task_partners(items, run_seed=0, tasks=tasks)
    shifts = [(tasks[partner] - tasks[place]) % 3 for place, partner in enumerate(partners)]
    assert 15 <= shifts.count(1) <= 45 and shifts.count(0) == 0


def test_cross_task_refuses_unusable_lists() -> None:
    with pytest.raises(InputError, match="'a' appears more than once"):
        cross_task_partners(["a", "b", "a"], run_seed=0)
    with pytest.raises(InputError, match="2 items came with 1 tasks"):
        cross_task_partners(["a", "b"], run_seed=0, tasks=["x"])


@pytest.mark.parametrize("tasks", [None, ["same", "same"], ["one", "other"]])
def test_cross_task_of_two_swaps_and_of_one_is_refused(tasks: list[str] | None) -> None:
    assert cross_task_partners(["a", "b"], run_seed=9, tasks=tasks) == [1, 0]
    with pytest.raises(InputError, match="at least 2 items, got 1"):
        cross_task_partners(["a"], run_seed=0)
