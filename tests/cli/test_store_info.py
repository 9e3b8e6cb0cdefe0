import json

from interlat.cli.main import execute
from interlat.cli.store_info import StoreInfo
from interlat.store.manifest import Manifest
from interlat.store.reading import LatentStore
from interlat.store.statistics import describe
from interlat.store.writer import StoreWriter

MANIFEST = Manifest(
    hidden_size=8,
    model="some/model",
    weights_fingerprint="0123456789abcdef",
    settings={"prompt_template": "line\n" * 200, "sampling": {"temperature": 0.7}, "seed": 3, "empty": ""},
)


def test_info_fits_80_columns_and_says_the_first_things_first(make_store, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    execute(StoreInfo(make_store()))
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert output.err == "" and max(map(len, lines)) <= 80
    text = " ".join(output.out.split())
    for words in (
        "thoughts 12; 1 failed, 0 filtered out",
        "rows a thought 1 to 5, median",
        "splits test 8, train 4",
        "task types heat 8, clean 4",
        "hidden size 8, layer -1 (post-norm), before_token",
        "model some/model",
        "weights 0123456789ab",
        "1,000 characters; --json shows all",
        'sampling {"temperature": 0.7}',
    ):
        assert words in text
    names = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert names[:4] == ["store", "thoughts", "finished", "rows"]
    assert "unfinished" not in text and "empty" not in text and "tokenizer" not in text


def test_info_of_unfinished_and_empty_stores(tmp_path, capsys):
    with StoreWriter(tmp_path, MANIFEST):
        execute(StoreInfo(str(tmp_path)))
    text = " ".join(capsys.readouterr().out.split())
    assert "unfinished a process is still writing, or was killed" in text and "thoughts 0; 0 failed" in text
    assert "rows a thought" not in text and "splits" not in text


def test_info_as_json_is_one_object(make_store, capsys):
    store = make_store()
    execute(StoreInfo(store, json=True))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0]) == json.loads(json.dumps(describe(LatentStore.open(store)).to_dict()))
