import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import AddedToken

import interlat
from interlat.engine.checkpoint import load_checkpoint, load_tokenizer
from interlat.engine.fingerprint import loaded_fingerprint, tokenizer_fingerprint
from interlat.errors import CheckpointError, InputError
from interlat.experiments.tokenizer import train_tokenizer
from interlat.training.actor import train_actor
from interlat.training.low_rank import load_with_updates, merge_updates, start_identity, updates_of
from interlat.training.model import add_message_tokens, build_model, choose_finetuned, export_model
from interlat.training.options import Lora, Schedule, SmallModel
from interlat.training.settings import TrainActor
from interlat.training.stage import model_to_train

peft = pytest.importorskip("peft")
LORA = Lora(rank=3, alpha=6, targets=("q_proj", "down_proj"))
IDS = torch.tensor([[5, 7, 1, 9, 3, 2]])


def new_tokenizer():
    return train_tokenizer(["go to drawer 3."] * 5, 300, ())


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def base(request, tmp_path):
    shape = SmallModel(hidden_size=8, layers=2, heads=2, intermediate_size=8, tied=request.param)
    export_model(build_model(shape, new_tokenizer(), 0), new_tokenizer(), tmp_path / "base", dtype=torch.float32)
    return tmp_path / "base"


def with_trained_updates(place, seed=1):
    """A model with message tokens and low-rank updates that are not zero, as a training leaves it."""
    model, tokenizer = load_checkpoint(str(place), "float32", "cpu", False)
    rows = add_message_tokens(model, tokenizer)
    choose_finetuned(model, "lora", LORA, 0)
    torch.manual_seed(seed)
    with torch.no_grad():
        for update in updates_of(model).values():
            update.normal_(std=0.3)
    return model, tokenizer, rows


def write(place, directory, lora=LORA, **options):
    model, tokenizer, rows = with_trained_updates(place, **options)
    export_model(model, tokenizer, directory, dtype=torch.float32, lora=lora, base=str(place))
    return model, rows


@torch.no_grad()
def logits_of(model, *more):
    return model(torch.cat([IDS, torch.tensor([more], dtype=torch.long)], 1)).logits


def test_an_adapter_is_the_merged_model(base, tmp_path):
    model, rows = write(base, tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    assert {value.dtype for value in load_file(tmp_path / "adapter" / "adapter_model.safetensors").values()} == {
        torch.float32
    }
    loaded, tokenizer = load_checkpoint(str(tmp_path / "adapter"), "float32", "cpu", False)
    merge_updates(model)
    assert tuple(tokenizer.convert_tokens_to_ids(["<bop>", "<eop>"])) == rows
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(logits_of(loaded, *rows), logits_of(model, *rows), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("base", [True], ids=["tied"], indirect=True)
def test_a_tokenizer_with_more_special_tokens_is_written_as_these(base, tmp_path):
    _, rows = write(base, tmp_path / "adapter")
    files = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert files == {"adapter_config.json", "adapter_model.safetensors", "added_tokens.json"}
    assert json.loads((tmp_path / "adapter" / "added_tokens.json").read_text()) == {"<bop>": rows[0], "<eop>": rows[1]}
    whole = load_tokenizer(str(base))
    whole.add_tokens([AddedToken(token, normalized=False, special=True) for token in ("<bop>", "<eop>")], True)
    assert tokenizer_fingerprint(load_tokenizer(str(tmp_path / "adapter"))) == tokenizer_fingerprint(whole)
    whole.chat_template = "{{ messages }}"
    model, _, _ = with_trained_updates(base)
    export_model(model, whole, tmp_path / "other", lora=LORA, base=str(base))
    assert (tmp_path / "other" / "tokenizer.json").is_file() and not (tmp_path / "other" / "added_tokens.json").exists()
    assert load_tokenizer(str(tmp_path / "other")).chat_template == "{{ messages }}"


@pytest.mark.parametrize("base", [True], ids=["tied"], indirect=True)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("[1]", "is damaged"),
        ('{"<bop>": 3}', r"token <bop> of the adapter is 3, but \d+ in its base"),
    ],
)
def test_added_tokens_that_do_not_fit_are_named(base, tmp_path, content, message):
    write(base, tmp_path / "adapter")
    (tmp_path / "adapter" / "added_tokens.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(str(tmp_path / "adapter"), "float32", "cpu", False)


def test_peft_itself_reads_the_adapter(base, tmp_path):
    model, rows = write(base, tmp_path / "adapter")
    plain, _ = load_checkpoint(str(base), "float32", "cpu", False)
    plain.resize_token_embeddings(model.config.vocab_size, mean_resizing=False)
    theirs = peft.PeftModel.from_pretrained(plain, str(tmp_path / "adapter")).eval()
    torch.testing.assert_close(logits_of(theirs, *rows), logits_of(model, *rows), atol=1e-5, rtol=1e-5)


def test_a_training_goes_on_from_an_adapter_where_it_was(base, tmp_path):
    model, rows = write(base, tmp_path / "adapter")
    merged, _ = load_checkpoint(str(tmp_path / "adapter"), "float32", "cpu", False)
    again, tokenizer = load_with_updates(tmp_path / "adapter", LORA)
    assert add_message_tokens(again, tokenizer) == rows
    before = {name: value.clone() for name, value in updates_of(again).items()}
    choose_finetuned(again, "lora", LORA, 5)
    trained = {name for name, value in again.named_parameters() if value.requires_grad}
    assert trained == set(before) and all(torch.equal(before[name], updates_of(model)[name]) for name in before)
    torch.testing.assert_close(logits_of(again, *rows), logits_of(merged, *rows), atol=1e-5, rtol=1e-5)
    assert loaded_fingerprint(again) == loaded_fingerprint(merged)
    assert start_identity(again) != start_identity(merged)
    # Written again it is the same adapter, on the same base.
    export_model(again, tokenizer, tmp_path / "again", dtype=torch.float32, lora=LORA, base=str(base))
    first, second = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("adapter", "again"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("lora", [Lora(4, 6, LORA.targets), Lora(3, 5, LORA.targets), Lora(3, 6, ("q_proj",))])
def test_an_adapter_of_another_shape_is_refused(base, tmp_path, lora):
    write(base, tmp_path / "adapter")
    with pytest.raises(InputError, match=r"has rank 3, alpha 6 and targets down_proj, q_proj, and lora .*merged"):
        load_with_updates(tmp_path / "adapter", lora)


@pytest.mark.parametrize(("field", "value"), [("use_dora", True), ("bias", "all"), ("modules_to_save", ["norm"])])
def test_what_is_more_than_plain_updates_is_refused(base, tmp_path, field, value):
    write(base, tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    with pytest.raises(InputError, match=rf"is no plain LoRA \({field} is .*set export to merged"):
        load_with_updates(tmp_path / "adapter", LORA)


def test_an_adapter_without_weights_is_named(base, tmp_path):
    write(base, tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no adapter_model\.safetensors"):
        load_with_updates(tmp_path / "adapter", LORA)


@pytest.fixture
def config(base, pipeline, tmp_path):
    shutil.copytree(pipeline.root / "tokenizer", tmp_path / "start", dirs_exist_ok=True)
    shape = SmallModel(hidden_size=16, layers=1, heads=2, intermediate_size=16)
    tokenizer = interlat.engine.checkpoint.load_tokenizer(str(pipeline.root / "tokenizer"))
    export_model(build_model(shape, tokenizer, 0), tokenizer, tmp_path / "start", dtype=torch.float32)
    return TrainActor(
        str(tmp_path / "first"),
        str(pipeline.episodes),
        "base",
        start=str(tmp_path / "start"),
        finetune="lora",
        lora=LORA,
        export="adapter",
        schedule=Schedule(steps=3, batch_size=4, learning_rate=0.05, checkpoint_every=1, eval_every=3),
        validation_share=0.2,
    )


@pytest.mark.parametrize("base", [True], ids=["tied"], indirect=True)
def test_trainings_follow_each_other_as_adapters_on_one_base(config, pipeline, tmp_path):
    list(train_actor(config))
    first = tmp_path / "first" / "model"
    second = dataclasses.replace(
        config,
        output=str(tmp_path / "second"),
        message="latent",
        thoughts=(str(pipeline.thoughts),),
        sender=str(pipeline.scout),
        start=str(first),
        adapter_heads=2,
    )
    list(train_actor(second))
    for folder in (first, tmp_path / "second" / "model"):
        settings = json.loads((folder / "adapter_config.json").read_text())
        assert settings["base_model_name_or_path"] == str(tmp_path / "start") and settings["r"] == 3
        assert not (folder / "model.safetensors").exists()
    files = [load_file(folder / "adapter_model.safetensors") for folder in (first, tmp_path / "second" / "model")]
    moved = [name for name in files[0] if not torch.equal(files[0][name], files[1][name])]
    assert all("lora_" in name for name in moved) and len(moved) == 4
    agent = interlat.load(str(tmp_path / "second" / "model"), dtype="float32")
    assert agent.adapter is not None and agent.settings.message_kind == "hidden" and agent.reply("go") is not None
    # The same place in the same training, whatever is written at its end; but not merged instead of trained on.
    done = (tmp_path / "second" / "checkpoint.safetensors").read_bytes()
    assert list(train_actor(second)) == [] and (tmp_path / "second" / "checkpoint.safetensors").read_bytes() == done
    with pytest.raises(CheckpointError, match="start was"):
        list(train_actor(dataclasses.replace(second, export="merged")))


@pytest.mark.parametrize("base", [True], ids=["tied"], indirect=True)
def test_a_finished_training_is_written_again_in_the_other_form(config, tmp_path):
    list(train_actor(dataclasses.replace(config, export="merged")))
    merged = load_file(tmp_path / "first" / "model" / "model.safetensors")
    shutil.rmtree(tmp_path / "first" / "model")
    assert list(train_actor(config)) == []
    model, _ = load_checkpoint(str(tmp_path / "first" / "model"), "float32", "cpu", False)
    for name, value in merged.items():
        torch.testing.assert_close(model.state_dict()[name], value.float(), atol=2**-6, rtol=2**-6)


@pytest.mark.parametrize("base", [True], ids=["tied"], indirect=True)
def test_a_start_that_is_no_adapter_and_one_that_ends_merged_are_loaded_as_ever(base, config, tmp_path):
    write(base, tmp_path / "adapter")
    merged = dataclasses.replace(config, export="merged")
    for chosen, place in ((config, base), (merged, base), (merged, tmp_path / "adapter")):
        model, _ = model_to_train(chosen, str(place))
        assert not updates_of(model)
    assert updates_of(model_to_train(config, str(tmp_path / "adapter"))[0])


@pytest.mark.parametrize("base", [True], ids=["tied"], indirect=True)
def test_an_adapter_needs_updates_and_a_model_to_be_loaded_on(config):
    with pytest.raises(InputError, match="export is adapter and finetune full"):
        dataclasses.replace(config, finetune="full")
    with pytest.raises(InputError, match="no start names a model"):
        dataclasses.replace(config, start=None, tokenizer="somewhere")
