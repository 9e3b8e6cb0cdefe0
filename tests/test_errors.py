import inspect

import pytest

from interlat import errors

CHILDREN = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind is not errors.InterlatError]


@pytest.mark.parametrize("kind", CHILDREN)
def test_every_error_is_of_the_one_family_and_says_when_it_is_raised(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.InterlatError)
    assert kind.__doc__
    assert str(kind("the plan is empty")) == "the plan is empty"


def test_the_family_is_complete() -> None:
    names = {kind.__name__ for kind in CHILDREN}
    assert names >= {
        "CheckpointError", "InputError", "MessageError", "PromptError", "StorageError", "WorldError"
    }  # fmt: skip
