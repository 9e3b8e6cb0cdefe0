"""Downloads over HTTP from the hub's API on this machine."""

import resource
import subprocess
import sys

import pytest
import torch

import interlat
from interlat.errors import CheckpointError, InputError, StorageError
from interlat.sharing.pull import pull
from interlat.sharing.push import push
from interlat.store.reading import LatentStore
from interlat.store.verify import verify

NAME = "somebody/thing"


def words(output):
    return [sys.executable, "-m", "interlat.cli", "pull", NAME, "--output", str(output)]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", ["agent", "connector", "store"])
def test_what_went_up_comes_back_bit_for_bit(hub_server, make, contents, tmp_path, kind):
    folder, back = make[kind](), tmp_path / "parts" / "back"
    address = push(folder, NAME).address
    pulled = pull(NAME, back)
    assert pulled.kind == kind and address.endswith(pulled.commit) and not pulled.was_there and str(back) in pulled.use
    assert contents(back) == contents(folder) and (back / "README.md").is_file()
    assert not any(path.is_symlink() for path in back.rglob("*")) and names(back.parent) == ["back"]


def test_a_pulled_agent_answers_and_a_pulled_store_opens(hub_server, make_agent, make_store, tmp_path):
    push(make_agent("none"), NAME)
    push(make_store(12), "somebody/thoughts")
    pull(NAME, tmp_path / "actor")
    pull("somebody/thoughts", tmp_path / "thoughts")
    here, there = (interlat.load(place) for place in (interlat.bundled("alfworld-mini/none"), tmp_path / "actor"))
    assert here.reply("a task") == there.reply("a task")
    back, store = (LatentStore.open(tmp_path / name) for name in ("thoughts", "store"))
    assert not any(verdict.problem for verdict in verify(back))
    assert all(torch.equal(back.hidden_states(n), store.hidden_states(n)) for n in range(12))


def test_a_revision_is_a_branch_or_a_commit(hub_server, make_agent, contents, tmp_path):
    none, text = make_agent("none"), make_agent("text")
    first = push(none, NAME).address.rpartition("/")[2]
    push(text, NAME)
    push(none, NAME, revision="v1")
    for revision, wanted in (("", text), ("v1", none), (first, none)):
        pull(NAME, tmp_path / f"back-{revision}", revision=revision)
        assert contents(tmp_path / f"back-{revision}") == contents(wanted)
    with pytest.raises(InputError, match=r"no such revision"):
        pull(NAME, tmp_path / "back", revision="v9")


def test_files_that_do_not_belong_there_are_not_fetched(hub_server, make_agent, tmp_path):
    push(make_agent("none"), NAME)
    strange = {"pytorch_model.bin": b"x", "a/../../escaped": b"x", "run.py": b"x", "../escaped.json": b"x"}
    hub_server.model(NAME).files().update(strange)
    pull(NAME, tmp_path / "back")
    assert not hub_server.asked("GET", "resolve.*(pytorch_model|run.py|escaped)")
    assert "config.json" in names(tmp_path / "back") and "run.py" not in names(tmp_path / "back")


def test_a_folder_that_holds_something_else_is_refused(hub_server, make_agent, tmp_path):
    folder = make_agent("none")
    push(folder, NAME)
    assert pull(NAME, folder).was_there
    (folder / "README.md").write_text("# My notes\n")
    assert pull(NAME, folder).was_there and (folder / "README.md").read_text() == "# My notes\n"
    (folder / "agent.json").write_text("{}\n")
    with pytest.raises(InputError, match=rf"output is {folder}, which exists and is not {NAME} at [0-9a-f]{{12}}"):
        pull(NAME, folder)
    with pytest.raises(InputError, match=r"which exists"):
        pull(NAME, folder / "config.json")
    assert (folder / "agent.json").read_text() == "{}\n" and "config.json" in names(folder)
    (tmp_path / "empty").mkdir()
    pull(NAME, tmp_path / "empty")
    assert "config.json" in names(tmp_path / "empty")


def test_nothing_of_this_kind_is_refused(hub_server, make_agent, make_store, tmp_path):
    with pytest.raises(InputError, match=rf"no model or data set {NAME} .* log in .* if it is private"):
        pull(NAME, tmp_path / "back")
    push(make_agent("none"), NAME)
    with pytest.raises(InputError, match=rf"no data set {NAME}"):
        pull(NAME, tmp_path / "back", kind="store")
    with pytest.raises(InputError, match=rf"{NAME} holds no connector: expected adapter.safetensors"):
        pull(NAME, tmp_path / "back", kind="connector")
    with pytest.raises(InputError, match=r"repository is 'thing'"):
        pull("thing", tmp_path / "back")
    push(make_store(), NAME)
    with pytest.raises(InputError, match=rf"{NAME} is agent and store.*--kind"):
        pull(NAME, tmp_path / "back")
    assert pull(NAME, tmp_path / "back", kind="store").kind == "store"
    hub_server.data_set(NAME).files().pop("manifest.json")
    assert pull(NAME, tmp_path / "agent").kind == "agent"
    with pytest.raises(InputError, match=rf"{NAME} holds no store: expected manifest.json; `interlat store import`"):
        pull(NAME, tmp_path / "other", kind="store")


def test_a_private_repository_needs_the_token(hub_server, make_agent, monkeypatch, tmp_path):
    push(make_agent("none"), NAME)
    for token in ("", "token-of-other"):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(InputError, match=r"that your login may see; .* log in"):
            pull(NAME, tmp_path / "back")
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(InputError, match=r"401 .*your token is not valid"):
        pull(NAME, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_gated_repository_says_what_to_do(hub_server, make_agent, monkeypatch, tmp_path):
    push(make_agent("none"), NAME, private=False)
    hub_server.model(NAME).gated = True
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match=r"it is gated; accept its terms"):
        pull(NAME, tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "agent.json"])
def test_a_damaged_download_is_refused_and_the_next_call_fetches_it_again(
    hub_server, make_agent, contents, tmp_path, name
):
    folder = make_agent()
    push(folder, NAME)
    hub_server.damaged = {name}
    with pytest.raises(InputError, match=rf"^{name} of {NAME} came damaged"):
        pull(NAME, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    hub_server.damaged, hub_server.requests[:] = set(), []
    pull(NAME, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(folder)
    assert not hub_server.asked("GET", "large.*adapter.safetensors") and names(tmp_path) == ["back", "latent"]


def test_what_is_not_whole_in_the_repository_is_refused(hub_server, make_agent, make_store, tmp_path):
    push(make_agent("none"), NAME)
    del hub_server.model(NAME).files()["model.safetensors"]
    with pytest.raises(CheckpointError, match=rf"^{NAME} on the hub/model.safetensors is missing"):
        pull(NAME, tmp_path / "back")
    push(make_store(40), NAME)
    files = hub_server.data_set(NAME).files()
    shards = sorted(name for name in files if name.startswith("shards/"))
    hub_server.put("datasets", NAME, shards[0], files[shards[0]][:-5])
    with pytest.raises(StorageError, match=rf"^{NAME} on the hub is damaged: .* of 40 thoughts are bad"):
        pull(NAME, tmp_path / "back", kind="store")
    assert names(tmp_path) == ["none", "store"]


def test_a_killed_download_goes_on(hub_server, make_agent, contents, tmp_path):
    folder, back = make_agent(), tmp_path / "pulled" / "back"
    push(folder, NAME)
    hub_server.stalls = "model.safetensors"
    with subprocess.Popen(words(back), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert hub_server.stalled.wait(120)
        work = back.parent / ".back.download"
        # The others are small and on their way at the same time.
        while not all((work / name).exists() for name in ("adapter.safetensors", "tokenizer.json")):
            assert process.poll() is None
        process.kill()
    assert not back.exists()
    hub_server.go_on.set()
    hub_server.requests.clear()
    pull(NAME, back)
    assert contents(back) == contents(folder) and names(back.parent) == ["back"]
    assert hub_server.asked("GET", "large.*/model.safetensors") == 1
    assert not hub_server.asked("GET", "(adapter.safetensors|tokenizer.json)$")


def test_another_repository_may_follow_where_a_download_was_killed(hub_server, make_agent, contents, tmp_path):
    push(make_agent("latent"), NAME)
    push(make_agent("none"), "somebody/other")
    hub_server.damaged = {"model.safetensors"}
    with pytest.raises(InputError, match=r"damaged"):
        pull(NAME, tmp_path / "back")
    hub_server.damaged = set()
    pull("somebody/other", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(tmp_path / "none")


def test_two_downloads_into_one_folder_do_not_mix(hub_server, make_agent, tmp_path):
    push(make_agent(), NAME)
    hub_server.stalls = "model.safetensors"
    with subprocess.Popen(words(tmp_path / "back"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert hub_server.stalled.wait(120)
        with pytest.raises(StorageError, match=r"another process \(process \d+\) writes to .*back"):
            pull(NAME, tmp_path / "back")
        process.kill()


def test_a_full_disk_is_one_line(hub_server, make_agent, tmp_path):
    push(make_agent(), NAME)

    def little_space():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(words(tmp_path / "back"), capture_output=True, text=True, preexec_fn=little_space)
    assert done.returncode == 2 and not (tmp_path / "back").exists()
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert NAME in line and "File too large" in line and "Traceback" not in done.stderr
