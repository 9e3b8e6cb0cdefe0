import dataclasses

import pytest
import torch

from interlat.connectors.adapter import AdapterConfig
from interlat.errors import InputError, MessageError, StorageError
from interlat.store.index import SHARDS
from interlat.store.manifest import KeptLayer, Manifest
from interlat.store.reading import LatentStore


def test_thoughts_are_found_by_number_id_and_slice(make_store, rows_of, entry_of):
    store = make_store(10)
    assert len(store) == 10 and [len(thought.hidden_states) for thought in store] == store.lengths
    for key in (4, -6, "item/4"):
        assert store[key].entry == entry_of(4)
        assert torch.equal(store[key].hidden_states, rows_of(4))
    assert [store.length(key) for key in ("item/4", 4, -1)] == [store.lengths[4], store.lengths[4], store.lengths[9]]
    assert store[2:8:3].ids == ["item/2", "item/5"]
    assert torch.equal(store[2:8:3].hidden_states(1), rows_of(5))
    with pytest.raises(IndexError):
        store[10]
    with pytest.raises(InputError, match="no thought 'x'"):
        store["x"]


def test_writing_into_a_thought_does_not_change_the_store(make_store, rows_of):
    store = make_store(3)
    store[1].hidden_states.fill_(7.0)
    assert torch.equal(store.hidden_states(1), rows_of(1))


def test_splits_and_selections_read_the_right_rows(make_store, rows_of):
    store = make_store(10)
    test = store.split("test")
    assert test.ids == ["item/0", "item/3", "item/6", "item/9"]
    assert all(torch.equal(test.hidden_states(i), rows_of(3 * i)) for i in range(4))
    with pytest.raises(InputError, match="it has 'test', 'train'"):
        store.split("valid")


def test_a_thought_becomes_the_message_that_its_sender_would_send(make_store, rows_of, manifest):
    message = make_store(5).message("item/4")
    assert torch.equal(message.hidden_states, rows_of(4))
    assert message.text == "plan 4\nwith two lines" and message.token_ids == (0, 1, 2, 3, 4)
    reader = AdapterConfig(8, 8, sender_fingerprints=("w" * 64,), sender_tokenizer_fingerprint="t" * 64)
    reader.check(message.header)
    with pytest.raises(MessageError, match="state_at"):
        dataclasses.replace(reader, state_at="after_token").check(message.header)


def test_a_message_has_one_layer(tmp_path):
    both = Manifest(hidden_size=8, layers=(KeptLayer(-1, "post"), KeptLayer(-2, "pre")))
    both.write(tmp_path)
    with pytest.raises(MessageError, match="2 layers"):
        LatentStore.open(tmp_path).message(0)


def test_prompt_states_that_were_not_kept_are_an_error(make_store):
    with pytest.raises(InputError, match="prompt_states"):
        make_store(2).prompt_states(0)


def test_a_missing_shard_is_named(make_store):
    store = make_store(2)
    next((store.directory / SHARDS).iterdir()).unlink()
    with pytest.raises(StorageError, match="00000-000000"):
        LatentStore.open(store.directory).hidden_states(0)


def test_an_index_that_asks_for_too_many_rows_is_named(make_store):
    store = make_store(2)
    lengths = store.table.schema.get_field_index("length")
    table = store.table.set_column(lengths, "length", [[1, 99]])
    broken = LatentStore(store.directory, store.manifest, table, {}, False)
    with pytest.raises(StorageError, match="item/1 ends at"):
        broken.hidden_states(1)


def test_a_name_that_leads_out_of_the_store_is_refused(make_store):
    store = make_store(2)
    column = store.table.schema.get_field_index("shard")
    table = store.table.set_column(column, "shard", [["../../x", "../../x"]])
    with pytest.raises(StorageError, match="names a shard"):
        LatentStore(store.directory, store.manifest, table, {}, False)


def test_no_store_is_an_error(tmp_path):
    with pytest.raises(StorageError, match="no latent store"):
        LatentStore.open(tmp_path / "nothing")


def test_an_empty_store_is_a_store(make_store, manifest):
    store = make_store(0)
    assert len(store) == 0 and store.ids == [] and list(store) == []
    assert dataclasses.replace(store.manifest, code_version="") == dataclasses.replace(manifest, code_version="")
