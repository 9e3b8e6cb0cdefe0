"""Uploads over HTTP to the hub's API on this machine."""

import subprocess
import sys

import pytest

from interlat.errors import CheckpointError, InputError, StorageError
from interlat.sharing.card import NOTHING_MEASURED
from interlat.sharing.push import push

NAME = "somebody/thing"


def there(hub_server, kind="agent"):
    return hub_server.repositories["datasets" if kind == "store" else "models", NAME]


@pytest.mark.parametrize("kind", ["agent", "connector", "store"])
def test_all_files_go_up_as_one_commit_with_a_card(hub_server, make, contents, kind):
    folder = make[kind]()
    pushed = push(folder, NAME)
    repository = there(hub_server, kind)
    files = repository.files()
    assert pushed.kind == kind and pushed.address.endswith(repository.branches["main"]) and pushed.private
    assert repository.private and repository.messages == ["initial commit", f"Upload the {kind}"]
    card = files.pop("README.md").decode()
    del files[".gitattributes"]
    assert files == contents(folder) and pushed.left_out == () and pushed.card == "written"
    assert f"# {NAME}" in card and "library_name: interlat" in card and f"interlat pull {NAME} --output thing" in card
    assert (NOTHING_MEASURED in card) is (kind != "store") and str(folder.parent) not in card
    assert not (folder / "README.md").exists()


def test_what_is_not_known_to_belong_there_stays(hub_server, make_agent):
    folder = make_agent()
    (folder / "checkpoint").mkdir()
    strange = ["optimizer.pt", "pytorch_model.bin", "credentials.json", ".env", ".model.safetensors.1-00000000.tmp"]
    for name in (*strange, "checkpoint/model.safetensors"):
        (folder / name).write_bytes(b"secret")
    pushed = push(folder, NAME)
    assert pushed.left_out == ("checkpoint/model.safetensors", "credentials.json", "optimizer.pt", "pytorch_model.bin")
    assert not any(content == b"secret" for content in there(hub_server).files().values())
    assert len(hub_server.large) == 2


def test_a_second_push_replaces_the_files_of_the_first(hub_server, make_store, make_agent):
    push(make_store(40), NAME)
    many = len(there(hub_server, "store").files())
    push(make_store(3, "small"), NAME)
    assert len(there(hub_server, "store").files()) < many
    push(make_agent("compressed"), NAME)
    there(hub_server).files()["notes.md"] = b"of the owner"
    push(make_agent("none"), NAME)
    files = there(hub_server).files()
    assert "bridge.safetensors" not in files and files["notes.md"] == b"of the owner"
    assert "bridge" not in files["README.md"].decode()


def test_a_push_of_the_same_makes_no_commit(hub_server, make_agent):
    folder = make_agent()
    first = push(folder, NAME)
    assert push(folder, NAME).address == first.address and len(there(hub_server).messages) == 2


def test_the_card_of_a_person_is_kept_unless_a_new_one_is_asked_for(hub_server, make_agent):
    folder = make_agent()
    push(folder, NAME)
    there(hub_server).files()["README.md"] = b"# Written on the page of the hub\n"
    assert push(folder, NAME).card == "of the repository"
    assert there(hub_server).files()["README.md"] == b"# Written on the page of the hub\n"
    (folder / "README.md").write_text("# Mine\n")
    assert push(folder, NAME).card == "of the folder"
    assert there(hub_server).files()["README.md"] == b"# Mine\n"
    assert push(folder, NAME, replace_card=True, license="mit").card == "written"
    card = there(hub_server).files()["README.md"].decode()
    assert "license: mit" in card and "# Mine" not in card and (folder / "README.md").read_text() == "# Mine\n"


def test_a_branch_gets_its_own_files(hub_server, make_agent):
    push(make_agent("none"), NAME, revision="v2", private=False)
    repository = there(hub_server)
    assert "config.json" in repository.files("v2") and "config.json" not in repository.files("main")
    assert not repository.private


def test_nothing_is_asked_of_the_hub_before_the_folder_is_whole(hub_server, make_agent, make_connector, make_store):
    agent, connector, store = make_agent(), make_connector(), make_store(12)
    (agent / "model.safetensors").unlink()
    (connector / "bridge.safetensors").write_bytes(b"x")
    shard = next((store / "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1] + bytes([shard.read_bytes()[-1] ^ 1]))
    for folder, error in ((agent, CheckpointError), (connector, CheckpointError), (store, StorageError)):
        with pytest.raises(error):
            push(folder, NAME)
    with pytest.raises(InputError, match=r"nothing that can be shared"):
        push(agent.parent, NAME)
    with pytest.raises(InputError, match=r"repo is 'thing'"):
        push(make_agent("none"), "thing")
    with pytest.raises(InputError, match=r"is a store, which no evaluation measures"):
        push(make_store(3, "other"), NAME, results="run")
    assert hub_server.requests == []


def test_a_repository_of_another_kind_is_refused(hub_server, make_agent, make_connector):
    push(make_agent(), NAME)
    before = there(hub_server).files()
    with pytest.raises(InputError, match=rf"{NAME} on the hub holds another kind of thing \(agent\)"):
        push(make_connector(), NAME)
    assert there(hub_server).files() == before


def test_a_public_repository_needs_the_word(hub_server, make_agent):
    push(make_agent("none"), NAME, private=False)
    with pytest.raises(InputError, match=r"is public; upload there with --no-private"):
        push(make_agent("text"), NAME)


@pytest.mark.parametrize("refused", [("PUT", "/large/"), ("POST", "/preupload/"), ("POST", "/commit/")])
def test_an_upload_that_fails_leaves_the_repository_as_it_was(hub_server, make_agent, refused):
    push(make_agent("none"), NAME)
    before = there(hub_server).files()
    hub_server.refused = {refused: 403}
    with pytest.raises(InputError, match=rf"^{NAME} on the hub is out of reach: it answers 403") as caught:
        push(make_agent("latent"), NAME)
    assert "\n" not in str(caught.value) and there(hub_server).files() == before
    hub_server.refused = {}
    push(make_agent("latent", "again"), NAME)
    assert "adapter.safetensors" in there(hub_server).files()


def test_a_killed_upload_is_made_again(hub_server, make_store, contents):
    folder = make_store()
    hub_server.stalls = "/large/"
    words = [sys.executable, "-m", "interlat.cli", "push", str(folder), "--repo", NAME]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert hub_server.stalled.wait(120)
        process.kill()
    assert there(hub_server, "store").files().keys() == {".gitattributes"}
    hub_server.stalls = ""
    hub_server.go_on.set()
    push(folder, NAME)
    assert contents(folder).items() <= there(hub_server, "store").files().items()
