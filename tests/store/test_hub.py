"""Pushing and pulling against a folder that stands in for the hub and checks what it is asked."""

import inspect
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from huggingface_hub.errors import HTTPError as HubError

from interlat.errors import InputError, StorageError
from interlat.store import hub
from interlat.store.hub import card_of, hub_errors, pull, push
from interlat.store.index import SHARDS
from interlat.store.reading import LatentStore
from interlat.store.shard import HEADER_BYTES
from interlat.store.statistics import describe
from interlat.store.verify import verify
from interlat.store.writer import StoreWriter

REPOSITORY = "somebody/thoughts"


class FakeHub:
    """One data set repository, its branches as folders."""

    def __init__(self, folder):
        self.folder = folder
        self.private = None
        self.commits = 0

    def branch(self, name):
        return self.folder / (name or "main")

    def create_repo(self, repository, *, repo_type, private, exist_ok):
        assert (repository, repo_type, exist_ok) == (REPOSITORY, "dataset", True)
        self.private = private
        self.branch("main").mkdir(parents=True, exist_ok=True)

    def create_branch(self, repository, *, branch, repo_type, exist_ok):
        assert (repository, repo_type, exist_ok) == (REPOSITORY, "dataset", True)
        self.branch(branch).mkdir(exist_ok=True)

    def upload_file(self, *, path_or_fileobj, path_in_repo, repo_id, repo_type, revision, commit_message):
        assert (repo_id, repo_type) == (REPOSITORY, "dataset") and commit_message
        (self.branch(revision) / path_in_repo).write_bytes(path_or_fileobj)

    def upload_folder(
        self, *, repo_id, folder_path, repo_type, revision, allow_patterns, delete_patterns, commit_message
    ):
        assert (repo_id, repo_type) == (REPOSITORY, "dataset") and commit_message
        branch = self.branch(revision)
        for path in sorted(branch.rglob("*")):
            if path.is_file() and matches(path.relative_to(branch), delete_patterns):
                path.unlink()
        for path in sorted(Path(folder_path).rglob("*")):
            name = path.relative_to(folder_path)
            if path.is_file() and matches(name, allow_patterns):
                (branch / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(path, branch / name)
        self.commits += 1
        return type("Commit", (), {"commit_url": f"https://hub/{repo_id}/commit/{self.commits}"})

    def snapshot_download(self, repository, *, repo_type, revision, allow_patterns):
        assert (repository, repo_type) == (REPOSITORY, "dataset")
        if not self.branch(revision).is_dir():
            raise LocalEntryNotFoundError(f"no {revision}\nmore lines")
        cached = self.folder / "cache" / (revision or "main")
        shutil.rmtree(cached, ignore_errors=True)
        for path in self.branch(revision).rglob("*"):
            name = path.relative_to(self.branch(revision))
            if path.is_file() and matches(name, allow_patterns):
                (cached / name).parent.mkdir(parents=True, exist_ok=True)
                # As the real cache does.
                (cached / name).symlink_to(path)
        cached.mkdir(parents=True, exist_ok=True)
        return str(cached)


def matches(name, patterns):
    return any(fnmatch(str(name), pattern) for pattern in patterns)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    fake = FakeHub(tmp_path / "hub")
    monkeypatch.setattr(hub, "HfApi", lambda: fake)
    monkeypatch.setattr(hub, "snapshot_download", fake.snapshot_download)
    return fake


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("revision", ["", "v2"])
def test_a_store_goes_to_the_hub_and_back(make_store, fake, tmp_path, rows_of, entry_of, revision):
    store = make_store(20, shard_bytes=HEADER_BYTES + 300)
    (store.directory / "config.yaml").write_text("private: notes\n")
    assert push(store.directory, REPOSITORY, revision=revision) == f"https://hub/{REPOSITORY}/commit/1"
    assert fake.private is True
    shards = files(store.directory / SHARDS)
    wanted = ["README.md", "excluded.jsonl", "index.parquet", "manifest.json", "seal.json"]
    wanted += [f"shards/{name}" for name in shards]
    assert files(fake.branch(revision)) == wanted
    pull(REPOSITORY, tmp_path / "back", revision)
    back = LatentStore.open(tmp_path / "back")
    assert files(tmp_path / "back") == [name for name in wanted if name != "README.md"]
    assert not any(path.is_symlink() for path in (tmp_path / "back").rglob("*"))
    assert not any(verdict.problem for verdict in verify(back))
    assert all(back[n].entry == entry_of(n) and torch.equal(back.hidden_states(n), rows_of(n)) for n in range(20))


def test_a_second_push_replaces_the_first(make_store, fake, tmp_path):
    push(make_store(20, shard_bytes=HEADER_BYTES + 300).directory, REPOSITORY)
    push(make_store(3, "small").directory, REPOSITORY, private=False)
    assert files(fake.branch("main") / SHARDS) == ["00000-000000.safetensors"] and fake.private is False
    pull(REPOSITORY, tmp_path / "back")
    assert len(LatentStore.open(tmp_path / "back")) == 3


def test_the_card_says_what_it_is(make_store):
    store = make_store(20)
    card = card_of(describe(store), REPOSITORY)
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header)["configs"] == [{"config_name": "index", "data_files": "index.parquet"}]
    for words in (
        f"# {REPOSITORY}",
        "| thoughts | 20; 0 failed, 0 filtered out |",
        "1 to 7, median",
        "| splits | train 13, test 7 |",
        "| model | scout |",
    ):
        assert words in body
    assert f"interlat store pull {REPOSITORY} --output store" in body
    assert str(store.directory) not in card and "| unfinished |" not in body
    code = body.split("```python\n")[1].split("```")[0].replace('"store"', repr(str(store.directory)))
    exec(code, {})


def test_an_unfinished_store_is_not_pushed(fake, tmp_path, manifest, rows_of, entry_of):
    with StoreWriter(tmp_path / "store", manifest) as writer:
        writer.append(entry_of(1), rows_of(1))
    with pytest.raises(InputError, match="not finished"):
        push(tmp_path / "store", REPOSITORY)
    assert not fake.folder.exists()
    with pytest.raises(StorageError, match="no latent store"):
        push(tmp_path / "nothing", REPOSITORY)


def test_nothing_but_a_whole_store_is_pulled(make_store, fake, tmp_path):
    store = make_store(5)
    with pytest.raises(InputError, match=f"{REPOSITORY} on the hub is out of reach: no v9; check"):
        pull(REPOSITORY, tmp_path / "back", "v9")
    with pytest.raises(InputError, match="not empty"):
        pull(REPOSITORY, store.directory)
    fake.branch("main").mkdir(parents=True)
    (fake.branch("main") / "data.csv").touch()
    with pytest.raises(InputError, match="holds no latent store"):
        pull(REPOSITORY, tmp_path / "back")
    push(store.directory, REPOSITORY)
    shard = fake.branch("main") / SHARDS / "00000-000000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(StorageError, match="damaged"):
        pull(REPOSITORY, tmp_path / "back")
    shard.unlink()
    with pytest.raises(StorageError, match="missing"):
        pull(REPOSITORY, tmp_path / "back")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hub", "store"]


@pytest.mark.parametrize(
    "error",
    [HubError("403 Forbidden\nmore"), HFValidationError("a bad id"), OSError("no network"), ConnectionError()],
    ids=lambda error: type(error).__name__,
)
def test_what_the_hub_refuses_is_one_line(error):
    with pytest.raises(InputError, match=r"^a/b on the hub is out of reach: \S") as caught, hub_errors("a/b"):
        raise error
    assert "\n" not in str(caught.value)


def test_other_errors_stay_what_they_are():
    with pytest.raises(KeyError), hub_errors("a/b"):
        raise KeyError("x")
    with pytest.raises(InputError, match="out of reach"), hub_errors("a/b", KeyError):
        raise KeyError("x")


def test_the_stand_in_takes_what_the_real_client_takes():
    for name in ("create_repo", "create_branch", "upload_file", "upload_folder"):
        real = inspect.signature(getattr(HfApi, name)).parameters
        assert inspect.signature(getattr(FakeHub, name)).parameters.keys() - {"self", "repository"} <= real.keys()
    real = inspect.signature(snapshot_download).parameters
    assert inspect.signature(FakeHub.snapshot_download).parameters.keys() - {"self", "repository"} <= real.keys()
