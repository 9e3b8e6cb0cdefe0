from importlib.metadata import EntryPoint

import pytest
import torch

from interlat import registry
from interlat.connectors.base import (
    CONNECTORS,
    Connector,
    build_connector,
    connector_options,
    latent_connector,
    padded_rows,
)
from interlat.connectors.bridge import Bridge, BridgeConfig
from interlat.connectors.identity import NormMatchedIdentity
from interlat.connectors.resampler import Resampler, ResamplerConfig
from interlat.errors import CheckpointError, InputError


def test_rows_stand_on_the_left_and_the_mask_tells_them_from_padding():
    messages = [torch.randn(2, 3), torch.randn(4, 3, dtype=torch.bfloat16), torch.randn(0, 3)]
    rows, mask = padded_rows(messages)
    assert rows.shape == (3, 4, 3) and rows.dtype == torch.float32 and mask.sum(dim=1).tolist() == [2, 4, 0]
    for row, real, message in zip(rows, mask, messages, strict=True):
        assert torch.equal(row[real], message.float()) and not row[~real].any()
        assert torch.equal(row[: len(message)], message.float())


@pytest.mark.parametrize(("device", "expected"), [(None, "cpu"), ("meta", "meta")])
def test_they_go_where_they_are_asked(device, expected):
    rows, mask = padded_rows([torch.randn(2, 3)], device)
    assert rows.device.type == mask.device.type == expected


class Halved:
    """A connector of another package: half of the state."""

    def __init__(self, engine, factor=0.5):
        self.source_size = self.target_size = engine.hidden_size
        self.factor = factor

    def __call__(self, hidden_states, mask=None):
        return self.factor * hidden_states


@pytest.mark.parametrize("name", ["identity", "random", "ridge", "vocabulary", "topk"])
def test_any_connector_is_built_by_name_and_takes_latent_steps(qwen, name):
    connector = build_connector(name, qwen)
    assert isinstance(connector, Connector)
    assert connector.source_size == connector.target_size == qwen.hidden_size
    _, states = qwen.think(qwen.prefill(["Hello there"]), 2, connector)
    assert states.shape == (1, 2, qwen.hidden_size) and states.isfinite().all()


def test_options_go_to_the_builder_and_what_is_trained_comes_from_a_folder(qwen, tmp_path):
    states = torch.randn(3, qwen.hidden_size)
    one, other, same = (build_connector("random", qwen, seed=seed)(states) for seed in (1, 2, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    bridge = Bridge(BridgeConfig(qwen.hidden_size, qwen.hidden_size))
    bridge.save(tmp_path)
    built = build_connector("bridge", qwen, folder=tmp_path)
    assert isinstance(built, Bridge) and not any(p.requires_grad for p in built.parameters())
    with pytest.raises(CheckpointError, match=r"bridge\.safetensors"):
        build_connector("bridge", qwen, folder=tmp_path / "elsewhere")
    with pytest.raises(InputError, match="'telepathy' among the connectors"):
        build_connector("telepathy", qwen)


def test_another_package_adds_a_connector_by_an_entry_point(qwen, monkeypatch):
    point = EntryPoint("halved", "halved_package:Halved", "interlat.connectors")
    monkeypatch.setattr(EntryPoint, "load", lambda self: Halved)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "interlat.connectors" else [])
    monkeypatch.setattr(CONNECTORS, "_places", dict(CONNECTORS._places))
    monkeypatch.setattr(CONNECTORS, "_found", False)
    connector = build_connector("halved", qwen, factor=0.25)
    assert "halved" in CONNECTORS.names() and isinstance(connector, Connector)
    _, states = qwen.think(qwen.prefill(["Hello"]), 3, connector)
    memory = qwen.prefill(["Hello"])
    for step in range(3):
        memory, state = qwen.think(memory, 1, lambda h: 0.25 * h)
        assert torch.allclose(state[:, 0], states[:, step], atol=1e-5)


def test_the_identity_of_an_engine_is_that_of_its_input_embeddings(qwen):
    expected = NormMatchedIdentity.of_embeddings(qwen.input_embeddings)
    assert build_connector("identity", qwen).target_norm == expected.target_norm


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("identity", {}),
        ("vocabulary:temperature=0.7", {"temperature": 0.7}),
        ("topk:k=10,temperature=2", {"k": 10, "temperature": 2.0}),
        ("random:seed=3", {"seed": 3}),
        ("ridge:ridge=1e-3", {"ridge": 1e-3}),
    ],
)
def test_options_on_one_line_are_values_of_the_builder(qwen, text, expected, monkeypatch, tmp_path):
    monkeypatch.setenv("INTERLAT_CACHE", str(tmp_path))
    found = connector_options(text)
    assert found == expected and [type(one) for one in found.values()] == [type(one) for one in expected.values()]
    states = torch.randn(2, 1, qwen.hidden_size)
    mine = latent_connector(text, qwen)(states)
    assert torch.equal(mine, build_connector(text.partition(":")[0], qwen, **expected)(states))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("vocabulary:heat=1", "'vocabulary:heat=1', but vocabulary has the options temperature, not 'heat'"),
        ("identity:k=1", "identity has the options none, not 'k'"),
        ("topk:k=few", "expected a whole number as k"),
        ("topk:k=0", "k is 0"),
        ("telepathy", "connector is 'telepathy', expected one of identity"),
    ],
)
def test_options_without_sense_are_refused(qwen, text, reason):
    with pytest.raises(InputError, match=reason):
        latent_connector(text, qwen)


def test_what_maps_a_whole_message_takes_no_latent_step(qwen, tmp_path):
    Bridge(BridgeConfig(qwen.hidden_size, qwen.hidden_size)).save(tmp_path / "bridge")
    assert isinstance(latent_connector(f"bridge:folder={tmp_path / 'bridge'}", qwen), Bridge)
    resampler = Resampler(ResamplerConfig(qwen.hidden_size, 3))
    resampler.save(tmp_path / "resampler")
    with pytest.raises(InputError, match="does not map one state of size"):
        latent_connector(f"resampler:folder={tmp_path / 'resampler'}", qwen)
