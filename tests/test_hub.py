"""The client of the hub against the API of the hub on this machine."""

import errno
import hashlib

import pytest
from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled
from huggingface_hub.errors import HTTPError as HubError

from hub_server import point_at
from interlat import hub
from interlat.errors import InputError, StorageError
from interlat.hub import RemoteFile, check_repository, download, hub_errors, look_up, prepare, read_text, upload

NAME = "somebody/thing"
NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "error",
    [HubError("403 Forbidden\nmore"), HFValidationError("a bad id"), OSError("no network"), ConnectionError()],
    ids=lambda error: type(error).__name__,
)
def test_what_the_hub_refuses_is_one_line(error):
    with pytest.raises(InputError, match=r"^a/b on the hub is out of reach: \S") as caught, hub_errors("a/b"):
        raise error
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_a_storage_error():
    with pytest.raises(StorageError, match=r"a/b.*No space left.*free some space"), hub_errors("a/b"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_other_errors_stay_what_they_are():
    with pytest.raises(KeyError), hub_errors("a/b"):
        raise KeyError("x")
    with pytest.raises(InputError, match=r"out of reach"), hub_errors("a/b", KeyError):
        raise KeyError("x")


def test_an_error_about_one_file_is_told_by_its_cause():
    with pytest.raises(InputError, match=r"HF_HUB_OFFLINE"), hub_errors("a/b", RuntimeError):
        raise RuntimeError("Error while uploading 'x'") from OfflineModeIsEnabled("offline")


@pytest.mark.parametrize("name", ["", "owner", "a/b/c", "../b", "a b/c", "a/", "a/b\n"])
def test_only_owner_and_name_are_a_repository(name):
    with pytest.raises(InputError, match=r"repo is .* expected a hub id such as owner/name"):
        check_repository(name, "repo")
    check_repository("Owner-1/a.b_c-d", "repo")


def test_a_file_is_compared_with_its_digest(tmp_path):
    path, content = tmp_path / "x", b"some bytes"
    path.write_bytes(content)
    blob = hashlib.sha1(b"blob 10\0" + content).hexdigest()
    assert RemoteFile(10, "", blob).is_at(path)
    assert RemoteFile(10, hashlib.sha256(content).hexdigest(), "of the pointer").is_at(path)
    path.write_bytes(b"other byte")
    assert not RemoteFile(10, "", blob).is_at(path)
    assert not RemoteFile(9, "", blob).is_at(path) and not RemoteFile(10, "", blob).is_at(tmp_path / "y")


@pytest.mark.parametrize("type", ["model", "dataset"])
def test_files_go_up_in_one_commit_and_come_down(hub_server, tmp_path, type):
    (tmp_path / "x.safetensors").write_bytes(b"large" * 1000)
    assert look_up(NAME, type) is None
    remote = prepare(NAME, type, private=True)
    assert remote.private and list(remote.files) == [".gitattributes"]
    files = {"x.safetensors": tmp_path / "x.safetensors", "a/b [1].txt": b"small\n"}
    address = upload(remote, files, [], message="Upload it")
    repository = hub_server.repositories[f"{type}s", NAME]
    assert repository.private and repository.messages == ["initial commit", "Upload it"]
    found = look_up(NAME, type)
    assert address.endswith(f"{NAME}/commit/{found.commit}") and len(found.files) == 3
    assert read_text(found, "a/b [1].txt") == "small\n" and read_text(found, "none") == ""
    download(found, list(files), tmp_path / "back")
    assert (tmp_path / "back" / "x.safetensors").read_bytes() == b"large" * 1000
    assert (tmp_path / "back" / "a" / "b [1].txt").read_bytes() == b"small\n"
    upload(found, {"c": b"c"}, ["a/b [1].txt"], message="Change it")
    assert look_up(NAME, type).files.keys() == {".gitattributes", "x.safetensors", "c"}


def test_a_branch_is_made_and_the_main_one_left(hub_server):
    remote = prepare(NAME, "model", private=True, revision="v2")
    upload(remote, {"a": b"a"}, [], message="Upload it", revision="v2")
    assert "a" in look_up(NAME, "model", "v2").files and "a" not in look_up(NAME, "model").files


def test_a_public_repository_is_written_to_only_where_that_is_meant(hub_server):
    assert not prepare(NAME, "model", private=False).private
    with pytest.raises(InputError, match=rf"{NAME} .* is public; .*--no-private"):
        prepare(NAME, "model", private=True)
    assert not prepare(NAME, "model", private=False).private


def test_a_repository_that_has_changed_meanwhile_is_refused(hub_server):
    remote = prepare(NAME, "model", private=True)
    upload(remote, {"a": b"a"}, [], message="the first")
    with pytest.raises(InputError, match=rf"{NAME} .* 412"):
        upload(remote, {"b": b"b"}, [], message="the second")


def test_damaged_bytes_are_removed_and_the_next_call_goes_on(hub_server, tmp_path):
    remote = prepare(NAME, "model", private=True)
    upload(remote, {"x.safetensors": b"x" * 100, "y.json": b"{ }"}, [], message="Upload it")
    remote = look_up(NAME, "model")
    hub_server.damaged = {"x.safetensors"}
    with pytest.raises(
        InputError, match=r"^x.safetensors of somebody/thing came damaged: .*run the same command again"
    ):
        download(remote, ["x.safetensors", "y.json"], tmp_path)
    assert not (tmp_path / "x.safetensors").exists() and (tmp_path / "y.json").exists()
    hub_server.damaged, hub_server.requests[:] = set(), []
    download(remote, ["x.safetensors", "y.json"], tmp_path)
    assert (tmp_path / "x.safetensors").read_bytes() == b"x" * 100 and not hub_server.asked("GET", "resolve.*y.json")


def test_what_cannot_be_had_says_why_and_what_to_do(hub_server, tmp_path, monkeypatch):
    remote = prepare(NAME, "model", private=True)
    upload(remote, {"x.safetensors": b"x" * 100}, [], message="Upload it")
    remote = look_up(NAME, "model")
    with pytest.raises(InputError, match=r"no such revision"):
        look_up(NAME, "model", "v9")
    with pytest.raises(InputError, match=r"403 \(no right to create a repository\)"):
        prepare("other/thing", "model", private=True)
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(InputError, match=r"401 .*your token is not valid; log in"):
        look_up(NAME, "model")
    monkeypatch.delenv("HF_TOKEN")
    assert look_up(NAME, "model") is None
    with pytest.raises(InputError, match=r"401"):
        prepare("somebody/new", "model", private=True)
    repository = hub_server.model(NAME)
    repository.private, repository.gated = False, True
    with pytest.raises(InputError, match=r"it is gated; accept its terms"):
        download(remote, ["x.safetensors"], tmp_path / "gated")
    hub_server.refused = {("GET", "/api/models"): 503}
    with pytest.raises(InputError, match=r"503 .*try again later"):
        look_up(NAME, "model")
    point_at(monkeypatch, NOWHERE)
    with pytest.raises(InputError, match=r"refused; check its name, the network"):
        look_up(NAME, "model")


def test_without_a_network_nothing_old_is_taken_for_what_is_there(hub_server, tmp_path, monkeypatch):
    remote = prepare(NAME, "model", private=True)
    upload(remote, {"x.safetensors": b"x" * 100}, [], message="Upload it")
    remote = look_up(NAME, "model")
    (tmp_path / "x.safetensors").write_bytes(b"y" * 100)
    monkeypatch.setattr("time.sleep", lambda _: None)
    point_at(monkeypatch, NOWHERE)
    with pytest.raises(InputError, match=r"came damaged|out of reach"):
        download(remote, ["x.safetensors"], tmp_path)


def test_bars_are_shown_again_afterwards(hub_server, tmp_path):
    remote = prepare(NAME, "model", private=True)
    upload(remote, {"a": b"a"}, [], message="Upload it")
    assert not hub.are_progress_bars_disabled()
