import dataclasses

import pytest

from interlat.errors import InputError
from interlat.store.index import EXCLUDED_FILE, SEAL_FILE
from interlat.store.reading import LatentStore
from interlat.store.splits import assign_splits, split_of
from interlat.store.verify import verify
from interlat.store.writer import StoreWriter, finish, writing

SHARES = {"train": 0.6, "valid": 0.1, "test": 0.3}


def splits_of(directory):
    store = LatentStore.open(directory)
    return dict(zip(store.ids, store.table.column("split").to_pylist(), strict=True))


def test_samples_of_a_task_stay_together_and_every_thought_has_a_split(make_store):
    store = make_store(60)
    counts = assign_splits(store.directory, SHARES)
    splits = splits_of(store.directory)
    assert all(splits[f"item/{number}"] == splits[f"item/{number + 1}"] for number in range(0, 60, 2))
    assert counts == {name: list(splits.values()).count(name) for name in SHARES} and sum(counts.values()) == 60
    assert counts["train"] > counts["test"] > counts["valid"]


def test_a_store_that_is_killed_while_it_is_split_can_be_opened(make_store, monkeypatch):
    store = make_store(4)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("interlat.store.index.write_seal", killed)
        with pytest.raises(KeyboardInterrupt):
            assign_splits(store.directory, {"train": 0.5, "test": 0.5})
    assert len(LatentStore.open(store.directory)) == 4
    assign_splits(store.directory, {"train": 0.5, "test": 0.5})
    assert (store.directory / SEAL_FILE).exists()


def test_a_split_depends_on_task_and_seed_alone(make_store, tmp_path, manifest, rows_of, entry_of):
    store = make_store(30)
    assign_splits(store.directory, SHARES)
    with writing(tmp_path / "other", manifest) as writer:
        for number in (29, 3, 11, 4):
            writer.append(dataclasses.replace(entry_of(number), order=-number), rows_of(number))
    assign_splits(tmp_path / "other", dict(reversed(SHARES.items())))
    first, second = splits_of(store.directory), splits_of(tmp_path / "other")
    assert second == {key: first[key] for key in second}
    assign_splits(store.directory, SHARES, seed=1)
    assert splits_of(store.directory) != first


def test_shares_are_met_in_expectation():
    found = [split_of(f"task {number}", SHARES) for number in range(20000)]
    for name, share in SHARES.items():
        assert found.count(name) / 20000 == pytest.approx(share, abs=0.015)
    assert {split_of(f"task {number}", {"all": 1.0, "none": 0.0}) for number in range(99)} == {"all"}


def test_nothing_but_the_split_changes(tmp_path, manifest, rows_of, entry_of):
    with writing(tmp_path, manifest) as writer:
        for number in range(9):
            writer.append(entry_of(number), rows_of(number))
        writer.exclude("z", "failed", "why")
        writer.exclude("a", "filtered", "long")
    before, excluded = LatentStore.open(tmp_path), (tmp_path / EXCLUDED_FILE).read_bytes()
    assign_splits(tmp_path, SHARES)
    after = LatentStore.open(tmp_path)
    assert after.table.drop(["split"]).equals(before.table.drop(["split"]))
    assert (tmp_path / EXCLUDED_FILE).read_bytes() == excluded and after.excluded == before.excluded
    assert not any(verdict.problem for verdict in verify(tmp_path))
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("shares", [{}, {"a": 0.5}, {"a": 0.5, "b": 0.5001}, {"a": 1.5, "b": -0.5}, {"": 1.0}])
def test_shares_that_make_no_sense_are_an_error_and_change_nothing(make_store, shares):
    store = make_store(4)
    before = splits_of(store.directory)
    with pytest.raises(InputError, match="add up to"):
        assign_splits(store.directory, shares)
    assert splits_of(store.directory) == before


def test_an_unfinished_store_is_not_split(tmp_path, manifest, rows_of, entry_of):
    with StoreWriter(tmp_path, manifest) as writer:
        writer.append(entry_of(1), rows_of(1))
    with pytest.raises(InputError, match="not finished"):
        assign_splits(tmp_path, SHARES)
    finish(tmp_path)
    assert sum(assign_splits(tmp_path, SHARES).values()) == 1
