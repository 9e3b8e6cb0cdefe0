"""The law of batching on a real model: exact in float32, measured in bfloat16."""

import pytest
import torch

from interlat.engine.prompt import Tokens
from interlat.engine.sampling import Sampling
from real.prompts import CONVERSATIONS

NAMES = ("letter", "table", "fact", "two turns", "json", "emoji", "persona", "yes or no")
"""One batch: prompts of 31 to about 300 tokens."""
LIMIT = 16


@pytest.fixture(scope="module")
def rows(ids_of):
    return [[Tokens(tuple(ids_of(CONVERSATIONS[name])))] for name in NAMES]


def measured(engine, rows):
    """Of each row, alone and in the batch: logits at every position of the prompt, and the tokens that it writes."""
    short = Sampling(max_new_tokens=LIMIT)
    memory, states = engine.prefill_hidden(rows)
    together = [engine.logits(one).float() for one in states], engine.decode(memory, short).token_ids
    alone = [], []
    for row in rows:
        memory, states = engine.prefill_hidden([row])
        alone[0].append(engine.logits(states[0]).float())
        alone[1].append(engine.decode(memory, short).token_ids[0])
    return alone, together


def test_in_float32_a_row_is_the_row_alone(scout, rows):
    (logits, tokens), (beside, written) = measured(scout.engine, rows)
    assert written == tokens
    differences = [float((one - other).abs().max()) for one, other in zip(logits, beside, strict=True)]
    print(f"float32: logits off by {max(differences):.2g} at most, where the largest is {logits[0].abs().max():.0f}")
    # Measured with AVX-512 and one thread: 6.9e-5.
    assert max(differences) < 2e-4


def test_in_bfloat16_a_row_is_near_the_row_alone(half, rows):
    (logits, tokens), (beside, written) = measured(half, rows)
    shares = torch.cat([(a - b).norm(dim=-1) / a.norm(dim=-1) for a, b in zip(logits, beside, strict=True)])
    agreement = torch.cat([a.argmax(-1) == b.argmax(-1) for a, b in zip(logits, beside, strict=True)]).float().mean()
    same = sum(a == b for a, b in zip(tokens, written, strict=True))
    print(
        f"bfloat16: logits off by {shares.mean():.4f} (mean), {shares.quantile(0.9):.4f} (90 %), {shares.max():.4f} "
        f"(most), relative, {(shares > 0).float().mean():.2f} of positions off; the same likeliest token at "
        f"{agreement:.4f} of {len(shares)} positions; {same} of {len(rows)} replies equal"
    )
    assert shares.mean() < 0.02 and agreement > 0.95
