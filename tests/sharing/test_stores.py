import re

import pytest
import torch

from interlat.errors import InputError, StorageError
from interlat.sharing.stores import check, describe, use
from interlat.store.index import SHARDS, Entry
from interlat.store.manifest import Manifest
from interlat.store.writer import StoreWriter, writing


def test_a_whole_store_passes_and_says_what_it_holds(make_store):
    folder = make_store(12)
    check(folder)
    found = describe(folder, "somebody/thoughts")
    assert found.facts["thoughts"] == "12; 0 failed, 0 filtered out" and found.facts["model"] == "scout"
    assert "latent-store" in found.tags and str(folder) not in f"{found}"
    assert use(folder).startswith("12 thoughts; `interlat store info")
    exec(found.use.replace('"thoughts"', repr(str(folder))), {})


@pytest.mark.parametrize(
    ("model", "shown"), [("/home/somebody/scout/model", "scout"), ("owner/name", "owner/name"), ("", "unknown")]
)
def test_the_folder_of_the_model_stays_private(tmp_path, model, shown):
    with writing(tmp_path, Manifest(hidden_size=8, model=model)) as writer:
        writer.append(Entry("t", "task"), torch.ones(2, 8))
    assert describe(tmp_path, "a/b").facts["model"] == shown


def test_an_unfinished_store_is_refused(tmp_path):
    with StoreWriter(tmp_path, Manifest(hidden_size=8, model="scout")) as writer:
        writer.append(Entry("t", "task"), torch.ones(2, 8))
    with pytest.raises(InputError, match=r"not finished; end its collection first"):
        check(tmp_path)


def test_a_store_is_verified_to_its_last_byte(make_store):
    folder = make_store(12)
    shard = sorted((folder / SHARDS).iterdir())[0]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(
        StorageError, match=rf"^{re.escape(str(folder))} is damaged: 1 of 12 thoughts are bad, such as t\d+: .*"
    ):
        check(folder)
    shard.unlink()
    with pytest.raises(StorageError, match=r"of 12 thoughts are bad"):
        check(folder)
