import pytest
import torch
from interlat.training.forward import last_states
from transformers import Qwen2Config, Qwen2ForCausalLM

from interlat.engine.rotary import read_rows_apart
from interlat.training.examples import Example, collate
from model_fixtures import make_longrope


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=30, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


def batch_of(*lengths):
    ids = [tuple(range(1, length + 1)) for length in lengths]
    return collate([Example((7,), one, one, (1.0,) * len(one)) for one in ids], [None] * len(ids))


def test_padding_changes_no_state(model):
    embedding = model.get_input_embeddings()
    together = last_states(model.base_model, embedding, None, batch_of(3, 9), "float32")
    alone = last_states(model.base_model, embedding, None, batch_of(3), "float32")
    torch.testing.assert_close(together[0, :4], alone[0], atol=1e-6, rtol=1e-5)
    expected = model(input_ids=torch.tensor([[7, 1, 2, 3]]), output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(alone, expected, atol=1e-6, rtol=1e-5)


def test_bfloat16_is_the_arithmetic_and_not_the_result(model):
    embedding, batch = model.get_input_embeddings(), batch_of(6)
    exact, rough = (last_states(model.base_model, embedding, None, batch, p) for p in ("float32", "bfloat16"))
    assert rough.dtype == torch.float32 and not torch.equal(exact, rough)
    torch.testing.assert_close(rough, exact, atol=0.1, rtol=0.1)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_a_row_beside_one_that_is_longer_than_its_rotary_factors_last_is_read_as_if_alone():
    """The factors of LongRoPE change after 32 positions; the expected states are those of a model by itself."""
    model, untouched = make_longrope(), make_longrope()
    read_rows_apart(model)
    together = last_states(model.base_model, model.get_input_embeddings(), None, batch_of(11, 60), "float32")
    for row, length in enumerate((11, 60)):
        ids = torch.tensor([[7, *range(1, length + 1)]])
        expected = untouched(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
        torch.testing.assert_close(together[row, : length + 1], expected, atol=1e-4, rtol=1e-4)
