import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

import interlat
from interlat.connectors.adapter import CommunicationAdapter
from interlat.engine.checkpoint import load_tokenizer
from interlat.engine.prompt import join_text
from interlat.errors import CheckpointError, InputError, MessageError
from interlat.experiments.tokenizer import train_tokenizer
from interlat.messages import Header, HiddenMessage
from interlat.training import published
from interlat.training.published import import_checkpoint

SIZE = 32
FIELDS = ("text", "ids", "rows", "ids", "text")
TEXT = "<|im_start|>user\nfind the mug.<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["find the mug in the drawer."] * 5, 400, ("<FIRST_HUMAN_END>", "<bop>", "<eop>"))


class AdaptiveProjection(nn.Module):
    """The names of the published state, the arithmetic of the reference written out."""

    def __init__(self, size):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.2))
        self.output_scale = nn.Parameter(torch.tensor(0.1))
        self.proj = nn.Sequential(nn.Linear(size, size), nn.GELU(), nn.LayerNorm(size), nn.Linear(size, size))


class PublishedAdapter(nn.Module):
    def __init__(self, size=SIZE, heads=4):
        super().__init__()
        self.pre_ln = nn.LayerNorm(size, eps=1e-6)
        self.hidden_mha = nn.MultiheadAttention(size, heads, dropout=0.1, batch_first=True)
        self.post_ln = nn.LayerNorm(size, eps=1e-6)
        self.adaptive_proj = AdaptiveProjection(size)

    def forward(self, rows):
        normed = self.pre_ln(rows)
        read = self.post_ln(normed + self.hidden_mha(normed, normed, normed, need_weights=False)[0])
        scaled = self.adaptive_proj.scale * read
        return self.adaptive_proj.output_scale * (scaled + self.adaptive_proj.proj(scaled))

    def state(self):
        parts = {name: getattr(self, name).state_dict() for name in ("hidden_mha", "pre_ln", "post_ln")}
        projection = self.adaptive_proj
        scales = {name: getattr(projection, name).item() for name in ("scale", "output_scale")}
        return {**parts, "adaptive_proj": projection.state_dict(), **scales}


def make_adapter(heads=4, seed=0):
    """Every parameter at random, so that none can be forgotten or mistaken for another."""
    torch.manual_seed(seed)
    adapter = PublishedAdapter(heads=heads).eval()
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
        adapter.adaptive_proj.scale.fill_(0.31 + 0.1 * seed)
        adapter.adaptive_proj.output_scale.fill_(0.17)
    return adapter


def make_backbone(tokenizer, tied, rows=None):
    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=rows or len(tokenizer),
        hidden_size=SIZE,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = Qwen2ForCausalLM(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    return model


def change_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def write(tmp_path, tokenizer):
    def write(adapter=None, model=None, *, heads=4, state=None, name="checkpoint-7", **saving):
        folder = tmp_path / name
        (model or make_backbone(tokenizer, tied=False)).save_pretrained(folder, **saving)
        tokenizer.save_pretrained(folder)
        torch.save(state or (adapter or make_adapter(heads)).state(), folder / "hidden_mha_state.pt")
        settings = {
            "prepended_length": 40,
            "prepended_learnable": False,
            "hidden_size": SIZE,
            "mha_num_heads": heads,
            "plan_similarity_weight": 0.031,
            "random_contrast_weight": 0.5,
        }
        (folder / "prepended_config.json").write_text(json.dumps(settings))
        # The wrapper's second copy, which nobody may open.
        (folder / "pytorch_model.bin").write_bytes(b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00exittR.")
        return folder

    return write


def message(rows, state_at="before_token"):
    return HiddenMessage(rows, header=Header(layer=-1, norm="post", state_at=state_at))


def logits_of(model, tokenizer):
    ids = torch.tensor([tokenizer(TEXT, add_special_tokens=False).input_ids])
    with torch.no_grad():
        return model(ids).logits


@pytest.mark.parametrize("heads", [1, 4, 8])
def test_messages_are_read_as_the_published_adapter_reads_them(tmp_path, write, heads):
    theirs = make_adapter(heads, seed=heads)
    import_checkpoint(write(theirs, heads=heads), tmp_path / "actor", "before_token")
    agent = interlat.load(tmp_path / "actor", dtype="float32", device="cpu")
    for count in (1, 5, 40):
        rows = torch.randn(count, SIZE, generator=torch.Generator().manual_seed(count)) * 3
        with torch.no_grad():
            expected = theirs(rows[None])[0]
        torch.testing.assert_close(agent.read_many([message(rows)])[0], expected, atol=1e-6, rtol=1e-6)
        assert expected.abs().mean() > 0.05, "too small for the tolerance to say anything"


@pytest.mark.parametrize("kind", ["tied", "untied", "apart"])
def test_the_language_model_gives_identical_logits(tmp_path, write, tokenizer, kind):
    """Apart: tied by the configuration, but trained and saved as two tensors, as the published training does."""
    model = make_backbone(tokenizer, kind == "tied")
    folder = write(model=model)
    change_json(folder / "config.json", tie_word_embeddings=kind != "untied")
    assert ("lm_head.weight" in load_file(folder / "model.safetensors")) == (kind != "tied")
    unreliable = import_checkpoint(folder, tmp_path / "actor", "before_token")
    agent = interlat.load(tmp_path / "actor", dtype="float32", device="cpu")
    assert torch.equal(logits_of(agent.engine.model, tokenizer), logits_of(model, tokenizer))
    assert agent.engine.model.config.tie_word_embeddings == (kind == "tied")
    assert any("the head differs" in sentence for sentence in unreliable) == (kind == "apart")


def test_an_imported_actor_is_prompted_as_it_was_trained(tmp_path, write, tokenizer):
    import_checkpoint(write(), tmp_path / "actor", "after_token")
    agent = interlat.load(tmp_path / "actor", dtype="float32", device="cpu")
    assert agent.settings.message_kind == "hidden" and agent.settings.role == "actor"
    parts = join_text(agent.prompt("find the mug.", message(torch.randn(3, SIZE), "after_token")))
    system, bop, rows, eop, end = (getattr(part, name) for part, name in zip(parts, FIELDS, strict=True))
    connector = "Now, you are given a step-by-step plan to complete this task as follow: "
    assert system == (
        f"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nfind the mug.\n{connector}"
    )
    assert [*bop, *eop] == tokenizer.convert_tokens_to_ids(["<bop>", "<eop>"])
    assert rows.shape == (3, SIZE) and end == "<|im_end|>\n<|im_start|>assistant\n"
    assert agent.engine.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert agent.engine.tokenizer(TEXT).input_ids == tokenizer(TEXT).input_ids
    assert isinstance(agent.reply("find the mug.", message(torch.randn(3, SIZE), "after_token")), str)


def test_what_the_actor_can_read_is_recorded(tmp_path, write):
    import_checkpoint(write(heads=8), tmp_path / "actor", "after_token")
    config = CommunicationAdapter.load(tmp_path / "actor").config
    assert (config.source_size, config.target_size, config.heads, config.max_rows) == (SIZE, SIZE, 8, 40)
    assert (config.layer, config.norm, config.state_at, config.dropout) == (-1, "post", "after_token", 0.1)
    assert (config.bop_token, config.eop_token, config.sender, config.sender_fingerprints) == ("<bop>", "<eop>", "", ())
    agent = interlat.load(tmp_path / "actor", dtype="float32", device="cpu")
    with pytest.raises(MessageError, match="state_at is before_token"):
        agent.read_many([message(torch.randn(3, SIZE), "before_token")])
    with pytest.raises(MessageError, match="41 latents"):
        agent.read_many([message(torch.randn(41, SIZE), "after_token")])


@pytest.mark.parametrize("length", [0, None, True, "40"])
def test_without_a_number_of_rows_any_number_is_read(tmp_path, write, length):
    folder = write()
    change_json(folder / "prepended_config.json", prepended_length=length)
    assert not said(import_checkpoint(folder, tmp_path / "actor", "before_token"), "prepended_length")
    assert CommunicationAdapter.load(tmp_path / "actor").config.max_rows is None


def said(unreliable, *words):
    return [sentence for sentence in unreliable if all(word in sentence for word in words)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_keep_their_values_and_their_dtype(tmp_path, write, tokenizer, dtype):
    theirs = make_adapter().to(dtype)
    model = make_backbone(tokenizer, tied=True).to(dtype)
    folder = write(theirs, model)
    unreliable = import_checkpoint(folder, tmp_path / "actor", "before_token")
    before, after = (load_file(place / "model.safetensors") for place in (folder, tmp_path / "actor"))
    assert before.keys() == after.keys()
    assert all(tensor.dtype == dtype and torch.equal(tensor, before[name]) for name, tensor in after.items())
    adapter = CommunicationAdapter.load(tmp_path / "actor")
    assert all(parameter.dtype == torch.float32 for parameter in adapter.parameters())
    weight, bias = adapter.attention.queries_keys_values.weight, adapter.attention_norm.bias
    assert torch.equal(weight, theirs.hidden_mha.in_proj_weight.float())
    assert torch.equal(bias, theirs.post_ln.bias.float())
    name = str(dtype).removeprefix("torch.")
    assert bool(said(unreliable, f"the adapter was saved as {name}")) == (dtype != torch.float32)
    assert bool(said(unreliable, f"the language model was saved as {name}")) == (dtype != torch.float32)


def test_weights_of_several_dtypes_are_held_exactly(tmp_path, write):
    folder = write()
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].half()
    tensors["lm_head.weight"] = tensors["lm_head.weight"].bfloat16()
    save_file({name: tensors[name] for name in sorted(tensors)}, folder / "model.safetensors", {"format": "pt"})
    change_json(folder / "config.json", dtype="bfloat16")
    import_checkpoint(folder, tmp_path / "actor", "before_token")
    after = load_file(tmp_path / "actor" / "model.safetensors")
    assert all(torch.equal(after[name], tensor.float()) for name, tensor in tensors.items())


def test_sharded_weights_are_read(tmp_path, write, tokenizer):
    model = make_backbone(tokenizer, tied=False)
    folder = write(model=model, max_shard_size="60KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    import_checkpoint(folder, tmp_path / "actor", "before_token")
    agent = interlat.load(tmp_path / "actor", dtype="float32", device="cpu")
    assert torch.equal(logits_of(agent.engine.model, tokenizer), logits_of(model, tokenizer))


def test_what_no_checkpoint_of_this_format_says(tmp_path, write, tokenizer):
    unreliable = import_checkpoint(write(), tmp_path / "actor", "after_token")
    assert all("\n" not in sentence for sentence in unreliable)
    assert len(unreliable) == 9, unreliable
    first, second, third = (tokenizer.convert_tokens_to_ids(t) for t in ("<bop>", "<eop>", "<FIRST_HUMAN_END>"))
    for words in (
        ("state_at is not recorded", "'after_token'", "ALFWorld data are after_token", "MATH before_token"),
        ("sender is not recorded", f"{SIZE} numbers"),
        ("input projection is not saved",),
        ("prepended_length 40",),
        ("10 to 90 %",),
        ("prompt is not recorded", "chat template"),
        ("plan_similarity_weight 0.031 and random_contrast_weight 0.5", "last step"),
        ("dropout",),
        (f"rows {first} (<bop>), {second} (<eop>), {third} (<FIRST_HUMAN_END>)",),
    ):
        assert len(said(unreliable, *words)) == 1, words


def test_parameters_that_training_did_not_move_are_named(tmp_path, write):
    theirs = make_adapter()
    with torch.no_grad():
        theirs.adaptive_proj.scale.fill_(0.2)
        theirs.pre_ln.weight.fill_(1.0)
        theirs.post_ln.weight.fill_(1.0)[0] = 1.01
        theirs.hidden_mha.in_proj_bias.zero_()
    for name, adapter in (("float32", theirs), ("bfloat16", theirs.to(torch.bfloat16))):
        unreliable = import_checkpoint(write(adapter, name=f"from {name}"), tmp_path / name, "before_token")
        [sentence] = said(unreliable, "did not move")
        assert sentence.startswith("pre_ln.weight, hidden_mha.in_proj_bias, adaptive_proj.scale of the adapter")


def test_the_trained_scales_are_imported_and_stale_copies_reported(tmp_path, write):
    theirs = make_adapter()
    with torch.no_grad():
        theirs.adaptive_proj.scale.fill_(0.37)
    state = theirs.state() | {"scale": 0.2001953125}
    unreliable = import_checkpoint(write(state=state), tmp_path / "actor", "before_token")
    assert said(unreliable, "scale is 0.37 among", "0.200195 beside") and not said(unreliable, "output_scale is")
    adapter = CommunicationAdapter.load(tmp_path / "actor")
    assert adapter.projection.input_scale.item() == pytest.approx(0.37)
    assert adapter.projection.output_scale.item() == theirs.adaptive_proj.output_scale.item()
    del state["scale"], state["output_scale"]
    unreliable = import_checkpoint(write(state=state), tmp_path / "without", "before_token")
    assert not said(unreliable, "beside them")
    assert CommunicationAdapter.load(tmp_path / "without").projection.input_scale.item() == pytest.approx(0.37)


@pytest.mark.parametrize("how", ["file", "setting"])
def test_a_default_state_is_left_out(tmp_path, write, how):
    folder = write()
    if how == "file":
        torch.save(nn.Parameter(torch.zeros(40, SIZE)), folder / "default_prepended_hidden_state.pt")
    else:
        change_json(folder / "prepended_config.json", prepended_learnable=True)
    assert said(import_checkpoint(folder, tmp_path / "actor", "before_token"), "default state")


def test_settings_without_loss_weights_say_nothing_of_them(tmp_path, write):
    folder = write()
    (folder / "prepended_config.json").write_text(json.dumps({"hidden_size": SIZE, "mha_num_heads": 4}))
    assert not said(import_checkpoint(folder, tmp_path / "actor", "before_token"), "last step")


def without_weights(folder):
    (folder / "model.safetensors").unlink()
    return folder


def test_the_language_model_can_come_from_elsewhere(tmp_path, write, tokenizer):
    base = tmp_path / "base"
    make_backbone(tokenizer, tied=True).bfloat16().save_pretrained(base)
    train_tokenizer(["other words"] * 5, 300, ()).save_pretrained(base)
    folder = without_weights(write())
    unreliable = import_checkpoint(folder, tmp_path / "actor", "before_token", base=str(base))
    assert said(unreliable, f"language model is {base} itself") and said(unreliable, "was saved as bfloat16")
    agent = interlat.load(tmp_path / "actor", dtype="float32", device="cpu")
    whole = Qwen2ForCausalLM.from_pretrained(base, dtype=torch.float32)
    assert torch.equal(logits_of(agent.engine.model, tokenizer), logits_of(whole, tokenizer))
    assert agent.engine.tokenizer.get_vocab() == tokenizer.get_vocab(), "the tokenizer of the checkpoint has the tokens"

    tokenizer.save_pretrained(base)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    import_checkpoint(folder, tmp_path / "second", "before_token", base=str(base))
    assert load_tokenizer(str(tmp_path / "second")).get_vocab() == tokenizer.get_vocab()


def test_the_language_model_can_come_from_the_hub(tmp_path, write, tokenizer, monkeypatch):
    base, asked = tmp_path / "base", []
    make_backbone(tokenizer, tied=True).save_pretrained(base)
    tokenizer.save_pretrained(base)

    def snapshot_download(name, *, allow_patterns):
        asked.append((name, allow_patterns))
        return str(base)

    monkeypatch.setattr(published, "snapshot_download", snapshot_download)
    import_checkpoint(without_weights(write()), tmp_path / "actor", "before_token", base="some/model")
    [(name, patterns)] = asked
    assert name == "some/model" and not any("bin" in pattern or pattern == "*" for pattern in patterns)
    monkeypatch.setattr(published, "snapshot_download", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(InputError, match="some/model on the hub is out of reach: no network"):
        import_checkpoint(tmp_path / "checkpoint-7", tmp_path / "second", "before_token", base="some/model")


@pytest.mark.parametrize("change", [{"vocab_size": 999}, {"hidden_size": 48}, {"vocab_size": None}])
def test_a_base_of_another_size_is_refused(tmp_path, write, tokenizer, change):
    base = tmp_path / "base"
    make_backbone(tokenizer, tied=True).save_pretrained(base)
    tokenizer.save_pretrained(base)
    folder = without_weights(write())
    change_json(folder / "config.json", **change)
    [(name, value)] = change.items()
    fails(tmp_path, folder, name, f"trained with {value}", base=str(base))


def fails(tmp_path, folder, *words, error=CheckpointError, **options):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error) as caught:
        import_checkpoint(folder, tmp_path / "failed", "before_token", **options)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text
    assert sorted(tmp_path.rglob("*")) == before, "something was left behind"


def test_a_base_that_is_not_needed_is_refused(tmp_path, write):
    fails(tmp_path, write(), "has its own weights", "leave base out", error=InputError, base="some/model")


def test_pickled_weights_are_no_weights(tmp_path, write):
    folder = without_weights(write())
    fails(tmp_path, folder, "model*.safetensors", "pytorch_model.bin is a pickle", "base")
    (folder / "pytorch_model.bin").unlink()
    fails(tmp_path, folder, "model*.safetensors; expected")


@pytest.mark.parametrize("name", ["config.json", "prepended_config.json", "hidden_mha_state.pt", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path, write, name):
    folder = write()
    (folder / name).unlink()
    fails(tmp_path, folder, "tokenizer" if name == "tokenizer.json" else name)


def test_a_folder_that_does_not_exist(tmp_path):
    fails(tmp_path, tmp_path / "nowhere", "config.json")
    fails(tmp_path, "some/hub-id", "downloaded if it is on the hub")


@pytest.mark.parametrize("content", ["", "{", "7", "[" * 100_000, "\udcff", "null"])
def test_settings_that_are_no_json_object_are_refused(tmp_path, write, content):
    folder = write()
    (folder / "prepended_config.json").write_text(content, errors="surrogateescape")
    fails(tmp_path, folder, "prepended_config.json holds no JSON object")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mha_num_heads": 5}, "mha_num_heads 5"),
        ({"mha_num_heads": 0}, "mha_num_heads 0"),
        ({"mha_num_heads": None}, "mha_num_heads None"),
        ({"hidden_size": "32"}, "hidden_size '32'"),
        ({"hidden_size": -32}, "hidden_size -32"),
        ({"hidden_size": 64}, "size [32], but prepended_config.json says hidden_size 64"),
        ({"hidden_size": 4 * 10**12}, "says hidden_size 4000000000000"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, write, changes, words):
    folder = write()
    change_json(folder / "prepended_config.json", **changes)
    fails(tmp_path, folder, words)


def changed(part, name, value):
    state = make_adapter().state()
    state[part] = {**state[part], name: value} if name else value
    return {key: content for key, content in state.items() if content is not None}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (changed("post_ln", "", None), "'post_ln.bias', 'post_ln.weight'"),
        (changed("pre_ln", "", 1.0), "'pre_ln'"),
        (changed("output_projection", "", {"0.weight": torch.zeros(2)}), "'output_projection.0.weight'"),
        (changed("input_projector", "", {"weight": torch.zeros(32, 16)}), "'input_projector.weight'"),
        (changed("hidden_mha", "bias_k", torch.zeros(1, 1, 32)), "'hidden_mha.bias_k'"),
        (changed("hidden_mha", "in_proj_weight", torch.zeros(64, 32)), "in_proj_weight"),
        (changed("hidden_mha", "out_proj.bias", torch.full((32,), torch.nan)), "out_proj.bias"),
        (changed("pre_ln", "bias", torch.full((32,), 1e300, dtype=torch.float64)), "pre_ln.bias"),
        (changed("pre_ln", "weight", torch.zeros(32, dtype=torch.int64)), "'pre_ln.weight'"),
        (changed("pre_ln", "weight", {"deeper": torch.zeros(32)}), "'pre_ln.weight'"),
        (changed("pre_ln", "weight", torch.ones(16)), "size [16]"),
        (changed("adaptive_proj", "scale", torch.zeros(32)), "adaptive_proj.scale"),
        (changed("scale", "", torch.tensor(0.2)), "'scale'"),
    ],
)
def test_a_state_that_is_not_that_of_the_adapter_is_refused(tmp_path, write, state, words):
    fails(tmp_path, write(state=state), "hidden_mha_state.pt", words)


def test_a_state_that_runs_something_does_not_run(tmp_path, write):
    class Runs:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'proof'}",)

    fails(tmp_path, write(state=make_adapter().state() | {"scale": Runs()}), "plain weights")


def test_a_model_of_another_size_is_refused(tmp_path, write, tokenizer):
    folder = write()
    wide = Qwen2Config.from_pretrained(folder, hidden_size=48, num_attention_heads=4)
    Qwen2ForCausalLM(wide).save_pretrained(folder)
    fails(tmp_path, folder, "rows of size 32", "reads 48")


def test_a_tokenizer_without_the_tokens_around_a_message_is_refused(tmp_path, write):
    folder = write()
    train_tokenizer(["find"] * 5, 300, ("<bop>",)).save_pretrained(folder)
    fails(tmp_path, folder, "the tokenizer lacks <eop>", "the training run saved")


def test_tokens_without_an_embedding_are_refused(tmp_path, write, tokenizer):
    last = max(tokenizer.convert_tokens_to_ids(["<bop>", "<eop>"]))
    folder = write(model=make_backbone(tokenizer, tied=True, rows=last))
    fails(tmp_path, folder, f"is token {last}, but the language model has {last} embeddings")
    import_checkpoint(
        write(model=make_backbone(tokenizer, tied=True, rows=last + 1)), tmp_path / "enough", "after_token"
    )


def test_damaged_weights_and_tokenizers_are_refused(tmp_path, write, tokenizer):
    folder = write()
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    fails(tmp_path, folder, "model.safetensors is damaged")
    (folder / "model.safetensors").unlink()
    base = tmp_path / "base"
    make_backbone(tokenizer, tied=True).save_pretrained(base)
    tokenizer.save_pretrained(base)
    (folder / "tokenizer.json").write_text("{}")
    fails(tmp_path, folder, "cannot load the tokenizer", base=str(base))


def test_an_output_that_is_not_empty_is_left_alone(tmp_path, write):
    folder = write()
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / "precious").write_text("x")
    fails(tmp_path, folder, "not empty", error=InputError)
    assert (tmp_path / "failed" / "precious").read_text() == "x"


def test_the_source_is_only_read(tmp_path, write):
    folder = write()
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    import_checkpoint(folder, tmp_path / "actor", "before_token")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == content
    shutil.rmtree(folder)
    assert interlat.load(tmp_path / "actor", device="cpu").adapter is not None, "the actor needs nothing of the source"
    assert not list((tmp_path / "actor").glob("*.bin")) + list((tmp_path / "actor").glob("*.pt"))


def huge():
    """One number under many names: a small file that describes a huge tensor."""
    return torch.zeros(1).expand(10**12)


@pytest.mark.parametrize(
    "value",
    [
        huge(),
        torch.zeros(32, dtype=torch.complex64),
        torch.zeros(32).to_sparse(),
        torch.zeros(32, device="meta"),
        [0.0] * 32,
    ],
    ids=["huge", "complex", "sparse", "meta", "list"],
)
def test_a_parameter_that_is_no_plain_tensor_is_refused(tmp_path, write, value):
    fails(tmp_path, write(state=changed("pre_ln", "bias", value)), "hidden_mha_state.pt", "pre_ln.bias")
