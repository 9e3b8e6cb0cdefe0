import json
import stat

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer, models
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from interlat.agents.settings import AgentSettings
from interlat.engine.checkpoint import load_tokenizer
from interlat.engine.hf import Engine
from interlat.errors import CheckpointError, InputError
from interlat.experiments.tokenizer import train_tokenizer
from interlat.training.low_rank import merge_updates
from interlat.training.model import (
    add_message_tokens,
    build_model,
    choose_finetuned,
    compiled_backbone,
    export_model,
)
from interlat.training.options import Lora, SmallModel
from model_fixtures import tiny_tokenizer

TOKENIZER = train_tokenizer(["go to drawer 3."] * 5, 400, ("<bop>", "<eop>"))


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_a_seed_gives_one_model(family):
    shape = SmallModel(family, hidden_size=8, layers=1, heads=2, intermediate_size=8)
    assert build_model(shape, TOKENIZER, 0).config.model_type == family
    one, same, other = (build_model(shape, TOKENIZER, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_every_matrix_begins_at_the_scale_of_its_inputs():
    shape = SmallModel(hidden_size=64, layers=2, heads=2, intermediate_size=256)
    for name, parameter in build_model(shape, TOKENIZER, 0).named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            assert parameter.std().item() == pytest.approx((4 * parameter.shape[1]) ** -0.5, rel=0.05), name
        elif parameter.ndim == 2:
            assert parameter.std().item() == pytest.approx(64**-0.5, rel=0.05), name


def test_export_rounds_the_file_and_not_the_model(tmp_path):
    shape = SmallModel(hidden_size=8, layers=2, heads=2, intermediate_size=8)
    model = build_model(shape, TOKENIZER, 0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_model(model, TOKENIZER, tmp_path / "m", settings=AgentSettings(role="scout"))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    loaded = Engine.load(str(tmp_path / "m"), dtype="float32")
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, before[name].bfloat16().float()), name
    assert loaded.model.config.tie_word_embeddings
    assert (tmp_path / "m" / "agent.json").exists() and not (tmp_path / "m" / "README.md").exists()
    export_model(model, TOKENIZER, tmp_path / "m", card="# m\n")
    assert (tmp_path / "m" / "README.md").read_text() == "# m\n"
    export_model(model, TOKENIZER, tmp_path / "m")
    assert not list((tmp_path / "m").glob("*.md")), "an older export shows through"
    assert not (tmp_path / "m" / "agent.json").exists(), "an older export shows through"


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_are_written_once_and_the_configuration_names_the_format_of_the_file(tmp_path, tied, dtype):
    """The vocabulary of SmolLM2-135M as a head of its own made 326 MB of 269."""
    shape = SmallModel(hidden_size=8, layers=1, heads=2, intermediate_size=8, tied=tied)
    model = build_model(shape, TOKENIZER, 0)
    export_model(model, TOKENIZER, tmp_path / "m", dtype=dtype)
    path = tmp_path / "m" / "model.safetensors"
    with safe_open(path, "pt") as file:
        names = set(file.keys())
        assert {file.get_tensor(name).dtype for name in names} == {dtype}
    assert names == {name for name in model.state_dict() if not tied or name != "lm_head.weight"}
    assert json.loads((tmp_path / "m" / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "m" / "config.json").stat().st_mode)
    assert Engine.load(str(tmp_path / "m"), dtype="float32").model.config.tie_word_embeddings == tied


def test_compiling_changes_no_gradient_for_any_length():
    shape = SmallModel(hidden_size=8, layers=2, heads=2, intermediate_size=8)
    gradients = []
    for wanted in (False, True):
        model = build_model(shape, TOKENIZER, 0)
        backbone = compiled_backbone(model, wanted)
        assert (backbone is model.base_model) == (not wanted)
        for length in (7, 12):
            embeddings = torch.randn(2, length, 8, generator=torch.Generator().manual_seed(length))
            backbone(inputs_embeds=embeddings, use_cache=False).last_hidden_state.square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-4)


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
    merge_updates(network)
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
    merge_updates(network)
    assert torch.equal(logits(network), before)


def test_what_changes_nothing_is_refused(monkeypatch):
    with pytest.raises(InputError, match="changes nothing"):
        Lora(rank=0)
    with pytest.raises(InputError, match="no linear maps named nowhere"):
        choose_finetuned(model(), "lora", Lora(targets=("nowhere",)), 0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs peft"):
        choose_finetuned(model(), "lora", Lora(), 0)
