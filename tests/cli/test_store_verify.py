import json

from interlat.cli.main import execute
from interlat.cli.store_forms import MergeStores
from interlat.cli.store_verify import VerifyStore
from interlat.store.index import SHARDS
from interlat.store.reading import LatentStore


def damage(store):
    path = LatentStore.open(store).directory / SHARDS / "00000-000000.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_verify_says_which_thought_is_bad(make_store, capsys):
    store = make_store()
    assert execute(VerifyStore(store)) == 0
    output = capsys.readouterr()
    assert output.out == "" and "12 of 12 thoughts are whole, 0 are bad" in output.err
    damage(store)
    assert execute(VerifyStore(store)) == 1
    output = capsys.readouterr()
    assert output.out.splitlines() == ["t11: its bytes are not those that were written (wrong checksum)"]
    assert "11 of 12 thoughts are whole, 1 are bad" in output.err and "verify: 12 of 12" in output.err


def test_verify_as_json_ends_with_a_summary(make_store, capsys):
    store = make_store()
    damage(store)
    assert execute(VerifyStore(store, json=True)) == 1
    bad, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert bad["id"] == "t11" and "checksum" in bad["problem"]
    assert summary == {"thoughts": 12, "bad": 1, "unclaimed_rows": {}, "lost_shards": []}


def test_rows_of_nobody_are_mentioned(make_store, tmp_path, capsys):
    execute(MergeStores((make_store("a"), make_store("b", 6)), str(tmp_path / "c")))
    assert "18 thoughts of 2 stores in" in capsys.readouterr().err
    assert execute(VerifyStore(str(tmp_path / "c"), json=True)) == 0
    output = capsys.readouterr()
    twice = sum(1 + number % 5 for number in range(6, 12))
    assert f"shard 00001-000000 has {twice} rows that belong to no thought" in output.err
    unclaimed = {"00001-000000": twice}
    assert json.loads(output.out) == {"thoughts": 18, "bad": 0, "unclaimed_rows": unclaimed, "lost_shards": []}
