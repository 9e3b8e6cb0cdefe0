from importlib.metadata import EntryPoint

import pytest

from interlat import registry as module
from interlat.errors import InputError
from interlat.registry import Registry


def test_ours_are_imported_at_their_first_use_only():
    parts = Registry("parts", {"sorted": "builtins:sorted", "broken": "no.such.module:part"})
    assert parts.names() == ("sorted", "broken") and "sorted" in parts and "other" not in parts
    assert parts["sorted"] is sorted
    with pytest.raises(ModuleNotFoundError):
        parts["broken"]


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(InputError, match=r"'vioce' among the channels.*text, voice"):
        Registry("channels", {"text": "builtins:str", "voice": "builtins:str"})["vioce"]


def test_parts_are_added_once_each():
    parts = Registry[object]("parts")
    assert parts.add("one", str) is str and parts.add("two", int) is int
    assert parts["one"] is str and parts.names() == ("one", "two")
    with pytest.raises(InputError, match="'one'"):
        parts.add("one", float)


def test_entry_points_of_other_packages_are_found_and_take_no_name_of_ours(monkeypatch):
    points = [
        EntryPoint("whisper", "builtins:dict", "interlat.channels"),
        EntryPoint("text", "builtins:dict", "interlat.channels"),
    ]
    monkeypatch.setattr(module, "entry_points", lambda group: points if group == "interlat.channels" else [])
    channels = Registry("channels", {"text": "builtins:str"})
    assert channels.names() == ("text", "whisper")
    assert channels["whisper"] is dict and channels["text"] is str
