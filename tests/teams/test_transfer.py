"""Names of message files; what travels is tested through teams, in test_runner.py."""

import pytest

from interlat.errors import MessageError
from interlat.messages import Header as MessageHeader
from interlat.messages import TextMessage
from interlat.teams.transfer import LONGEST_NAME, save_message, saved_messages

NAMES = ["one", "..", "a/b", "a\\b", "name\ud800", "Ä" * 300, "x" * LONGEST_NAME, "x" * (LONGEST_NAME + 1), ""]


def test_every_item_and_member_has_a_file_of_its_own_inside_the_folder(tmp_path):
    root = tmp_path / "messages"
    for item in NAMES[:-1]:
        for member in ("planner", "debater 1, round 2"):
            header = MessageHeader(provenance={"member": member, "item": item})
            save_message(root, item, member, TextMessage(f"to {member}", header))
    assert len(list(root.glob("*/*.safetensors"))) == 2 * (len(NAMES) - 1)
    assert [path.name for path in tmp_path.iterdir()] == ["messages"]
    for item in NAMES[:-1]:
        found = saved_messages(root, item)
        assert {name: message.text for name, message in found.items()} == {
            name: f"to {name}" for name in ("planner", "debater 1, round 2")
        }
        assert all(message.header.provenance["item"] == item for message in found.values())
    assert saved_messages(root, "unknown") == {}


def test_a_damaged_message_is_an_error(tmp_path):
    message = TextMessage("look", MessageHeader(provenance={"member": "planner"}))
    save_message(tmp_path, "one", "planner", message)
    (path,) = (tmp_path / "one").iterdir()
    assert saved_messages(tmp_path, "one")["planner"].to_bytes() == message.to_bytes()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(MessageError, match=r"planner\.safetensors was altered"):
        saved_messages(tmp_path, "one")
