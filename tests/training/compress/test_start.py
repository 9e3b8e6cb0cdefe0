import math

import pytest
import torch

from interlat.training.compress import start
from interlat.training.compress.start import FEWEST, uncertain_token
from interlat.training.divergences import entropy
from sweep.tiny_models import tiny_model


@pytest.fixture
def model(build_model):
    return build_model("qwen2")


def plans(model, count, state_at):
    """Plans of tokens 5, 6, 7, 8 by turns; behind 6 the head sees a state that leaves much open."""
    head = model.get_output_embeddings().weight
    sure = 50 * head[9] / head[9].norm() ** 2
    tokens = (5, 6, 7, 8) * 2
    rows = torch.stack([sure * 10] * len(tokens))
    for place, token in enumerate(tokens):
        if token == 6:
            place += state_at == "before_token"
            rows[place] = 0.0
    return [(rows, tokens)] * count


@pytest.mark.parametrize("state_at", ["before_token", "after_token"])
def test_it_is_the_token_after_which_most_is_open(model, state_at):
    assert uncertain_token(model, plans(model, FEWEST, state_at), state_at) == 6


def test_the_mean_is_that_of_the_definition(model):
    torch.manual_seed(0)
    head = model.get_output_embeddings().weight
    found = [(torch.randn(6, head.shape[1]), tuple(torch.randint(5, 8, (6,)).tolist())) for _ in range(40)]
    entropies = {}
    for states, tokens in found:
        for place in range(1, 6):
            scores = [float(row @ states[place]) for row in head.detach()]
            total = sum(math.exp(score) for score in scores)
            shares = [math.exp(score) / total for score in scores]
            entropy = -sum(share * math.log(share) for share in shares if share)
            entropies.setdefault(tokens[place - 1], []).append(entropy)
    means = {token: sum(values) / len(values) for token, values in entropies.items()}
    assert uncertain_token(model, found, "before_token") == max(means, key=means.__getitem__)


def test_rare_tokens_do_not_count(model):
    assert uncertain_token(model, plans(model, 1, "before_token"), "before_token") is None
    assert uncertain_token(model, [], "before_token") is None


@pytest.mark.parametrize("name", ["granite", "cohere", "gemma2"])
def test_certainty_is_that_of_the_models_own_scores(name, monkeypatch):
    """These scale or cap what the head gives, so the head alone would find other entropies."""
    model, ids = tiny_model(name), (5, 6, 7, 8, 9)
    with torch.no_grad():
        states = model.get_decoder()(input_ids=torch.tensor([ids])).last_hidden_state[0]
        log_p = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
    monkeypatch.setattr(start, "entropy", lambda found: seen.append(found) or entropy(found))
    seen = []
    uncertain_token(model, [(states, ids)], "after_token")
    torch.testing.assert_close(seen[0], log_p, rtol=1e-4, atol=1e-5)
