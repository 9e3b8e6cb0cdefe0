import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

import interlat
from interlat.errors import CheckpointError
from interlat.sharing.agents import check, describe, use

PEFT = "alfworld-smollm2/latent"


@pytest.fixture
def peft(tmp_path):
    return shutil.copytree(interlat.bundled(PEFT), tmp_path / "peft")


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_whole_agent_passes_and_is_described(make_agent):
    folder = make_agent()
    check(folder)
    found = describe(folder, "somebody/actor")
    assert found.tags == ("agent", "actor", "adapter") and found.base_model == ""
    assert found.facts["hidden size"] == "128" and found.facts["adapter: sender"] == "scout"
    assert 'interlat.load("somebody/actor")' in found.use and "hidden states of another model" in found.about
    assert str(folder) in use(folder)


@pytest.mark.parametrize("name", ["none", "text", "scout", "compressed"])
def test_every_bundled_agent_passes(make_agent, name):
    check(make_agent(name))


def test_an_adapter_names_its_base_model(peft):
    check(peft)
    assert describe(peft, "a/b").base_model == "" and "`smollm2-135m`" in describe(peft, "a/b").about
    change(peft / "adapter_config.json", base_model_name_or_path="somebody/base")
    check(peft)
    assert describe(peft, "a/b").base_model == "somebody/base"
    (peft / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"adapter_model.safetensors is missing"):
        check(peft)


@pytest.mark.parametrize("base", ["/home/me/model", "~/model", "./model", "{folder}"])
def test_a_base_model_of_this_machine_alone_is_refused(peft, base):
    change(peft / "adapter_config.json", base_model_name_or_path=base.format(folder=peft))
    with pytest.raises(CheckpointError, match=r"base_model_name_or_path in .* a place on this machine"):
        check(peft)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "adapter.safetensors"])
def test_a_missing_file_is_named(make_agent, name):
    folder = make_agent()
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer files" if "tokenizer" in name else f"{name} is missing"):
        check(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "agent.json", "adapter.safetensors"])
def test_a_damaged_file_is_named(make_agent, name):
    folder = make_agent()
    (folder / name).write_bytes((folder / name).read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=rf"{name} is (damaged|not usable)"):
        check(folder)


def test_all_parts_of_a_large_model_have_to_be_there(make_agent):
    folder = make_agent("none")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[:3], "model-00002-of-00002.safetensors": names[3:]}
    for part, of in parts.items():
        save_file({name: weights[name] for name in of}, folder / part)
    index = {"weight_map": {name: part for part, of in parts.items() for name in of}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    check(folder)
    save_file({name: weights[name] for name in names[:2]}, folder / "model-00001-of-00002.safetensors")
    with pytest.raises(CheckpointError, match=rf"lacks 1 tensors .* {names[2]}"):
        check(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    save_file({name: weights[name] for name in names[:3]}, folder / "model-00001-of-00002.safetensors")
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002.safetensors is missing"):
        check(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"has no weight_map"):
        check(folder)


def test_code_beside_a_model_is_refused(make_agent):
    folder = make_agent("none")
    change(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_own.Own"})
    with pytest.raises(CheckpointError, match=r"auto_map in .*modeling_own.Own.* code is not shared"):
        check(folder)


def test_a_connector_of_another_model_is_refused(make_agent):
    folder = make_agent("compressed")
    change(folder / "config.json", hidden_size=64)
    with pytest.raises(CheckpointError, match=r"bridge.safetensors is for a model of size 128, .* says 64"):
        check(folder)
