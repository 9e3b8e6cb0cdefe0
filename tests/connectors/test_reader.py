import dataclasses

import pytest
import torch

from interlat.connectors.reader import reader_of
from interlat.errors import CheckpointError, InputError, MessageError
from interlat.messages import HiddenMessage

OPTIONS = {"max_new_tokens": 6}


@pytest.fixture
def message(agents):
    return agents["sender"].write("put the kettle on the stove", **OPTIONS)


def with_reader(agent, sender, connector="vocabulary"):
    return dataclasses.replace(agent, adapter=None, reader=reader_of(connector, sender.engine, agent.engine))


def test_between_two_models_a_row_is_the_mean_embedding_of_what_the_sender_expected(agents, message):
    sender, receiver = agents["sender"], with_reader(agents["reader"], agents["sender"])
    (rows,) = receiver.read_many([message])
    table, vocabulary = receiver.engine.input_embeddings, receiver.engine.tokenizer.get_vocab()
    words = sender.engine.tokenizer.convert_ids_to_tokens(list(range(len(sender.engine.tokenizer))))
    for row, state in zip(rows, message.hidden_states, strict=True):
        expected = torch.zeros(receiver.engine.hidden_size)
        for token, share in enumerate(sender.engine.logits(state).softmax(-1)):
            expected += share * table[vocabulary[words[token]]]
        torch.testing.assert_close(row, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("connector", ["vocabulary:temperature=0.5", "identity", "topk:k=3", "random"])
def test_a_message_is_read_the_same_beside_others(agents, message, connector):
    agent = with_reader(agents["sender"], agents["sender"], connector)
    other = agents["sender"].write("find a mug", max_new_tokens=3)
    alone, together = agent.read_many([message])[0], agent.read_many([other, None, message])[2]
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)
    assert alone.shape == (len(message.hidden_states), agent.engine.hidden_size)
    texts = ["Where is it?"] * 2
    replies = agent.reply_many(texts, [message, other], **OPTIONS)
    assert replies == [agent.reply(text, one, **OPTIONS) for text, one in zip(texts, (message, other), strict=True)]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"layer": 1}, "its layer is 1"),
        ({"norm": "pre"}, "its norm is pre"),
        ({"state_at": "after_token"}, "its state_at is after_token"),
        ({"weights_fingerprint": "another"}, "it was made by"),
    ],
)
def test_states_that_the_map_is_not_for_are_refused(agents, message, changes, named):
    receiver = with_reader(agents["reader"], agents["sender"])
    other = HiddenMessage(message.hidden_states, header=dataclasses.replace(message.header, **changes))
    with pytest.raises(MessageError, match=named):
        receiver.reply("Where is it?", other, **OPTIONS)


def test_maps_within_one_model_are_refused_between_two(agents):
    sender, reader = agents["sender"].engine, agents["reader"].engine
    with pytest.raises(InputError, match=r"identity.*stays within one model.*vocabulary"):
        reader_of("identity", sender, reader)
    with pytest.raises(InputError, match="temperature is 0"):
        reader_of("vocabulary:temperature=0", sender, reader)
    with pytest.raises(InputError, match="vocabulari"):
        reader_of("vocabulari", sender, reader)


def test_without_adapter_and_reader_nothing_hidden_is_read(agents, message):
    with pytest.raises(CheckpointError, match="name a connector that needs no training"):
        agents["sender"].reply("Where is it?", message, **OPTIONS)


@pytest.mark.parametrize("connector", ["vocabulary", "topk:k=3", "identity"])
def test_models_in_bfloat16_are_read_in_their_own_format(pair, connector):
    from interlat.agents.loading import load

    half, whole = (load(pair["sender"], dtype=dtype) for dtype in (torch.bfloat16, torch.float32))
    message = half.write("put the kettle on the stove", **OPTIONS)
    rows, exact = (with_reader(agent, agent, connector).read_many([message])[0] for agent in (half, whole))
    assert rows.dtype == torch.bfloat16
    torch.testing.assert_close(rows.float(), exact, atol=0.1, rtol=0.1)


def test_many_states_are_mapped_as_few(agents):
    """More than are mapped at once."""
    sender, reader = agents["sender"].engine, reader_of("vocabulary", agents["sender"].engine, agents["reader"].engine)
    states = torch.randn(3, 200, sender.hidden_size)
    together = reader.connector(states)
    assert together.shape == (3, 200, reader.connector.target_size)
    torch.testing.assert_close(together[1, 150], reader.connector(states[1, 150]), atol=1e-5, rtol=1e-5)
    assert reader.connector(states[:0]).shape == (0, 200, reader.connector.target_size)
