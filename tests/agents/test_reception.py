"""What a receiver makes of a message, against sums by hand."""

import math

import pytest
import torch

from interlat.agents.agent import Agent
from interlat.agents.loading import load
from interlat.agents.reception import attention_to_latents, nearest_embeddings, receive
from interlat.connectors.identity import NormMatchedIdentity
from interlat.connectors.reader import Reader, reader_of
from interlat.engine.prompt import Latents, embed_prompts, prompt_length, tokenize
from interlat.errors import CheckpointError, InputError, MessageError
from interlat.messages import TextMessage


@pytest.fixture(scope="module")
def agent(save_model):
    engine = load(save_model("receiver"), dtype=torch.float32).engine
    return Agent(engine, reader=reader_of("identity", engine, engine))


@pytest.fixture(scope="module")
def thought(agent):
    return agent.think("put the kettle on the stove", steps=5)


def test_rows_are_what_the_connector_makes_and_neighbours_have_the_largest_cosines(agent, thought):
    reception = receive(thought, agent, "A room.", top_k=3)
    table = agent.engine.input_embeddings.double()
    connector = NormMatchedIdentity.of_embeddings(agent.engine.input_embeddings)
    assert reception.embedding_norm == pytest.approx(float(table.norm(dim=-1).mean()), rel=1e-5)
    for row, state in zip(reception.rows, thought.hidden_states, strict=True):
        read = connector(state[None, None].float())[0, 0].double()
        cosines = [float(read @ one / read.norm() / one.norm()) for one in table]
        best = sorted(range(len(cosines)), key=lambda place: -cosines[place])[:3]
        assert [one.token_id for one in row.nearest] == best
        assert [one.similarity for one in row.nearest] == pytest.approx([cosines[place] for place in best], abs=1e-5)
        assert row.norm == pytest.approx(float(read.norm()), rel=1e-5)


def test_many_rows_are_compared_in_parts():
    generator = torch.Generator().manual_seed(0)
    rows, table = torch.randn(150, 6, generator=generator), torch.randn(9, 6, generator=generator)
    similar, places = nearest_embeddings(rows, table, 20)
    expected = torch.nn.functional.cosine_similarity(rows[:, None], table[None], dim=-1).sort(dim=-1, descending=True)
    assert similar.shape == (150, 9), "a table of nine has no more than nine neighbours"
    torch.testing.assert_close(similar, expected.values)
    assert torch.equal(places, expected.indices)


def test_attention_is_that_of_the_last_position_over_the_whole_prompt(agent, thought):
    """Against one forward pass over the prompt without a cache, whose weights are summed by hand."""
    engine = agent.engine
    found = attention_to_latents(agent, "A room.", thought)
    parts = tokenize(agent.prompt("A room.", thought), engine.tokenizer)
    embeddings, _ = embed_prompts([parts], engine.model.get_input_embeddings(), engine.hidden_size)
    engine.model.set_attn_implementation("eager")
    with torch.no_grad():
        weights = engine.model(inputs_embeds=embeddings, output_attentions=True).attentions
    engine.model.set_attn_implementation("sdpa")
    begin = 0
    for part in parts:
        if isinstance(part, Latents):
            break
        begin += prompt_length([part])
    for place in range(thought.latents):
        each = [float(layer[0, head, -1, begin + place]) for layer in weights for head in range(layer.shape[1])]
        assert float(found[place]) == pytest.approx(math.fsum(each) / len(each), rel=1e-4)
    shares = [row.attention for row in receive(thought, agent, "A room.").rows]
    assert shares == pytest.approx(found.tolist())
    assert 0 < sum(shares) < 1


def test_looking_leaves_the_model_as_it_was(agent, thought):
    before = agent.engine.model.config._attn_implementation
    reply = agent.reply("A room.", thought, max_new_tokens=6)
    receive(thought, agent, "A room.")
    assert agent.engine.model.config._attn_implementation == before
    assert agent.reply("A room.", thought, max_new_tokens=6) == reply


def test_what_has_no_rows_is_refused(agent, thought):
    with pytest.raises(MessageError, match="a text message has no rows"):
        receive(TextMessage("go left"), agent, "A room.")
    with pytest.raises(InputError, match="top_k is 0"):
        receive(thought, agent, "A room.", top_k=0)


def test_a_receiver_that_cannot_read_is_named(agent, thought):
    assert isinstance(agent.reader, Reader)
    with pytest.raises(CheckpointError, match="cannot read a hidden message"):
        receive(thought, Agent(agent.engine), "A room.")
