"""Models of the real architectures, small, tied and untied, with and without room in the vocabulary."""

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from interlat.engine.checkpoint import load_tokenizer
from interlat.errors import CheckpointError
from interlat.training.message_tokens import add_message_tokens
from model_fixtures import tiny_tokenizer

CLASSES = {"qwen2": (Qwen2Config, Qwen2ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}
FOR_ALL = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
FOR_BOTH = pytest.mark.parametrize("architecture", list(CLASSES))


def make_tokenizer(specials=("<|im_end|>",)):
    return tiny_tokenizer(specials, 280, eos_token="<|im_end|>")


def make_model(architecture, tied, rows, dtype=torch.float32):
    config_class, model_class = CLASSES[architecture]
    torch.manual_seed(3)
    config = config_class(
        vocab_size=rows,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = model_class(config).to(dtype)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


def tables(model):
    return model.get_input_embeddings().weight.detach().clone(), model.get_output_embeddings().weight.detach().clone()


def slow_mean(table, count):
    total = torch.zeros(table.shape[1], dtype=torch.float64)
    for row in table[:count]:
        total += row.double()
    return total / count


def is_tied(model):
    return model.get_input_embeddings().weight is model.get_output_embeddings().weight


@FOR_ALL
@FOR_BOTH
@pytest.mark.parametrize("room", [0, 1, 40])
def test_new_rows_are_the_mean_and_all_others_stay(architecture, tied, room):
    tokenizer = make_tokenizer()
    count = len(tokenizer)
    model = make_model(architecture, tied, count + room)
    old = tables(model)
    begin, end = add_message_tokens(model, tokenizer)
    assert (begin, end) == (count, count + 1)
    rows = max(count + room, count + 2)
    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == rows
    assert model.get_output_embeddings().out_features == rows
    assert is_tied(model) == tied
    for before, after in zip(old, tables(model), strict=True):
        torch.testing.assert_close(after[begin].double(), slow_mean(before, count), rtol=1e-5, atol=1e-6)
        assert torch.equal(after[begin], after[end])
        assert torch.equal(after[:count], before[:count])
        # The padding of the vocabulary behind the new tokens.
        assert torch.equal(after[count + 2 :], before[count + 2 :])


@FOR_ALL
@FOR_BOTH
@pytest.mark.parametrize("room", [0, 40])
def test_saving_and_loading_gives_the_same_logits(architecture, tied, room, tmp_path):
    tokenizer = make_tokenizer()
    model = make_model(architecture, tied, len(tokenizer) + room)
    begin, end = add_message_tokens(model, tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, reread = AutoModelForCausalLM.from_pretrained(tmp_path), load_tokenizer(str(tmp_path))
    text = "the kettle<bop><eop> is<|im_end|>"
    ids = reread(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    assert ids.tolist() == tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"].tolist()
    assert ids[0].tolist().count(begin) == ids[0].tolist().count(end) == 1
    assert reread.decode(ids[0], skip_special_tokens=True) == "the kettle is"
    assert is_tied(loaded) == tied
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, model(ids).logits)


@FOR_ALL
def test_what_the_model_says_of_known_tokens_does_not_change(tied):
    tokenizer = make_tokenizer()
    count = len(tokenizer)
    model = make_model("qwen2", tied, count)
    ids = torch.arange(0, count, 7)[None]
    with torch.no_grad():
        before = model(ids).logits
        add_message_tokens(model, tokenizer)
        after = model(ids).logits
    torch.testing.assert_close(after[..., :count], before)
    assert after[..., count:].max() < before.max()


@FOR_ALL
def test_a_second_time_nothing_changes(tied):
    tokenizer = make_tokenizer()
    model = make_model("llama", tied, len(tokenizer))
    ids = add_message_tokens(model, tokenizer)
    with torch.no_grad():
        model.get_input_embeddings().weight[list(ids)] += 1.0
    old = tables(model)
    assert add_message_tokens(model, tokenizer) == ids
    assert all(torch.equal(*pair) for pair in zip(old, tables(model), strict=True))


def test_tokens_that_the_tokenizer_has_are_kept_and_the_other_one_is_added():
    tokenizer = make_tokenizer(("<|im_end|>", "<bop>"))
    model = make_model("qwen2", True, len(tokenizer))
    old = tables(model)[0]
    begin, end = add_message_tokens(model, tokenizer)
    assert begin == tokenizer.convert_tokens_to_ids("<bop>") == 1 and end == len(old)
    assert torch.equal(tables(model)[0][:-1], old)


def test_a_tokenizer_that_is_ahead_of_the_model_gets_all_its_rows():
    tokenizer = make_tokenizer()
    model = make_model("llama", False, len(tokenizer))
    tokenizer.add_tokens(["<pad>"], special_tokens=True)
    old = tables(model)
    ids = add_message_tokens(model, tokenizer)
    assert ids == (len(old[0]) + 1, len(old[0]) + 2)
    for before, after in zip(old, tables(model), strict=True):
        torch.testing.assert_close(after[-3:].double(), slow_mean(before, len(before)).expand(3, -1))


def test_the_mean_of_16_bit_rows_is_taken_in_32():
    tokenizer = make_tokenizer()
    model = make_model("qwen2", False, len(tokenizer), torch.bfloat16)
    old = tables(model)
    begin, _ = add_message_tokens(model, tokenizer)
    for before, after in zip(old, tables(model), strict=True):
        assert after.dtype == torch.bfloat16
        torch.testing.assert_close(after[begin].double(), slow_mean(before, len(before)), rtol=2**-8, atol=1e-6)


def test_a_head_with_a_bias_gives_the_new_tokens_the_mean_of_it():
    tokenizer = make_tokenizer()
    count = len(tokenizer)
    model = make_model("llama", False, count + 5)
    head = torch.nn.Linear(16, count + 5)
    model.set_output_embeddings(head)
    old = head.bias.detach().clone()
    begin, end = add_message_tokens(model, tokenizer)
    torch.testing.assert_close(head.bias[begin], old[:count].mean())
    assert head.bias[begin] == head.bias[end]
    assert torch.equal(head.bias[:count], old[:count]) and torch.equal(head.bias[end + 1 :], old[end + 1 :])


def test_growing_leaves_frozen_parameters_frozen():
    tokenizer = make_tokenizer()
    model = make_model("qwen2", False, len(tokenizer)).requires_grad_(False)
    add_message_tokens(model, tokenizer)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_the_tokenizer_of_another_model_is_an_error():
    core = Tokenizer(models.WordLevel({"kettle": 900}))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core)
    with pytest.raises(CheckpointError, match="no id among them"):
        add_message_tokens(make_model("qwen2", True, 300), tokenizer)
