import pytest

from interlat.environments.options import parsed_options
from interlat.environments.protocol import EnvironmentOptions
from interlat.errors import InputError


def test_options_are_numbers_truths_and_texts_by_name():
    words = ["heap=512", "simplifications=openDoors,teleportAction", "show_attributes=true", "no=false", "empty="]
    assert parsed_options(words) == {
        "heap": 512,
        "simplifications": "openDoors,teleportAction",
        "show_attributes": True,
        "no": False,
        "empty": "",
    }
    assert parsed_options(["a=b=c", "b=-3", "c=1.5", "d=1e3"]) == {"a": "b=c", "b": -3, "c": "1.5", "d": "1e3"}
    assert parsed_options([]) == {}


@pytest.mark.parametrize("words", [["heap"], ["=512"], [""], ["heap=1", "heap=2"]])
def test_what_is_no_option_is_refused(words):
    with pytest.raises(InputError, match=r"options has .*(heap|512|'')"):
        parsed_options(words)


def test_an_environment_refuses_options_that_it_does_not_know():
    EnvironmentOptions(options={"heap": 1}).know("here", "heap", "steps")
    with pytest.raises(InputError, match="options has hoop, expected some of heap, steps: here"):
        EnvironmentOptions(options={"heap": 1, "hoop": 2}).know("here", "heap", "steps")
    with pytest.raises(InputError, match="options has hoop, expected none: here"):
        EnvironmentOptions(options={"hoop": 2}).know("here")
