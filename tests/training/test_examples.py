from collections import Counter
from itertools import chain

import pytest
import torch

from interlat.engine.chat import ChatFormat
from interlat.engine.prompt import Latents, Text, prompt_length, tokenize
from interlat.errors import InputError
from interlat.experiments.household.examples import actor_example
from interlat.experiments.household.prompts import BEGIN_MESSAGE, END_MESSAGE, actor_prompt
from interlat.experiments.tokenizer import train_tokenizer
from interlat.training.examples import IGNORED, Example, Order, collate, embed_batch, ids_of

OPENING = "-= Welcome =-\n\nYou see a drawer 1, and a shelf 2.\n\nYour task is to: put a mug in shelf."
TURNS = [("go to drawer 1", "You arrive at drawer 1. You see a mug 1.", True), ("take mug 1", "You won.", True)]
TEXTS = [OPENING, *[text for turn in TURNS for text in turn[:2]]]
CHAT = ChatFormat(train_tokenizer(TEXTS * 10, 400, ("<bop>", "<eop>")))
EXAMPLE = actor_example({"item": "a", "opening": OPENING}, {"draw": 0, "turns": TURNS}, CHAT)


def text_of(ids):
    return CHAT.tokenizer.decode(ids)


@pytest.mark.parametrize("message", [None, "find mug at drawer 1."])
def test_text_message_stands_between_its_marks(message):
    ids = None if message is None else ids_of(message, CHAT)
    batch = collate([EXAMPLE], [ids])
    row = text_of(batch.ids[0].tolist())
    assert f"{BEGIN_MESSAGE}{message or ''}{END_MESSAGE}" in row
    assert (batch.labels != IGNORED).sum() == sum(label != IGNORED for label in EXAMPLE.labels)


@pytest.mark.parametrize("message", [None, ids_of("find mug at drawer 1.", CHAT), torch.randn(3, 8)])
def test_all_that_is_read_is_learned_with_its_weight(message):
    """Every token has a label but latent rows and padding; the commands keep their own weights."""
    plain, reading = (collate([EXAMPLE, EXAMPLE], [message, range(3, 13)], weight) for weight in (0.0, 0.5))
    for row, length in enumerate((0 if message is None else len(message), 10)):
        end = len(EXAMPLE.before) + length + len(EXAMPLE.after)
        for t in range(reading.ids.shape[1]):
            if t >= end or plain.message_positions[row, t]:
                assert reading.labels[row, t] == IGNORED and reading.ids[row, t] == 0
            elif plain.labels[row, t] == IGNORED:
                assert reading.labels[row, t] == reading.ids[row, t] and reading.weights[row, t] == 0.5
            else:
                assert reading.labels[row, t] == plain.labels[row, t]
                assert reading.weights[row, t] == plain.weights[row, t] == 1.0


def test_latent_rows_stand_where_the_prompt_puts_them():
    rows = torch.randn(3, 8)
    embedding = torch.nn.Embedding(len(CHAT.tokenizer), 8)
    identity = lambda messages, mask, dtype: messages.to(dtype)  # noqa: E731
    batch = collate([EXAMPLE, EXAMPLE], [rows, None])
    embedded = embed_batch(batch, embedding, identity)
    parts = CHAT.opening([("user", [Text(actor_prompt(OPENING) + BEGIN_MESSAGE), Latents(rows), Text(END_MESSAGE)])])
    tokenized = tokenize(parts, CHAT.tokenizer)
    start = len(tokenized[0].ids)
    assert torch.equal(embedded[0, start : start + 3], rows)
    assert prompt_length(tokenized) - 3 == len(EXAMPLE.before) + EXAMPLE.labels.index(ids_of("go", CHAT)[0])
    assert (batch.labels[0] != IGNORED).sum() == (batch.labels[1] != IGNORED).sum()


def test_latents_without_an_adapter_are_an_error():
    with pytest.raises(InputError, match="adapter"):
        embed_batch(collate([EXAMPLE], [torch.randn(2, 4)]), torch.nn.Embedding(400, 4), None)


def test_one_message_an_example():
    with pytest.raises(InputError, match="one message an example"):
        collate([EXAMPLE], [])


def examples(count):
    return [Example((1,) * (number % 5 + 1), (2,) * 3, (2,) * 3, (1.0,) * 3, str(number)) for number in range(count)]


def test_every_step_is_full():
    """An epoch that does not divide by the batch size ends with a batch that is filled up."""
    order = Order(examples(23), 5, seed=0)
    steps = [order.of(step) for step in range(5)]
    assert all(len(batch) == 5 for batch in steps)
    seen = Counter(example.item for batch in steps for example in batch)
    assert len(seen) == 23 and sum(seen.values()) == 25


def test_an_epoch_is_new_and_the_same_again():
    def items(order, steps):
        return [[example.item for example in order.of(step)] for step in steps]

    given = examples(40)
    first, second = items(Order(given, 8, 0), range(5)), items(Order(given, 8, 0), range(5, 10))
    assert sorted(chain(*first)) == sorted(chain(*second)) and first != second
    # A continued training asks for late steps first.
    assert items(Order(given, 8, 0), [7, 2]) == [second[2], first[2]]
    assert items(Order(given, 8, 1), range(5)) != first
