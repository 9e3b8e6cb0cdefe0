"""Work on several threads whose results come in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from interlat.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int = 2, waiting: int | None = None
) -> Iterator[Result]:
    """``function`` of each item, in the order of the items, which are taken as they are needed.

    Args:
        function: runs on threads.
        items: taken in this thread.
        workers: how many items are worked on at once.
        waiting: items that may be under way or done before the first of them is asked for; None is twice the workers.

    Raises:
        InputError: fewer than one worker. What ``function`` raises is raised in the place of its result.
    """
    if workers < 1:
        raise InputError(f"workers is {workers}; give at least 1")
    most = waiting or 2 * workers
    under_way: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            under_way.append(pool.submit(function, item))
            while under_way and (len(under_way) >= most or under_way[0].done()):
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
