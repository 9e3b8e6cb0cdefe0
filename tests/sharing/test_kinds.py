import pytest

from interlat.connectors.registry import CONNECTORS
from interlat.engine.checkpoint import VOCABULARY_FILES
from interlat.engine.peft_adapter import ADDED_TOKENS, WEIGHTS
from interlat.errors import InputError
from interlat.sharing.connectors import CONNECTOR_MODULES
from interlat.sharing.kinds import (
    AGENT,
    CONNECTOR,
    CONNECTOR_FILES,
    KINDS,
    STORE,
    kind_among,
    kind_named,
    kind_of_folder,
    paths_in,
)
from interlat.store.index import EXCLUDED_FILE, INDEX_FILE, SEAL_FILE, SHARDS
from interlat.store.shard import ENDING


@pytest.mark.parametrize("name", ["agent", "connector", "store"])
def test_a_folder_is_recognised_by_its_files(make, name):
    assert kind_of_folder(make[name]()) is kind_named(name)


def test_names_are_those_that_the_parts_write():
    assert {name: module.FILE for name, module in CONNECTOR_MODULES.items()} == CONNECTOR_FILES
    assert CONNECTOR_FILES.keys() <= set(CONNECTORS.names())
    stored = [INDEX_FILE, EXCLUDED_FILE, SEAL_FILE, f"{SHARDS}/00000-000000{ENDING}"]
    assert STORE.shared(stored) == sorted(stored)
    beside = [*VOCABULARY_FILES, ADDED_TOKENS, WEIGHTS, *CONNECTOR_FILES.values()]
    assert AGENT.shared(beside) == sorted(beside)


@pytest.mark.parametrize(
    "name",
    [
        *("pytorch_model.bin", "optimizer.pt", "training_state.safetensors", "checkpoint.tmp", ".lock", ".env"),
        *("credentials.json", "token", "id_rsa", "secrets.yaml", "config.json.bak", "notes.md", "modeling_x.py"),
        *("checkpoint/model.safetensors", "../config.json", "/config.json", "shards/../x.safetensors", "config.json\n"),
        *(".model.safetensors.12-abcdef01.tmp", "journals/0.jsonl", "shards/0.partial", "metrics.jsonl"),
    ],
)
def test_nothing_else_is_shared(name):
    assert not any(kind.shared([name]) for kind in KINDS)


def test_a_card_and_a_licence_go_with_every_kind():
    for kind in KINDS:
        assert kind.shared(["x", "README.md", "LICENSE", "LICENSE.txt"]) == ["LICENSE", "LICENSE.txt", "README.md"]


def test_a_model_with_a_connector_is_an_agent():
    assert kind_among(["config.json", "adapter.safetensors"], "x") is AGENT
    assert kind_among(["small.gguf"], "x") is AGENT and kind_among(["adapter_config.json"], "x") is AGENT
    assert kind_among(["adapter.safetensors"], "x") is CONNECTOR and kind_among(["x.csv"], "x") is None


def test_a_store_in_the_folder_of_a_model_is_refused():
    with pytest.raises(InputError, match=r"^x holds a latent store and config.json"):
        kind_among(["config.json", "manifest.json"], "x")


def test_what_cannot_be_shared_says_what_it_looks_like(tmp_path, make_agent):
    with pytest.raises(InputError, match=r"there is no folder"):
        kind_of_folder(tmp_path / "none")
    with pytest.raises(InputError, match=r"is a file"):
        kind_of_folder(make_agent() / "config.json")
    training, run, empty = tmp_path / "training", tmp_path / "run", tmp_path / "empty"
    (training / "model").mkdir(parents=True)
    run.mkdir()
    empty.mkdir()
    (run / "results-0.jsonl").touch()
    with pytest.raises(InputError, match=rf"a training: give the folder {training}/model"):
        kind_of_folder(training)
    with pytest.raises(InputError, match=r"output of an evaluation: give it as --results"):
        kind_of_folder(run)
    with pytest.raises(InputError, match=r"nothing that can be shared; expected store .*agent .*connector"):
        kind_of_folder(empty)


def test_hidden_files_are_not_looked_at(tmp_path):
    for name in (".git/config.json", "a/b.json", ".env", "c.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert paths_in(tmp_path) == ["a/b.json", "c.json"]


def test_recognising_needs_no_torch():
    import subprocess
    import sys

    code = "import sys, interlat.sharing.kinds; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
