import pytest

from interlat.environments.protocol import EnvironmentOptions, Item
from interlat.environments.world import some_items
from interlat.errors import InputError

ITEMS = [Item(str(n), "", split="test" if n % 4 == 0 else "train") for n in range(40)]


def ids(**options):
    return [item.id for item in some_items(ITEMS, EnvironmentOptions(**options))]


def test_a_split_and_a_fixed_subset_that_larger_ones_keep():
    assert ids() == [str(n) for n in range(40)] and ids(split="test") == [str(n) for n in range(0, 40, 4)]
    five, nine = ids(limit=5), ids(limit=9)
    assert five == sorted(five, key=int) and len(five) == 5 and set(five) < set(nine) and ids(limit=41) == ids()


@pytest.mark.parametrize(("field", "value"), [("limit", 0), ("split", "dev")])
def test_what_is_not_there_is_refused(field, value):
    with pytest.raises(InputError, match=f"{field} is {value!r}"):
        ids(**{field: value})
