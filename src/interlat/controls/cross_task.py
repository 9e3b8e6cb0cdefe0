"""The control that swaps messages between items: which item's message each item gets."""

from collections.abc import Hashable, Sequence

import torch
from torch import Generator

from interlat.engine.sampling import row_seed
from interlat.errors import InputError

CROSS_TASK = "cross_task"
"""The one control that looks at the other messages."""

_MOVES_PER_ITEM = 20


def cross_task_partners(items: Sequence[str], *, run_seed: int, tasks: Sequence[Hashable] | None = None) -> list[int]:
    """Choose the other item whose message each item gets: a random derangement with the fewest same-task pairs.

    Every message is used exactly once and no item gets its own, so the messages as a whole are unchanged. The search
    starts from a derangement with the smallest number of same-task pairs (items grouped by task, the largest group
    first, rotated by its size). From there it walks: random pairs and triples of items pass their messages on in a
    circle, if that number does not grow. (Triples are needed because with three tasks of equal size no exchange of two
    is possible.) The result depends on the set of items and the seed, not on the order of the items.

    Returns:
        For each item the index of the item whose message it gets.

    Raises:
        InputError: there are fewer than 2 items, an id appears twice, or the number of tasks differs.
    """
    count = len(items)
    if count < 2:
        raise InputError(f"the control {CROSS_TASK!r} needs the messages of at least 2 items, got {count}")
    if len(set(items)) != count:
        twice = sorted({item for item in items if items.count(item) > 1})[0]
        raise InputError(f"the item id {twice!r} appears more than once; give each item once")
    labels: Sequence[Hashable] = items if tasks is None else tasks
    if len(labels) != count:
        raise InputError(f"{count} items came with {len(labels)} tasks; give one task an item")

    groups: dict[Hashable, list[int]] = {}
    for index in sorted(range(count), key=lambda index: items[index]):
        groups.setdefault(labels[index], []).append(index)
    by_size = sorted(groups.values(), key=len, reverse=True)
    order = [index for group in by_size for index in group]
    largest = len(by_size[0])
    shift = 1 if largest == count else largest
    partner = {index: order[(place + shift) % count] for place, index in enumerate(order)}

    def same_task(receiver: int, giver: int) -> bool:
        return labels[receiver] == labels[giver]

    generator = Generator().manual_seed(row_seed(run_seed, "", CROSS_TASK))
    draws = torch.randint(count, (_MOVES_PER_ITEM * count, 3), generator=generator).tolist()
    for draw in draws:
        receivers = [order[place] for place in dict.fromkeys(draw)]
        givers = [partner[receiver] for receiver in receivers]
        rotated = [*givers[1:], givers[0]]
        if any(receiver == giver for receiver, giver in zip(receivers, rotated, strict=True)):
            continue
        before = sum(map(same_task, receivers, givers))
        if sum(map(same_task, receivers, rotated)) <= before:
            partner.update(zip(receivers, rotated, strict=True))
    return [partner[index] for index in range(count)]
