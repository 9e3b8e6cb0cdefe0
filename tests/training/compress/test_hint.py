"""The hint against one row at a time in float64, and what it chooses."""

import math

import pytest
import torch
from interlat.training.compress.hint import hint, open_states

from interlat.training.compress import hint as module

SIZE, WORDS = 6, 11


def softmax(row, head):
    scores = [sum(float(a) * float(b) for a, b in zip(row, word, strict=True)) for word in head]
    total = sum(math.exp(score) for score in scores)
    return [math.exp(score) / total for score in scores]


def entropy(row, head):
    return -sum(p * math.log(p) for p in softmax(row, head))


def chosen(given, head, count):
    entropies = [entropy(row, head) for row in given]
    best = sorted(range(len(given)), key=lambda place: -entropies[place])[:count]
    return sorted(place for place in best if entropies[place] >= 0.1 * max(entropies))


@pytest.fixture
def head():
    return torch.randn(WORDS, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def states(count, seed):
    return torch.randn(count, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("count", [1, 3, 7, 20])
@pytest.mark.parametrize("chunk", [WORDS, 10**6])
def test_the_most_open_states_in_their_order(head, count, chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_LOGITS", chunk)
    given = states(7, 1)
    assert torch.equal(open_states(given, head, count), given[chosen(given, head, count)])


def test_sure_states_are_not_taken_to_fill_up(head):
    """Two states that leave something open between sure ones, one of which comes first."""
    sure = 40 * head[:3] / head[:3].norm(dim=-1, keepdim=True)
    given = torch.stack([sure[0], torch.zeros(SIZE, dtype=torch.float64), sure[1], 0.1 * head[5], sure[2]])
    assert entropy(given[0], head) < 0.01 < 2 < entropy(given[1], head)
    assert torch.equal(open_states(given, head, 4), given[[1, 3]])
    assert torch.equal(open_states(given, head, 1), given[[1]])


def test_a_long_word_list_is_read_in_chunks_of_one_row(head, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_LOGITS", 1)
    assert len(open_states(states(5, 2), head, 2)) == 2


def test_the_hint_is_the_divergence_from_the_open_states(head):
    messages = [states(7, 3), states(2, 4), states(5, 5)]
    rows = [states(3, 6), states(3, 7), states(1, 8)]
    found = hint(rows, messages, head)
    for loss, short, message in zip(found, rows, messages, strict=True):
        apart = []
        for row, place in zip(short, chosen(message, head, len(short)), strict=False):
            target, own = softmax(message[place], head), softmax(row, head)
            apart.append(sum(p * math.log(p / q) for p, q in zip(target, own, strict=True)))
        assert float(loss) == pytest.approx(sum(apart) / len(apart), abs=1e-10)


def test_nothing_is_left_to_say_where_the_rows_are_those_states(head):
    message = states(6, 9)
    assert float(hint([open_states(message, head, 4)], [message], head)) == pytest.approx(0, abs=1e-12)


def test_the_gradient_reaches_the_rows_alone(head):
    message, rows = states(4, 10).requires_grad_(True), states(2, 11).requires_grad_(True)
    head = head.requires_grad_(False)
    assert torch.autograd.gradcheck(lambda given: hint([given], [message.detach()], head), rows)
    hint([rows], [message], head).sum().backward()
    assert rows.grad is not None and rows.grad.abs().sum() > 0 and message.grad is None


def test_a_message_does_not_change_its_neighbours_hint(head):
    messages, rows = [states(5, 12), states(9, 13)], [states(2, 14), states(4, 15)]
    together = hint(rows, messages, head)
    alone = [hint([row], [message], head)[0] for row, message in zip(rows, messages, strict=True)]
    assert torch.equal(together, torch.stack(alone))
