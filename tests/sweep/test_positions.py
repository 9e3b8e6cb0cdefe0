"""For every model type: a row beside longer ones, in parts and past every window and scaling length is the row alone.

What is expected comes from the model's own forward pass, on one row at a time, in a model that no engine has touched.
"""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from interlat.engine.cache_message import cache_of_message, message_of_cache
from interlat.engine.hf import Engine
from interlat.engine.prompt import Tokens
from interlat.engine.sampling import Sampling
from interlat.errors import CheckpointError, PromptError
from interlat.messages import from_bytes
from sweep.tiny_models import NOT_BUILT, ORIGINAL_POSITIONS, POSITIONS, WINDOW, model_types, tiny_config, tiny_model

pytestmark = pytest.mark.sweep
LENGTHS = (5, 60, 17, 33, 1)
assert min(LENGTHS) < WINDOW < ORIGINAL_POSITIONS < max(LENGTHS)
# Below the ids that tiny configurations give to images and sounds.
ROWS = [torch.randint(10, 100, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in LENGTHS]
CUTS = ((2, 3), (45, 50), (11, 12), (33, 33), (1, 1))
"""For each row where its second and its third part begin."""
SCALED = {
    "longrope": {"original_max_position_embeddings": ORIGINAL_POSITIONS, "factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"original_max_position_embeddings": ORIGINAL_POSITIONS, "factor": 4.0},
    "linear": {"factor": 4.0},
    "llama3": {
        "original_max_position_embeddings": ORIGINAL_POSITIONS,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    },
}


@pytest.fixture(scope="module")
def plain(engine):
    """The scores at every position of each row."""
    return scores_alone(tiny_model(engine.name))


def scores_alone(model):
    with torch.no_grad():
        return [model(input_ids=torch.tensor([ids]), use_cache=False).logits[0] for ids in ROWS]


def close(engine, states, expected):
    scale = float(expected.abs().max())
    torch.testing.assert_close(engine.logits(states), expected, rtol=0, atol=1e-4 * scale)


def parts(number):
    ends = [(0, *cut, len(ids)) for cut, ids in zip(CUTS, ROWS, strict=True)]
    return [[Tokens(tuple(ids[end[number] : end[number + 1]]))] for ids, end in zip(ROWS, ends, strict=True)]


def check_positions(engine, plain):
    """Together, and in parts of which a row may have none: such rows stay behind."""
    _, states = engine.prefill_hidden([[Tokens(tuple(ids))] for ids in ROWS])
    for found, expected in zip(states, plain, strict=True):
        close(engine, found, expected)
    rows, memory, found = list(range(len(ROWS))), None, [[] for _ in ROWS]
    for number in range(3):
        prompts = parts(number)
        going_on = [row for row in rows if prompts[row][0].ids]
        memory = None if memory is None else memory.select([rows.index(row) for row in going_on])
        rows = going_on
        memory, states = engine.prefill_hidden([prompts[row] for row in rows], memory)
        for row, new in zip(rows, states, strict=True):
            found[row].append(new)
    for new, expected in zip(found, plain, strict=True):
        close(engine, torch.cat(new), expected)


def test_rows_side_by_side_and_in_parts_are_plain_passes_of_each(engine, plain):
    check_positions(engine, plain)


def test_words_are_those_of_plain_passes_of_each_row(engine):
    model = tiny_model(engine.name)
    decoded = engine.decode(
        engine.prefill([[Tokens(tuple(ids))] for ids in ROWS]), Sampling(max_new_tokens=3), stop_ids=()
    )
    for ids, written in zip(ROWS, decoded.token_ids, strict=True):
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([ids + written]), use_cache=False).logits[0, len(ids) - 1 : -1]
        best = scores.max(dim=-1).values
        chosen = scores[torch.arange(3), written]
        torch.testing.assert_close(chosen, best, rtol=0, atol=1e-4 * float(scores.abs().max()))


def test_its_memory_travels_as_a_message(engine):
    memory = engine.prefill([[Tokens(tuple(ids))] for ids in ROWS])
    found = cache_of_message(engine, from_bytes(message_of_cache(engine, memory).to_bytes()))
    follow = [[Tokens((11, 12))]] * len(ROWS)
    assert torch.equal(engine.prefill(follow, found).hidden_states, engine.prefill(follow, memory).hidden_states)


def rotary_size(model):
    """Numbers in the table of frequencies; 0 where there is none, or one for each kind of layer."""
    sizes = {len(buffer) for name, buffer in model.named_buffers() if name.endswith("rotary_emb.inv_freq")}
    return sizes.pop() if len(sizes) == 1 else 0


def scaled_model(model_type, kind):
    """The tiny model with rotary factors of that kind, or a skip where its configuration has no place for them."""
    config = tiny_config(model_type)
    text = config.get_text_config(decoder=True)
    rope = getattr(text, "rope_parameters", None)
    size = rotary_size(tiny_model(model_type))
    if not isinstance(rope, dict) or "rope_theta" not in rope or not size:
        pytest.skip("no rotary positions of one kind")
    rope = {**rope, "rope_type": kind, **SCALED[kind]}
    if kind == "longrope":
        rope |= {"short_factor": [1.0] * size, "long_factor": [2.0 + n for n in range(size)]}
    if model_type == "phimoe":
        rope |= {"original_max_position_embeddings": ORIGINAL_POSITIONS, "short_mscale": 1.0, "long_mscale": 1.5}
    text.rope_parameters = rope
    text.max_position_embeddings = POSITIONS
    if hasattr(text, "original_max_position_embeddings"):
        text.original_max_position_embeddings = ORIGINAL_POSITIONS
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, mean=float(parameter.ndim < 2), std=0.2)
    return model.eval()


@pytest.mark.parametrize("kind", SCALED)
@pytest.mark.parametrize("model_type", [name for name in model_types() if name not in NOT_BUILT])
def test_scaled_rotary_factors_are_those_of_a_row_alone(model_type, kind):
    try:
        model = scaled_model(model_type, kind)
        expected = scores_alone(copy.deepcopy(model))
    except (TypeError, ValueError, ZeroDivisionError, KeyError) as error:
        pytest.skip(f"transformers itself cannot run that: {type(error).__name__} {error}")
    try:
        engine = Engine.wrap(model, None, model_type)
    except CheckpointError as error:
        assert "\n" not in str(error)
        pytest.skip(f"refused: {error}")
    check_positions(engine, expected)
    if engine.original_length is not None:
        memory = engine.prefill([[Tokens(tuple(ROWS[0]))], [Tokens(tuple(ROWS[1]))]])
        follow = [[Tokens(tuple(ROWS[3]))], [Tokens((11,))]]
        with pytest.raises(PromptError, match=f"ends after {ORIGINAL_POSITIONS} positions"):
            engine.prefill(follow, memory)
