import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM

from interlat.engine.checkpoint import load_tokenizer
from interlat.engine.fingerprint import tokenizer_fingerprint, weights_fingerprint


def test_the_same_weights_saved_and_loaded(build_model, tmp_path):
    for tied in (True, False):
        model = build_model("qwen2", tied=tied).to(torch.bfloat16)
        model.save_pretrained(tmp_path / str(tied))
        for dtype in (torch.float32, torch.bfloat16):
            again = AutoModelForCausalLM.from_pretrained(tmp_path / str(tied), dtype=dtype)
            assert weights_fingerprint(again) == weights_fingerprint(model)


def test_a_changed_bit_and_another_shape_count_and_the_dtype_does_not(build_model):
    model = build_model("qwen2")
    before = weights_fingerprint(model)
    assert weights_fingerprint(build_model("qwen2")) == before
    assert weights_fingerprint(build_model("qwen2", tied=False)) != before
    # One checkpoint is one sender, on machines that load it as bfloat16 and on those that do not.
    assert weights_fingerprint(build_model("qwen2").to(torch.bfloat16)) == before
    model.model.norm.weight.data.view(torch.int32)[3] ^= 1 << 16  # the last bit that bfloat16 keeps
    assert weights_fingerprint(model) != before


def test_tokenizer_saved_and_loaded(make_tokenizer, tmp_path):
    tokenizer = make_tokenizer("chatml")
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(str(tmp_path))
    assert tokenizer_fingerprint(again) == tokenizer_fingerprint(tokenizer)


def test_tokenizer_differences_count(make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    before = tokenizer_fingerprint(tokenizer)
    assert tokenizer_fingerprint(make_tokenizer("llama3")) != before
    other = make_tokenizer("chatml")
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert tokenizer_fingerprint(other) != before
    tokenizer.add_tokens(["new"])
    assert tokenizer_fingerprint(tokenizer) != before
