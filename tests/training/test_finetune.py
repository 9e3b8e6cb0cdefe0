import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from interlat.errors import InputError
from interlat.training.finetune import choose_finetuned, merge_lora
from interlat.training.options import Lora


def model():
    config = Qwen2Config(
        vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    return Qwen2ForCausalLM(config)


def moved(network):
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def logits(network):
    return network(torch.arange(6)[None]).logits


def test_everything_or_nothing_of_the_backbone_is_trained():
    network = model()
    choose_finetuned(network, "adapter", Lora(), 0)
    assert moved(network) == set()
    choose_finetuned(network, "full", Lora(), 0)
    assert moved(network) == {name for name, _ in network.named_parameters()}


def test_low_rank_updates_begin_silent_and_are_merged_exactly():
    network, plain = model(), model()
    names = set(plain.state_dict())
    choose_finetuned(network, "lora", Lora(rank=3, targets=("q_proj", "down_proj")), 0)
    assert moved(network) and all("lora_" in name for name in moved(network))
    assert torch.equal(logits(network), logits(plain))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    trained = logits(network)
    assert not torch.allclose(trained, logits(plain), atol=1e-3)
    merge_lora(network)
    assert set(network.state_dict()) == names
    assert torch.allclose(logits(network), trained, atol=1e-5)
    assert network.lm_head.weight is network.get_input_embeddings().weight, "tied stays tied"
    unchanged = [n for n in names if torch.equal(network.state_dict()[n], plain.state_dict()[n])]
    assert len(names) - len(unchanged) == 4


def test_first_values_follow_the_seed():
    def first(seed):
        network = model()
        choose_finetuned(network, "lora", Lora(), seed)
        return next(p for n, p in network.named_parameters() if "lora_A" in n)

    assert torch.equal(first(1), first(1)) and not torch.equal(first(1), first(2))


def test_merging_a_plain_model_changes_nothing():
    network = model()
    before = logits(network)
    merge_lora(network)
    assert torch.equal(logits(network), before)


def test_what_changes_nothing_is_refused(monkeypatch):
    with pytest.raises(InputError, match="changes nothing"):
        Lora(rank=0)
    with pytest.raises(InputError, match="no linear maps named nowhere"):
        choose_finetuned(model(), "lora", Lora(targets=("nowhere",)), 0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs peft"):
        choose_finetuned(model(), "lora", Lora(), 0)
