import json
import struct

import pytest
import torch

from interlat.connectors.bridge import Bridge, BridgeConfig, think_over
from interlat.errors import CheckpointError, InputError

SIZE = 32


def bridge_of(seed=0, **changes):
    bridge = Bridge(BridgeConfig(SIZE, **{"message_size": SIZE, **changes}))
    torch.manual_seed(seed)
    for parameter in bridge.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return bridge.eval()


def test_the_next_input_is_the_formula():
    bridge, latents = bridge_of(), torch.randn(2, 3, SIZE)
    wide = latents.double()
    normed = (wide - wide.mean(-1, keepdim=True)) / (wide.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    normed = normed * bridge.norm.weight.double() + bridge.norm.bias.double()
    torch.testing.assert_close(bridge(latents).double(), normed @ bridge.linear.weight.double().T, atol=1e-5, rtol=1e-5)
    mask = torch.tensor([[True, False, True], [True, True, True]])
    assert not bridge(latents, mask)[0, 1].any() and torch.equal(bridge(latents, mask)[1], bridge(latents)[1])
    assert bridge(latents.bfloat16()).dtype == torch.bfloat16


def test_an_untrained_bridge_gives_inputs_as_long_as_embeddings():
    table = torch.randn(50, SIZE) * 0.3
    bridge = Bridge(BridgeConfig(SIZE, SIZE))
    bridge.begin(table, seed=4)
    norm = table.norm(dim=-1).mean()
    latents = torch.randn(7, SIZE) * 11
    out = bridge(latents)
    torch.testing.assert_close(out.norm(dim=-1), norm.expand(7), rtol=1e-3, atol=0)
    centred = latents - latents.mean(-1, keepdim=True)
    assert torch.cosine_similarity(out, centred, dim=-1).min() > 0.9999
    torch.testing.assert_close(bridge.start.norm(), norm)
    again = Bridge(BridgeConfig(SIZE, SIZE))
    again.begin(table, seed=4)
    assert torch.equal(again.start, bridge.start)


def test_message_rows_are_the_latents_or_their_projection():
    latents = torch.randn(2, 3, SIZE)
    assert torch.equal(bridge_of().message(latents), latents)
    bridge = bridge_of(message_size=20, project=True)
    expected = latents @ bridge.projector.weight.T + bridge.projector.bias
    torch.testing.assert_close(bridge.message(latents), expected)


def test_saved_and_loaded_it_is_the_same(tmp_path):
    bridge = bridge_of(message_size=20, project=True, latent_steps=(2, 8), sender="scout", sender_fingerprint="abc")
    bridge.save(tmp_path)
    loaded = Bridge.load(tmp_path)
    assert loaded.config == bridge.config and not loaded.training
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), bridge.state_dict().values(), strict=True)
    )
    # It stays float32 where the model is not.
    assert loaded.to(torch.bfloat16).linear.weight.dtype == torch.float32


def test_damaged_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no compressed sender"):
        Bridge.load(tmp_path)
    path = bridge_of().save(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(CheckpointError, match="damaged"):
        Bridge.load(tmp_path)
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + length])
    for change, reason in (
        ({"format": "interlat-adapter"}, "format interlat-adapter"),
        ({"config": {"hidden_size": SIZE}}, "unusable"),
        ({"config": {"hidden_size": 16, "message_size": 16, "latent_steps": [8]}}, "does not fit"),
    ):
        described = {**json.loads(header["__metadata__"]["interlat"]), **change}
        altered = json.dumps({**header, "__metadata__": {"interlat": json.dumps(described)}}).encode()
        path.write_bytes(struct.pack("<Q", len(altered)) + altered + whole[8 + length :])
        with pytest.raises(CheckpointError, match=reason):
            Bridge.load(tmp_path)


@pytest.mark.parametrize(
    "fields",
    [(0, 4), (4, 8), (4, 4, False, ()), (4, 4, False, (0,))],
)
def test_configurations_without_meaning_are_refused(fields):
    with pytest.raises(InputError):
        BridgeConfig(*fields)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_thinking_is_prefill_and_plain_steps(engine, slow_states, steps):
    """Against reading everything again in every step, without a cache; ragged rows, and each alone."""
    bridge = bridge_of()
    texts = ["put the kettle on the stove", "the", "the kettle is in the drawer and not on the stove"]
    memory, rows = think_over(engine, bridge, texts, steps)
    assert rows.shape == (3, steps, SIZE) and memory.width == int(memory.lengths.max())
    for number, text in enumerate(texts):
        ids = engine.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
        inputs = torch.cat([engine.embed(ids), bridge.start.detach()[None]])
        for step in range(steps):
            state = slow_states(engine.model, inputs)[-1]
            torch.testing.assert_close(rows[number, step], state, atol=3e-5, rtol=1e-4)
            inputs = torch.cat([inputs, bridge(state[None]).detach()])
        _, alone = think_over(engine, bridge, [text], steps)
        torch.testing.assert_close(rows[number], alone[0], atol=3e-5, rtol=1e-4)


def test_no_steps_and_another_model_are_refused(qwen):
    with pytest.raises(InputError, match="at least 1 row"):
        think_over(qwen, bridge_of(), ["the"], 0)
    with pytest.raises(InputError, match="of size 16"):
        think_over(qwen, Bridge(BridgeConfig(16, 16)), ["the"], 2)
