"""Stores on the Hugging Face hub: a store is a data set repository with its own files and a card."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData, HfApi, snapshot_download
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined] # the root of all that the client raises

from interlat.errors import InputError
from interlat.files import atomic_folder, require_empty
from interlat.store.index import EXCLUDED_FILE, INDEX_FILE, SEAL_FILE, SHARDS
from interlat.store.manifest import MANIFEST_FILE
from interlat.store.reading import LatentStore
from interlat.store.shard import ENDING, open_shard
from interlat.store.statistics import StoreDescription, describe
from interlat.store.writer import shard_format

CARD_FILE = "README.md"
STORE_FILES = [MANIFEST_FILE, INDEX_FILE, EXCLUDED_FILE, SEAL_FILE, f"{SHARDS}/*{ENDING}"]


@contextlib.contextmanager
def hub_errors(repository: str, *others: type[Exception]) -> Iterator[None]:
    """Turn what the hub or its client refuses into an `InputError` about ``repository``.

    Args:
        repository: hub id, for the error.
        others: further exceptions that mean the same.

    Raises:
        InputError: no network, no such repository, no permission, a name that cannot be.
    """
    refusals: tuple[type[Exception], ...] = (OSError, ValueError, HTTPError, *others)
    try:
        yield
    except refusals as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{repository} on the hub is out of reach: {reason}; check its name, the network, and your login "
            "(`hf auth login`)"
        ) from error


def push(directory: str | Path, repository: str, private: bool = True, revision: str = "") -> str:
    """Upload a finished store; a store that is there already is replaced, its history stays.

    Args:
        repository: hub id of the data set, made if it does not exist.
        private: whether a new repository is private.
        revision: branch, made if it does not exist; empty for the main one.

    Returns:
        Address of the commit.

    Raises:
        InputError: the store is not finished, or the hub refused.
        StorageError: there is no whole store in ``directory``.
    """
    store = LatentStore.open(directory)
    if store.unfinished:
        raise InputError(f"{directory} is not finished; end its collection first, then push it")
    card, api = card_of(describe(store), repository), HfApi()
    place: dict[str, Any] = {"repo_id": repository, "repo_type": "dataset", "revision": revision or None}
    with hub_errors(repository):
        api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        if revision:
            api.create_branch(repository, branch=revision, repo_type="dataset", exist_ok=True)
        api.upload_file(
            path_or_fileobj=card.encode(),
            path_in_repo=CARD_FILE,
            commit_message="Describe the latent store",
            **place,
        )
        commit = api.upload_folder(
            folder_path=store.directory,
            allow_patterns=STORE_FILES,
            # Of a store that stood there before.
            delete_patterns=STORE_FILES,
            commit_message=f"Upload {len(store)} thoughts",
            **place,
        )
    return commit.commit_url


def pull(repository: str, output: str | Path, revision: str = "") -> None:
    """Download a store; an interrupted download goes on from the cache of the hub's client.

    Args:
        repository: hub id of the data set.
        output: folder of the store; must not exist or be empty.
        revision: branch, tag or commit; empty for the main branch.

    Raises:
        InputError: the hub refused, the repository is no store, or the output is not empty.
        StorageError: what was downloaded is damaged, or the file system refused.
    """
    target = Path(output)
    require_empty(target)
    with hub_errors(repository):
        snapshot = Path(
            snapshot_download(repository, repo_type="dataset", revision=revision or None, allow_patterns=STORE_FILES)
        )
    if not (snapshot / MANIFEST_FILE).is_file():
        raise InputError(
            f"{repository} holds no latent store ({MANIFEST_FILE} is missing); `interlat store import` reads other "
            "data sets"
        )
    store = LatentStore.open(snapshot)
    for name in set(store.table.column("shard").to_pylist()):
        open_shard(snapshot / SHARDS / name, shard_format(store.manifest))
    with atomic_folder(target) as temporary:
        for path in sorted(path for pattern in STORE_FILES for path in snapshot.glob(pattern)):
            copy = temporary / path.relative_to(snapshot)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)


CARD = """---
{{ card_data }}
---

# {{ repository }}

Hidden states of a language model, one matrix of rows a thought, with the task and the words that belong to them: a
latent store of the Python package `interlat`.

| | |
| --- | --- |
{%- for name, value in facts.items() %}
| {{ name }} | {{ value | replace("|", "/") }} |
{%- endfor %}

`index.parquet` says what each thought is about and where its rows are in `shards/`; `manifest.json` says how the rows
are to be read and how they were made.

```sh
interlat store pull {{ repository }} --output store
interlat store info store
```

```python
from interlat.store.reading import LatentStore

store = LatentStore.open("store")
thought = store[0]
print(thought.entry.task, thought.entry.plan, thought.hidden_states.shape)
```
"""


def card_of(description: StoreDescription, repository: str) -> str:
    """The data set card of a store: what it is, how much, and how to open it."""
    index = {"config_name": "index", "data_files": INDEX_FILE}
    data = DatasetCardData(tags=["interlat", "latent-store", "hidden-states"], configs=[index])
    facts = description.facts()
    return str(DatasetCard.from_template(data, template_str=CARD, repository=repository, facts=facts))
