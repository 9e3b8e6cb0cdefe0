from collections import Counter
from itertools import chain

from interlat.training.batch_sampler import Order
from interlat.training.examples import Example


def examples(count):
    return [Example((1,) * (number % 5 + 1), (2,) * 3, (2,) * 3, (1.0,) * 3, str(number)) for number in range(count)]


def test_every_step_is_full():
    """An epoch that does not divide by the batch size ends with a batch that is filled up."""
    order = Order(examples(23), 5, seed=0)
    steps = [order.of(step) for step in range(5)]
    assert all(len(batch) == 5 for batch in steps)
    seen = Counter(example.item for batch in steps for example in batch)
    assert len(seen) == 23 and sum(seen.values()) == 25


def test_an_epoch_is_new_and_the_same_again():
    def items(order, steps):
        return [[example.item for example in order.of(step)] for step in steps]

    given = examples(40)
    first, second = items(Order(given, 8, 0), range(5)), items(Order(given, 8, 0), range(5, 10))
    assert sorted(chain(*first)) == sorted(chain(*second)) and first != second
    # A continued training asks for late steps first.
    assert items(Order(given, 8, 0), [7, 2]) == [second[2], first[2]]
    assert items(Order(given, 8, 1), range(5)) != first
