import pytest

from interlat.environments.protocol import read_options
from interlat.errors import InputError


def test_text_that_is_json_is_read_as_such():
    given = {"steps": "50", "admissible": "true", "prompt": "plan", "heap": 512, "task_types": "1,3"}
    assert read_options(given) == {**given, "steps": 50, "admissible": True}


@pytest.mark.parametrize("options", [["steps"], "steps", {3: "x"}])
def test_what_is_no_mapping_by_name_is_refused(options):
    with pytest.raises(InputError, match="options is "):
        read_options(options)
