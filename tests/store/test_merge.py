import dataclasses

import pytest
import torch

from interlat.errors import InputError, StorageError
from interlat.store.index import SHARDS
from interlat.store.manifest import KeptLayer
from interlat.store.merge import merge
from interlat.store.reading import LatentStore
from interlat.store.shard import HEADER_BYTES
from interlat.store.verify import StoreCheck, verify
from interlat.store.writer import StoreWriter, writing

SMALL = HEADER_BYTES + 300


@pytest.fixture
def store_of(tmp_path, manifest, rows_of, entry_of):
    """A store with the thoughts of some numbers."""

    def make(name, numbers, manifest=manifest, ranks=1, excluded=(), order=0):
        writers = [StoreWriter(tmp_path / name, manifest, rank, SMALL) for rank in range(ranks)]
        for number in numbers:
            entry = dataclasses.replace(entry_of(number), order=order + number)
            writers[number % ranks].append(entry, rows_of(number))
        for identifier in excluded:
            writers[0].exclude(identifier, "failed", f"in {name}")
        for writer in writers:
            writer.close()
        with writing(tmp_path / name, manifest):
            pass
        return tmp_path / name

    return make


def test_all_thoughts_are_there_those_of_the_first_store_first(store_of, rows_of, entry_of, tmp_path):
    first, second = store_of("first", range(10, 20), ranks=2, order=500), store_of("second", range(9, -1, -1))
    merge([first, second], tmp_path / "both")
    both = LatentStore.open(tmp_path / "both")
    numbers = [*range(10, 20), *range(10)]
    assert both.ids == [f"item/{number}" for number in numbers]
    for place, number in enumerate(numbers):
        assert torch.equal(both.hidden_states(place), rows_of(number))
        assert both.entry(place) == dataclasses.replace(entry_of(number), order=place)
    assert not any(verdict.problem for verdict in verify(both)) and StoreCheck(both).unclaimed_rows == {}
    assert not both.unfinished and both.manifest.differences(LatentStore.open(first).manifest) == []
    shards = sorted(path.name for path in (tmp_path / "both" / SHARDS).iterdir())
    assert len(shards) > 4 and {name[:6] for name in shards} == {"00000-", "00001-"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both", "first", "second"]


def test_a_merged_store_can_be_added_to(store_of, rows_of, entry_of, manifest, tmp_path):
    merge([store_of("first", range(4)), store_of("second", range(4, 8))], tmp_path / "both")
    for rank in (0, 1):
        with StoreWriter(tmp_path / "both", manifest, rank) as writer:
            writer.append(entry_of(20 + rank), rows_of(20 + rank))
    with writing(tmp_path / "both", manifest):
        pass
    both = LatentStore.open(tmp_path / "both")
    assert len(both) == 10 and not any(verdict.problem for verdict in verify(both))


def test_the_same_thought_is_kept_once(store_of, rows_of, tmp_path):
    first, second = store_of("first", range(6)), store_of("second", range(3, 9))
    merge([first, second, first], tmp_path / "both")
    both = LatentStore.open(tmp_path / "both")
    assert both.ids == [f"item/{number}" for number in range(9)]
    assert all(torch.equal(both.hidden_states(number), rows_of(number)) for number in range(9))
    assert {name[:5] for name in both.table.column("shard").to_pylist()} == {"00000", "00001"}
    assert not any(verdict.problem for verdict in verify(both))
    assert not list((tmp_path / "both" / SHARDS).glob("00002-*")), "a shard that nobody needs was copied"


def test_the_same_id_with_other_states_is_an_error(store_of, entry_of, manifest, tmp_path):
    first = store_of("first", range(3))
    with writing(tmp_path / "second", manifest) as writer:
        writer.append(entry_of(1), torch.zeros(2, 8))
    with pytest.raises(InputError, match=r"item/1 is in .*first and in .*second with different states"):
        merge([first, tmp_path / "second"], tmp_path / "both")
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"state_at": "after_token"},
        {"dtype": "bfloat16"},
        {"encoding": "int8"},
        {"method": "compressed"},
        {"weights_fingerprint": "x"},
        {"tokenizer_fingerprint": "x"},
        {"layers": (KeptLayer(-1, "pre"),)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_stores_of_different_kinds_do_not_mix(store_of, manifest, tmp_path, changes):
    first = store_of("first", range(3))
    second = store_of("second", range(3, 5), dataclasses.replace(manifest, **changes))
    with pytest.raises(InputError, match=f"differ in {next(iter(changes))} "):
        merge([first, second], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_stores_that_were_made_differently_say_how(store_of, manifest, tmp_path):
    first = store_of("first", range(3), dataclasses.replace(manifest, settings={"seed": 0}))
    second = store_of("second", range(3, 5), dataclasses.replace(manifest, settings={"seed": 1}, model="copy of scout"))
    merge([first, second], tmp_path / "both")
    settings = LatentStore.open(tmp_path / "both").manifest.settings
    assert [(one["path"], one["settings"]["seed"], one["model"]) for one in settings["merged"]] == [
        (str(first), 0, "scout"),
        (str(second), 1, "copy of scout"),
    ]


def test_what_is_not_in_a_store_is_merged_too(store_of, tmp_path):
    first = store_of("first", range(3), excluded=("bad", "item/4"))
    second = store_of("second", range(3, 6), excluded=("bad", "worse"))
    merge([first, second], tmp_path / "both")
    excluded = LatentStore.open(tmp_path / "both").excluded
    assert {key: one.reason for key, one in excluded.items()} == {"bad": "in first", "worse": "in second"}


def test_bad_sources_and_outputs_are_errors(store_of, manifest, rows_of, entry_of, tmp_path):
    first = store_of("first", range(3))
    with StoreWriter(tmp_path / "second", manifest) as writer:
        writer.append(entry_of(7), rows_of(7))
    with pytest.raises(InputError, match="finish the collection first"):
        merge([first, tmp_path / "second"], tmp_path / "both")
    with pytest.raises(InputError, match="not empty"):
        merge([first], tmp_path / "second")
    with pytest.raises(InputError, match="no stores"):
        merge([], tmp_path / "both")
    (first / SHARDS / "00000-000000.safetensors").unlink()
    with pytest.raises(StorageError, match=r"00000-000000 of .*first is missing"):
        merge([first], tmp_path / "both")
    assert not (tmp_path / "both").exists()
    assert LatentStore.open(tmp_path / "second").ids == ["item/7"]


def test_an_empty_folder_is_a_good_output(store_of, tmp_path):
    (tmp_path / "both").mkdir()
    merge([store_of("first", range(3)), store_of("empty", ())], tmp_path / "both")
    assert len(LatentStore.open(tmp_path / "both")) == 3
