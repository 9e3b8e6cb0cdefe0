"""Conversations opened once and read under several messages, against one whole pass of each."""

import pytest
import torch
from interlat.training.compress.receiver import FrozenReceiver
from torch import nn

from interlat.connectors.adapter import AdapterConfig, CommunicationAdapter
from interlat.training.examples import Example, Mixed

SIZE, SENDER_SIZE, VOCABULARY = 32, 12, 40


def conversation(before, after, seed):
    """The first token behind the message is to be learned too: the last one before it may predict that."""
    ids = torch.randint(1, VOCABULARY, (before + after,), generator=torch.Generator().manual_seed(seed)).tolist()
    labels = [token if index % 3 != 1 else -100 for index, token in enumerate(ids[before:])]
    return Example(tuple(ids[:before]), tuple(ids[before:]), tuple(labels), (1.0,) * after)


def new_receiver(model, dropout=0.0):
    torch.manual_seed(3)
    adapter = CommunicationAdapter(AdapterConfig(SENDER_SIZE, SIZE, heads=2, output_scale=2.0, dropout=dropout)).eval()
    for parameter in adapter.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
    return FrozenReceiver(model.requires_grad_(False), adapter.requires_grad_(False))


def slow_states(model, receiver, example, rows):
    """One whole conversation in one pass without a cache; the states before each label."""
    table = receiver.embedding.weight
    message = [] if rows is None else [receiver.adapter(rows[None])[0]]
    inputs = torch.cat([table[list(example.before)], *message, table[list(example.after)]])
    states = model.get_decoder()(inputs_embeds=inputs[None], use_cache=False).last_hidden_state[0]
    start = len(inputs) - len(example.after)
    return torch.stack([states[start + i - 1] for i, label in enumerate(example.labels) if label != -100])


@pytest.mark.parametrize("lengths", [((5, 7), (1, 4), (9, 3)), ((1, 4), (1, 6))])
@pytest.mark.parametrize("architecture", ["qwen2", "llama", "mistral"])
def test_every_message_is_read_as_in_one_pass(build_model, architecture, lengths):
    model = build_model(architecture)
    receiver = new_receiver(model)
    examples = [conversation(before, after, seed) for seed, (before, after) in enumerate(lengths)]
    generator = torch.Generator().manual_seed(1)
    opened = receiver.open(examples)
    for counts in ([2, 5, 1], [4, 1, 3], None):
        rows = [torch.randn(k, SENDER_SIZE, generator=generator).requires_grad_() for k in counts or [1, 1, 1]]
        rows = rows[: len(examples)]
        messages = [Mixed(row, len(row)) if counts else None for row in rows]
        batch, states = receiver.read(opened, messages)
        given = rows if counts else [None] * len(examples)
        expected = torch.cat([slow_states(model, receiver, e, row) for e, row in zip(examples, given, strict=True)])
        torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)
        assert batch.labels[:, 1:][batch.labels[:, 1:] != -100].tolist() == [
            label for example in examples for label in example.labels if label != -100
        ]
        if counts:
            ours, theirs = (torch.autograd.grad(found.square().sum(), rows) for found in (states, expected))
            for one, other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


def test_what_stands_before_the_messages_is_kept_without_a_gradient(build_model):
    model = build_model("qwen2")
    receiver = new_receiver(model)
    model.requires_grad_(True)
    opened = receiver.open([conversation(5, 3, 0)])
    assert opened.mask.shape == (1, 4)
    assert not any(tensor.requires_grad for columns in opened.columns for pair in columns for tensor in pair)
