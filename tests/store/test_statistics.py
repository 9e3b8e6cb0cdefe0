import dataclasses
import json

import pytest
import torch

from interlat.store.index import SHARDS
from interlat.store.manifest import KeptLayer
from interlat.store.reading import LatentStore
from interlat.store.statistics import describe
from interlat.store.writer import StoreWriter, row_norms, writing


def test_numbers_are_those_of_the_rows(make_store, rows_of):
    store = make_store(20)
    found = describe(store)
    lengths = sorted(len(rows_of(number)) for number in range(20))
    norms = row_norms(torch.cat([rows_of(number) for number in range(20)]))
    assert (found.thoughts, found.rows, found.prompt_rows) == (20, sum(lengths), 0)
    assert (found.lengths.minimum, found.lengths.maximum) == (1, 7)
    assert found.lengths.median == (lengths[9] + lengths[10]) / 2
    assert found.lengths.mean == pytest.approx(sum(lengths) / 20)
    assert lengths[18] <= found.lengths.p95 <= lengths[19]
    assert found.norm_mean == pytest.approx(float(norms.mean())) and found.norm_max == float(norms.max())
    assert list(found.splits.items()) == [("train", 13), ("test", 7)]
    assert found.task_types == {"clean": 7, "heat": 7, "cool": 6}
    assert found.finished_share == 16 / 20
    assert not found.unfinished and (found.failed, found.filtered) == (0, 0)


@pytest.mark.parametrize("encoding, ratio", [("plain", 2.0), ("int8", 32 / 12), ("float8", 32 / 12)])
def test_sizes_are_those_on_disk(make_store, manifest, encoding, ratio):
    store = make_store(20, manifest=dataclasses.replace(manifest, dtype="bfloat16", encoding=encoding))
    found = describe(store)
    files = [path for path in store.directory.rglob("*") if path.is_file()]
    assert found.store_bytes == sum(path.stat().st_size for path in files)
    assert found.shard_bytes == sum(path.stat().st_size for path in files if path.parent.name == SHARDS)
    assert found.float32_bytes == found.rows * 8 * 4
    assert found.float32_ratio == pytest.approx(ratio)
    assert (found.encoding_error_max > 0) == (encoding != "plain")
    assert found.encoding_error_mean <= found.encoding_error_max < 0.1


def test_what_is_not_in_the_store_is_counted_and_an_unfinished_store_described(tmp_path, manifest, rows_of, entry_of):
    several = dataclasses.replace(
        manifest, layers=(KeptLayer(-1, "post"), KeptLayer(-2, "pre")), prompt_states=True, settings={"seed": 3}
    )
    with StoreWriter(tmp_path, several) as writer:
        rows = torch.stack([rows_of(4)] * 2, dim=1)
        writer.append(entry_of(4), rows, rows[:2])
        writer.exclude("bad", "failed", "NaN")
        writer.exclude("wrong", "filtered", "too long")
        writer.exclude("worse", "filtered", "too long")
        found = describe(LatentStore.open(tmp_path))
    assert found.unfinished and (found.thoughts, found.failed, found.filtered) == (1, 1, 2)
    assert (found.rows, found.prompt_rows, found.float32_bytes) == (5, 2, 7 * 2 * 8 * 4)
    written = found.to_dict()
    assert [kept["layer"] for kept in written["layers"]] == [-1, -2]
    assert written["settings"] == {"seed": 3} and written["weights_fingerprint"] == "w" * 12


def test_an_empty_store_and_a_part_of_one(make_store, manifest):
    found = describe(make_store(0, "empty"))
    assert found.lengths is None and (found.thoughts, found.rows, found.norm_max, found.splits) == (0, 0, 0.0, {})
    part = describe(make_store(10).split("test"))
    assert (part.thoughts, part.splits, part.float32_ratio) == (4, {"test": 4}, 1.0)


def test_the_description_is_json(make_store):
    found = describe(make_store(3))
    read = json.loads(json.dumps(found.to_dict()))
    assert (
        read["thoughts"] == 3 and read["lengths"]["maximum"] == 3 and read["layers"] == [{"layer": -1, "norm": "post"}]
    )


def test_the_mean_norm_is_over_rows_and_not_over_thoughts(tmp_path, manifest, entry_of):
    with writing(tmp_path, manifest) as writer:
        writer.append(entry_of(0), torch.ones(1, 8))
        writer.append(entry_of(2), torch.zeros(3, 8))
    assert describe(LatentStore.open(tmp_path)).norm_mean == pytest.approx(8**0.5 / 4)
