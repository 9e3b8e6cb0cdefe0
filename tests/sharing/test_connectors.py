import pytest

from interlat.connectors.bridge import Bridge
from interlat.errors import CheckpointError
from interlat.sharing.connectors import check, describe, facts_of_modules, modules_in, use


def test_a_connector_is_described_by_its_header(make_connector):
    folder = make_connector()
    check(folder)
    found = describe(folder, "somebody/bridge")
    assert found.tags == ("connector", "bridge") and found.facts["bridge: hidden size"] == "128"
    assert found.facts["bridge: sender"] == "scout" and "bridge: sender fingerprint" in found.facts
    assert 'bridge = build_connector("bridge", agent.engine, folder="bridge")' in found.use
    assert use(folder) == f'build_connector("bridge", agent.engine, folder="{folder}")'
    assert [name for name, _ in modules_in(folder)] == ["bridge"]


def test_the_folders_of_the_owner_stay_private(make_connector, tmp_path):
    import dataclasses

    bridge = Bridge.load(make_connector())
    bridge.config = dataclasses.replace(bridge.config, sender="/home/somebody/runs/scout/model")
    assert facts_of_modules({"bridge": bridge})["bridge: sender"] == "scout"


def test_a_damaged_connector_is_refused(make_connector):
    folder = make_connector()
    path = folder / Bridge.FILE
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"bridge.safetensors is damaged"):
        check(folder)
    path.write_bytes(b"no header")
    with pytest.raises(CheckpointError, match=r"bridge.safetensors is damaged"):
        check(folder)
