"""For every model type: latents are read like tokens and layers can be seen and hidden, or the type is refused."""

from dataclasses import replace

import pytest
import torch

from interlat.connectors.identity import NormMatchedIdentity
from interlat.engine.prompt import Latents, Tokens
from interlat.engine.recorder import LayerSelection
from interlat.errors import CheckpointError

pytestmark = pytest.mark.sweep
IDS = (15, 6, 27, 8, 39)
# Layers that cannot be told apart: stacks that are run several times, and two attentions in one layer.
WITHOUT_LAYERS = {"hrm_text", "longcat_flash"}


def test_a_latent_made_of_a_tokens_embedding_is_the_token(engine):
    with torch.no_grad():
        expected = engine.model(input_ids=torch.tensor([IDS])).logits[0, -1]
    tolerance = {"rtol": 0, "atol": 1e-4 * float(expected.abs().max())}
    table = engine.input_embeddings
    prompts = [[Tokens(IDS)], [Tokens(IDS[:-1]), Latents(table[[IDS[-1]]])], [Latents(table[list(IDS)])]]
    for prompt in prompts:
        found = engine.logits(engine.prefill([prompt]).hidden_states)[0]
        torch.testing.assert_close(found, expected, **tolerance)
    for found in engine.logits(engine.prefill(prompts).hidden_states):
        torch.testing.assert_close(found, expected, **tolerance)


def test_an_aligned_latent_is_as_long_as_a_token_and_any_row_can_be_read(engine):
    lengths = engine.embed(torch.arange(len(engine.input_embeddings))).norm(dim=-1)
    align = NormMatchedIdentity.of_embeddings(engine.input_embeddings)
    memory = engine.prefill([[Tokens(IDS)]])
    before = memory.hidden_states.clone()
    assert align(before).norm().item() == pytest.approx(lengths.mean().item(), rel=1e-4)
    thought, states = engine.think(memory, 2, align)
    assert thought.width == len(IDS) + 2 and states.isfinite().all()
    engine.think(memory, 1, lambda state: state)
    assert torch.equal(memory.hidden_states, before), "what was read stays as it is"


def test_layers_are_those_of_the_model(engine):
    count = engine.config.num_hidden_layers
    kept = LayerSelection(tuple(range(1, count + 1)))
    if engine.name in WITHOUT_LAYERS:
        with pytest.raises(CheckpointError, match="lists of"):
            engine.prefill_hidden([[Tokens(IDS)]], kept=kept)
        return
    states = engine.prefill_hidden([[Tokens(IDS)], [Tokens(IDS[:2])]], kept=kept)[1][0]
    with torch.no_grad():
        output = engine.model.get_decoder()(input_ids=torch.tensor([IDS]), output_hidden_states=True)
    assert states.shape == (len(IDS), count, engine.hidden_size)
    for layer in range(1, count):
        torch.testing.assert_close(states[:, layer - 1], output.hidden_states[layer][0], rtol=1e-3, atol=1e-3)


def test_a_column_hidden_from_every_layer_is_a_column_that_nobody_sees(engine):
    memory = engine.prefill([[Tokens(IDS)], [Tokens(IDS[1:])]])
    seen = memory.attention_mask.clone()
    seen[:, 2] = False
    count = engine.config.num_hidden_layers
    masked = replace(memory, layer_mask=seen[:, None].repeat(1, count, 1) | ~memory.attention_mask[:, None], spare=None)
    follow = [[Tokens((21, 22))], [Tokens((23,))]]
    if engine.name in WITHOUT_LAYERS:
        with pytest.raises(CheckpointError, match="lists of"):
            engine.prefill(follow, masked)
        return
    unseen = engine.prefill(follow, replace(memory, attention_mask=seen, spare=None)).hidden_states
    found = engine.prefill(follow, masked).hidden_states
    torch.testing.assert_close(found, unseen, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(found, engine.prefill(follow, memory).hidden_states, rtol=1e-3, atol=1e-3)
