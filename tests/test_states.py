import pytest
from pydantic import TypeAdapter, ValidationError

from interlat.cli.flags import given_fields
from interlat.cli.store import ImportStore
from interlat.cli.train import ImportCheckpoint
from interlat.collect.settings import CollectThoughts
from interlat.config import from_mapping
from interlat.errors import InputError
from interlat.states import StateAtSetting, in_files, of_files


def test_files_keep_the_words_of_the_first_edition_and_the_order_of_their_fields():
    fields = {"layer": -1, "state_at": "after_token", "norm": "post"}
    assert list(in_files(fields).items()) == [("layer", -1), ("offset", "consuming"), ("norm", "post")]
    assert of_files(in_files(fields)) == fields
    assert list(of_files(in_files(fields))) == list(fields)


@pytest.mark.parametrize("key", ["offset", "state_at"])
@pytest.mark.parametrize(
    ("word", "present"),
    [
        ("predicting", "before_token"),
        ("before_token", "before_token"),
        ("consuming", "after_token"),
        ("after_token", "after_token"),
        ("late", "late"),
        (["predicting"], ["predicting"]),
    ],
)
def test_the_key_and_the_words_of_either_edition_are_read(key, word, present):
    assert of_files({key: word, "x": 1}) == {"state_at": present, "x": 1}


def test_what_has_both_keys_keeps_both():
    both = {"offset": "predicting", "state_at": "after_token"}
    assert of_files(both) == both, "so that whoever checks the names refuses it"


def test_settings_take_the_older_words():
    read = TypeAdapter(StateAtSetting).validate_python
    assert [read(word) for word in ("predicting", "consuming", "after_token")] == [
        "before_token",
        "after_token",
        "after_token",
    ]
    with pytest.raises(ValidationError):
        read("late")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (CollectThoughts, {"model": "m", "output": "o", "source": {"kind": "arithmetic"}}),
        (ImportStore, {"source": "s", "output": "o"}),
        (ImportCheckpoint, {"source": "s", "output": "o"}),
    ],
)
def test_the_older_key_and_words_of_settings_are_read(kind, fields):
    for key in ("offset", "state_at"):
        for word in ("consuming", "after_token"):
            assert from_mapping(kind, fields | {key: word}, "x.yaml").state_at == "after_token"
            flag = f"--{key.replace('_', '-')}"
            given = given_fields(kind, [flag, word])
            assert from_mapping(kind, fields, "x.yaml", None, given).state_at == "after_token"
    with pytest.raises(InputError, match="before_token, after_token"):
        from_mapping(kind, fields | {"state_at": "late"}, "x.yaml")
