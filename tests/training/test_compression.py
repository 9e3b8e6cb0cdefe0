"""Compression as a stage: trained on a real store against a real receiver, and used by all that sends."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import interlat
from interlat.collect.thoughts import CollectThoughts, collect_thoughts
from interlat.config import write_config
from interlat.connectors.bridge import Bridge, think_over
from interlat.connectors.resampler import Resampler
from interlat.engine.chat import ChatFormat
from interlat.engine.hf import Engine
from interlat.engine.prompt import Latents
from interlat.engine.sampling import Sampling
from interlat.engine.template import TemplateOptions
from interlat.errors import CheckpointError, InputError, MessageError, PromptError
from interlat.experiments.household.corpus import HOUSEHOLD, household_corpus, stored_episodes
from interlat.experiments.household.episodes import playable_episodes, read_episodes, texts_of
from interlat.experiments.household.evaluate import Checkpoints, EvaluateHousehold, evaluate_household
from interlat.experiments.tokenizer import train_tokenizer
from interlat.files import read_lines
from interlat.store.reading import LatentStore
from interlat.tasks.sources import TaskSource
from interlat.training.actor import train_actor
from interlat.training.compression import compress
from interlat.training.corpus import StoredMessages
from interlat.training.loss_weights import CompressionWeights
from interlat.training.model import build_model
from interlat.training.options import ConversationOptions, Lora, Schedule, SmallModel
from interlat.training.settings import Compress, TrainActor


@pytest.fixture
def config(pipeline, tmp_path):
    return Compress(
        receiver=str(pipeline.actors["latent"]),
        thoughts=str(pipeline.thoughts),
        output=str(tmp_path / "compressed"),
        sender=str(pipeline.scout),
        latent_steps=(1, 3),
        schedule=Schedule(steps=3, batch_size=4, checkpoint_every=1, eval_every=3, warmup_steps=1, learning_rate=0.01),
        validation_share=0.2,
    )


@pytest.fixture(params=["reasoner", "resampler"])
def either(request, config):
    sender = config.sender if request.param == "reasoner" else ""
    return dataclasses.replace(config, method=request.param, sender=sender)


def trained(folder):
    found = {}
    for kind in (Bridge, Resampler):
        if any((folder / "model").glob(f"{kind.__name__.lower()}.safetensors")):
            found |= kind.load(folder / "model").state_dict()
    if (folder / "model" / "config.json").exists():
        found |= Engine.load(str(folder / "model"), dtype="float32").model.state_dict()
    return found


def test_a_killed_training_continues_to_the_same_sender(either, tmp_path):
    list(compress(either))
    killed = dataclasses.replace(either, output=str(tmp_path / "killed"))
    for step, _ in compress(killed):
        if step == 2:
            break
    list(compress(killed))
    whole, again = trained(tmp_path / "compressed"), trained(tmp_path / "killed")
    assert whole and whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_passes_do_not_change_the_training(either, tmp_path):
    list(compress(either))
    schedule = dataclasses.replace(either.schedule, micro_batch_size=1)
    list(compress(dataclasses.replace(either, schedule=schedule, output=str(tmp_path / "passes"))))
    lines = [read_lines(tmp_path / name / "metrics.jsonl") for name in ("compressed", "passes")]
    for one, other in zip(*lines, strict=True):
        for name in one.keys() - {"seconds"}:
            assert other[name] == pytest.approx(one[name], rel=1e-3, abs=1e-5), (one["step"], name)


@pytest.mark.parametrize("start", ["uncertain", "random"])
def test_the_start_vector_is_an_embedding_or_chance(start, config, pipeline):
    # No step moves it: its rate is 0.
    schedule = dataclasses.replace(config.schedule, steps=1, learning_rate=0.0, adapter_learning_rate=0.0)
    list(compress(dataclasses.replace(config, start=start, schedule=schedule)))
    table = Engine.load(str(pipeline.scout), dtype="float32").model.get_input_embeddings().weight
    found = Bridge.load(f"{config.output}/model").start
    assert torch.isclose(table, found[None]).all(dim=1).any() == (start == "uncertain")


def test_training_lowers_the_loss_on_what_it_sees(config):
    """Some steps on few samples: the gradients lead where they should."""
    schedule = dataclasses.replace(config.schedule, steps=30, batch_size=8, eval_every=30, checkpoint_every=30)
    config = dataclasses.replace(config, latent_steps=(2,), schedule=schedule, losses=CompressionWeights(0.0, 0.0))
    losses = [metrics["loss"] for _, metrics in compress(config)]
    assert sum(losses[-5:]) < sum(losses[:5]) - 0.05


def test_the_exported_sender_has_the_loss_that_was_measured(config, pipeline, tmp_path):
    """The last validation again, from the folder alone: live thoughts on the prompts of the collection, the receiver's
    own front door for the rows, one plain pass a conversation."""
    config = dataclasses.replace(config, latent_steps=(3,))
    (*_, (_, metrics)) = compress(config)
    sender = Engine.load(f"{config.output}/model", dtype="float32")
    bridge, receiver = Bridge.load(f"{config.output}/model"), interlat.load(config.receiver, dtype="float32")
    thoughts = StoredMessages([config.thoughts])
    corpus = household_corpus(
        stored_episodes(thoughts.stores[0]), receiver.engine.chat, validation_share=config.validation_share
    )
    total = weight = 0.0
    for example in corpus.validation:
        task = thoughts.stores[0].entry(example.item).task
        _, rows = think_over(sender, bridge, [sender.chat.opening([("user", task)])], 3)
        embed = receiver.engine.model.get_input_embeddings()
        with torch.no_grad():
            before, after = (embed(torch.tensor(ids)) for ids in (example.before, example.after))
            pieces = [before, receiver.adapter(rows)[0], after]
            logits = receiver.engine.model(inputs_embeds=torch.cat(pieces)[None]).logits[0].double()
        start = len(example.before) + 3
        for place, label in enumerate(example.labels):
            if label != -100:
                total -= example.weights[place] * logits[start + place - 1].log_softmax(-1)[label].item()
                weight += example.weights[place]
    # The folder holds the model rounded to bfloat16.
    assert total / weight == pytest.approx(metrics["validation_loss_3"], abs=0.02)
    assert metrics["validation_loss"] == metrics["validation_loss_3"]


def test_it_thinks_through_the_front_door(config, pipeline, tmp_path):
    """`interlat.load` and `think`: the same prompt as at collection, a message that its receiver accepts and others
    refuse as they would the scout's."""
    list(compress(config))
    sender, receiver = interlat.load(f"{config.output}/model", dtype="float32"), interlat.load(config.receiver)
    store = LatentStore.open(pipeline.thoughts)
    task = store.entry(0).task
    message = sender.think(task)
    assert message.hidden_states.shape == (3, 16)
    _, rows = think_over(sender.engine, sender.bridge, [sender.engine.chat.opening([("user", task)])], 3)
    torch.testing.assert_close(message.hidden_states, rows[0], atol=1e-5, rtol=1e-5)
    assert message.header.space_fingerprint == store.manifest.weights_fingerprint
    assert message.header.weights_fingerprint == sender.engine.weights_fingerprint
    assert message.header.weights_fingerprint != store.manifest.weights_fingerprint
    path = tmp_path / "thought.safetensors"
    message.save(path)
    loaded = interlat.load_message(path)
    assert loaded.header.space_fingerprint == message.header.space_fingerprint
    assert receiver.reply("You are in the middle of a room.", message=loaded) is not None
    assert len(sender.think(task, steps=5).hidden_states) == 5
    stranger = dataclasses.replace(loaded.header, space_fingerprint="f" * 64)
    with pytest.raises(MessageError, match="expected the weights"):
        receiver.reply("You are.", message=dataclasses.replace(loaded, header=stranger))


def test_the_sender_keeps_its_template_arguments(config):
    quiet = TemplateOptions(enable_thinking=False)
    list(compress(dataclasses.replace(config, template=quiet)))
    agent = interlat.load(f"{config.output}/model")
    assert agent.settings.template == agent.engine.template == quiet


def test_the_front_door_without_a_bridge_is_as_before(pipeline):
    agent = interlat.load(pipeline.scout)
    assert agent.bridge is None and len(agent.think("the kettle").hidden_states) == 8


def test_a_compressed_sender_fills_a_store(config, pipeline, tmp_path):
    """`interlat collect` with its folder: the rows that `Agent.think` gives, batched."""
    list(compress(config))
    source = TaskSource("alfworld", str(pipeline.episodes))
    settings = CollectThoughts(
        f"{config.output}/model", source, str(tmp_path / "store"), method="compressed", latent_steps=3, batch_size=5,
        dtype="float32",
    )  # fmt: skip
    list(collect_thoughts(settings))
    store, agent = LatentStore.open(tmp_path / "store"), interlat.load(f"{config.output}/model", dtype="float32")
    assert store.manifest.settings["align"] == "bridge" and store.manifest.hidden_size == 16
    for number in range(0, len(store), 3):
        entry = store.entry(number)
        expected = agent.think(entry.task, steps=3).hidden_states
        torch.testing.assert_close(store.hidden_states(entry.id), expected, atol=1e-5, rtol=1e-4)
    untrained = dataclasses.replace(settings, align="identity", output=str(tmp_path / "identity"))
    list(collect_thoughts(untrained))
    entry = LatentStore.open(tmp_path / "identity").entry(0)
    other = LatentStore.open(tmp_path / "identity").hidden_states(entry.id)
    assert not torch.allclose(other, store.hidden_states(entry.id), atol=1e-3)
    with pytest.raises(CheckpointError, match="no compressed sender"):
        list(collect_thoughts(dataclasses.replace(settings, model=str(pipeline.scout), align="bridge", output="x")))


def test_another_family_width_and_tokenizer_learns_too(config, pipeline, tmp_path):
    """A Llama sender of another size: a projector makes its latents rows of the scout's size."""
    texts = texts_of(read_episodes(pipeline.episodes))
    tokenizer = train_tokenizer(texts, 700, (), family="llama")
    shape = SmallModel(family="llama", hidden_size=24, layers=1, heads=2, intermediate_size=16)
    model = build_model(shape, tokenizer, 0)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "llama")
    config = dataclasses.replace(config, sender=str(tmp_path / "llama"))
    list(compress(config))
    bridge = Bridge.load(f"{config.output}/model")
    assert bridge.config.project and (bridge.config.hidden_size, bridge.config.message_size) == (24, 16)
    sender, receiver = interlat.load(f"{config.output}/model"), interlat.load(config.receiver)
    message = sender.think(LatentStore.open(pipeline.thoughts).entry(0).task, steps=3)
    assert message.hidden_states.shape == (3, 16)
    receiver.reply("You are in the middle of a room.", message=message)


def test_a_sender_of_the_same_size_that_is_not_the_scout_is_projected(config, pipeline):
    config = dataclasses.replace(config, sender=str(pipeline.actors["text"]))
    list(compress(config))
    assert Bridge.load(f"{config.output}/model").config.project


def test_a_hint_is_followed(config):
    """Nothing but the hint: what the latents say comes nearer to the open words of the plan."""
    schedule = dataclasses.replace(config.schedule, steps=20, batch_size=8, eval_every=20, checkpoint_every=20)
    losses = CompressionWeights(distillation=0.0, mean_cosine=0.0, lens_distillation=5.0)
    hinted = dataclasses.replace(config, latent_steps=(2,), schedule=schedule, losses=losses)
    found = [metrics["lens_distillation"] for _, metrics in compress(hinted)]
    assert sum(found[-5:]) < 0.8 * sum(found[:5])


@pytest.mark.parametrize("kind", ["lora", "adapter"])
def test_a_hint_is_for_a_part_of_the_sender_too(config, kind):
    losses = CompressionWeights(distillation=0.0, mean_cosine=0.0, lens_distillation=1.0)
    hinted = dataclasses.replace(config, latent_steps=(2,), losses=losses, finetune=kind, lora=Lora(rank=2))
    assert all("lens_distillation" in metrics for _, metrics in compress(hinted))


def test_a_hint_that_cannot_be_given_is_refused(config, pipeline):
    hinted = CompressionWeights(lens_distillation=0.1)
    for wrong in ({"latent_steps": (1, 3)}, {"latent_steps": (2,), "method": "resampler", "sender": ""}):
        with pytest.raises(InputError, match="reasoner of one length"):
            dataclasses.replace(config, losses=hinted, **wrong)
    other = dataclasses.replace(config, losses=hinted, latent_steps=(2,), sender=str(pipeline.actors["text"]))
    with pytest.raises(InputError, match="did not make"):
        list(compress(other))
    with pytest.raises(InputError, match="lens_distillation is -1"):
        CompressionWeights(lens_distillation=-1)


@pytest.mark.parametrize("sender", ["scout", "text actor"])
def test_a_compressed_sender_learns_on(sender, config, pipeline, tmp_path):
    """It begins as it was, bridge and projector included, and its folder names the new lengths."""
    first = config if sender == "scout" else dataclasses.replace(config, sender=str(pipeline.actors["text"]))
    list(compress(first))
    still = dataclasses.replace(config.schedule, steps=1, learning_rate=0.0, adapter_learning_rate=0.0)
    second = dataclasses.replace(
        config, sender=f"{first.output}/model", output=str(tmp_path / "second"), latent_steps=(2,), schedule=still
    )
    list(compress(second))
    before, after = trained(Path(first.output)), trained(Path(second.output))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    known = Bridge.load(f"{second.output}/model").config
    assert known.latent_steps == (2,) and known.project == (sender != "scout")
    moving = dataclasses.replace(second, output=str(tmp_path / "moved"), schedule=config.schedule)
    list(compress(moving))
    assert not torch.equal(trained(tmp_path / "moved")["start"], before["start"])


def test_a_compressed_sender_of_another_space_is_refused(config, pipeline, tmp_path):
    list(compress(config))
    bridge = Bridge.load(f"{config.output}/model")
    bridge.config = dataclasses.replace(bridge.config, sender="elsewhere", sender_fingerprint="0" * 64)
    bridge.save(f"{config.output}/model")
    again = dataclasses.replace(config, sender=f"{config.output}/model", output=str(tmp_path / "again"))
    with pytest.raises(InputError, match="makes latents like those of elsewhere"):
        list(compress(again))


@pytest.mark.parametrize("kind", ["lora", "adapter"])
def test_a_part_of_the_sender_can_be_trained(config, pipeline, kind):
    list(compress(dataclasses.replace(config, finetune=kind, lora=Lora(rank=2))))
    before = Engine.load(str(pipeline.scout), dtype="float32").model.state_dict()
    after = Engine.load(f"{config.output}/model", dtype="float32").model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys()
    assert bool(changed) == (kind == "lora") and all("_proj" in name for name in changed)
    assert {key.partition("/")[0] for key in _checkpoint(config)} == {"bridge"} | ({"model"} if changed else set())


def test_the_folder_holds_nothing_of_the_receiver(either):
    list(compress(either))
    files = {path.name for path in (_folder(either) / "model").iterdir()}
    assert "adapter.safetensors" not in files and "README.md" in files
    parts = {key.partition("/")[0] for key in _checkpoint(either)}
    assert parts == ({"model", "bridge"} if either.method == "reasoner" else {"resampler"})


def test_checkpointing_trains_the_same(config, tmp_path):
    list(compress(config))
    again = dataclasses.replace(config, gradient_checkpointing=True, output=str(tmp_path / "again"))
    list(compress(again))
    one, other = (read_lines(f"{c.output}/metrics.jsonl") for c in (config, again))
    assert [line["loss"] for line in one] == pytest.approx([line["loss"] for line in other], rel=1e-5)


def test_any_conversations_compress(pipeline, tmp_path):
    """Questions with solutions from the metadata of their store, an actor that was trained on them, fewer rows."""
    rows = [{"id": f"q{n}", "question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(8)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = TaskSource("records", str(tmp_path / "data.jsonl"))
    store = str(tmp_path / "store")
    list(collect_thoughts(CollectThoughts(str(pipeline.scout), source, store, sampling=Sampling(max_new_tokens=6))))
    schedule = Schedule(steps=2, batch_size=4, warmup_steps=1)
    common = {"corpus": "conversations", "conversations": ConversationOptions(), "validation_share": 0.3}
    actor = TrainActor(
        str(tmp_path / "actor"), message="latent", thoughts=(store,), start=str(pipeline.actors["text"]),
        schedule=schedule, adapter_heads=2, **common,
    )  # fmt: skip
    list(train_actor(actor))
    config = Compress(
        f"{actor.output}/model", store, str(tmp_path / "short"), sender=str(pipeline.scout), schedule=schedule, **common
    )
    list(compress(config))
    short = interlat.load(f"{config.output}/model").think("What is 3 + 3?", steps=2)
    assert isinstance(interlat.load(config.receiver).reply("What is 3 + 3?", message=short), str)
    for name, value in (("system_prompt", "Count."), ("connector", " plan: "), ("prompt_template", "Q: {text}")):
        told = ConversationOptions(**{name: value})
        with pytest.raises(InputError, match=f"{name} of the conversations is .*{value}.*as in its training"):
            list(compress(dataclasses.replace(config, conversations=told, output=str(tmp_path / name))))
        assert not list((tmp_path / name).glob("**/*.safetensors"))


def test_what_does_not_go_together_is_refused(config, pipeline, tmp_path):
    with pytest.raises(InputError, match="set sender"):
        dataclasses.replace(config, sender="")
    with pytest.raises(InputError, match="leave out sender"):
        dataclasses.replace(config, method="resampler")
    with pytest.raises(InputError, match="latent_steps"):
        dataclasses.replace(config, latent_steps=())
    with pytest.raises(CheckpointError, match="without an adapter"):
        list(compress(dataclasses.replace(config, receiver=str(pipeline.actors["text"]))))
    source = TaskSource("alfworld", str(pipeline.episodes))
    other = CollectThoughts(
        str(pipeline.actors["none"]), source, str(tmp_path / "other"), method="compressed", latent_steps=2
    )
    list(collect_thoughts(other))
    with pytest.raises(MessageError, match="weights"):
        list(compress(dataclasses.replace(config, thoughts=other.output)))


@pytest.fixture
def played(pipeline, short, tmp_path):
    """Results of the training games under a compressed sender and, by another actor, without a message."""
    roles = {"scout": pipeline.scout, **pipeline.actors, "compressed": short["compressed"]}
    checkpoints = Checkpoints(**{role: str(folder) for role, folder in roles.items()})
    output = tmp_path / "played"
    settings = EvaluateHousehold(checkpoints, str(output), ("compressed:3", "none"), max_plan_tokens=8)
    list(evaluate_household(settings, playable_episodes([pipeline.episodes])))
    return output / "results.jsonl"


def test_played_games_are_learned_beside_the_experts(config, pipeline, played, tmp_path):
    config = dataclasses.replace(
        config, latent_steps=(3,), losses=CompressionWeights(distillation=1.0, mean_cosine=0.0)
    )
    without = list(compress(dataclasses.replace(config, output=str(tmp_path / "without"))))
    both = list(compress(dataclasses.replace(config, on_policy=(str(played),))))
    assert {"validation_distillation_3", "validation_loss_3"} <= without[-1][1].keys()
    assert "validation_on_policy_distillation_3" not in without[-1][1]
    assert both[-1][1]["validation_on_policy_distillation_3"] > 0
    assert any(a["task"] != b["task"] for (_, a), (_, b) in zip(without, both, strict=True))
    examples, held_out = HOUSEHOLD.on_policy(
        {**vars(config), "on_policy": (str(played),)},
        ChatFormat(Engine.load(str(pipeline.actors["latent"])).tokenizer),
        StoredMessages([str(pipeline.thoughts)]),
    )
    games = {line["item"] for line in read_lines(played)}
    assert len(examples) + len(held_out) == len(games) and len(held_out) == max(1, round(0.2 * len(games)))
    assert not any(example.label_weight for example in [*examples, *held_out])
    assert "validation_on_policy_loss_3" not in both[-1][1]


def test_corrected_games_are_learned_without_any_agreement(config, pipeline, played, tmp_path):
    losses = CompressionWeights(distillation=0.0, mean_cosine=0.0)
    config = dataclasses.replace(config, latent_steps=(3,), losses=losses, on_policy=(str(played),), dagger=True)
    (*_, (_, last)) = compress(config)
    assert last["validation_on_policy_loss_3"] > 0 and last["validation_on_policy_loss_3"] != last["validation_loss_3"]
    assert "validation_on_policy_distillation_3" not in last


def test_played_games_that_teach_nothing_are_refused(config, pipeline, played, tmp_path):
    with pytest.raises(InputError, match=r"give losses\.distillation a weight"):
        dataclasses.replace(config, on_policy=(str(played),), losses=CompressionWeights(distillation=0.0))
    with pytest.raises(InputError, match="no games to correct"):
        dataclasses.replace(config, dagger=True)
    others = tmp_path / "others.jsonl"
    others.write_text("".join(f"{json.dumps(line)}\n" for line in read_lines(played) if line["actor"] == "none"))
    for path in (others, tmp_path / "nowhere.jsonl"):
        with pytest.raises(InputError, match="no game of the latent actor"):
            list(compress(dataclasses.replace(config, on_policy=(str(path),))))


def test_a_prompt_that_leaves_no_room_for_latents_is_named(config):
    with pytest.raises(InputError, match=r"the prompt of '.*' has \d+ positions, with 1020 latents"):
        list(compress(dataclasses.replace(config, latent_steps=(1020,))))


def test_what_does_not_fit_into_the_context_is_refused(config):
    """More latents than the context holds: refused, not cut."""
    list(compress(config))
    sender = interlat.load(f"{config.output}/model")
    with pytest.raises(PromptError, match="context"):
        sender.think("the kettle", steps=5000)
    with pytest.raises(PromptError):
        think_over(sender.engine, sender.bridge, [[Latents(torch.full((1, 16), float("nan")))]], 1)


@pytest.mark.slow
def test_two_processes_compress_as_one(pipeline, tmp_path):
    """Several passes through the same layers in one step, forward and backward, and a kill in between."""
    schedule = Schedule(
        steps=4, batch_size=4, checkpoint_every=2, eval_every=2, warmup_steps=1, learning_rate=1e-4,
        adapter_learning_rate=1e-4,
    )  # fmt: skip
    config = Compress(
        str(pipeline.actors["latent"]), str(pipeline.thoughts), str(tmp_path / "one"), sender=str(pipeline.scout),
        latent_steps=(1, 3), schedule=schedule, validation_share=0.4,
    )  # fmt: skip
    list(compress(config))
    write_config(config, tmp_path)
    for flags in (("--schedule.stop-at", "2"), ()):
        done = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
             "interlat.cli", "compress", "--config", str(tmp_path / "config.yaml"), "--output", str(tmp_path / "two"),
             *flags],
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True,
            timeout=280,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    lines = [read_lines(tmp_path / name / "metrics.jsonl") for name in ("one", "two")]
    for one, other in zip(*lines, strict=True):
        for name in one.keys() - {"seconds"}:
            assert other[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), (one["step"], name)
    first, second = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("one", "two"))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.allclose(tensor, second[name], atol=2e-4), name
    assert (tmp_path / "two" / "model" / "bridge.safetensors").exists()


def _folder(config):
    return Path(config.output)


def _checkpoint(config):
    return {key.partition("@")[0] for key in load_file(_folder(config) / "checkpoint.safetensors")}


def test_a_sender_that_is_an_adapter_learns_on_as_one(config, tmp_path):
    """Its latents are in the space of the thoughts that the merged sender made: it needs no projection."""
    first = dataclasses.replace(config, finetune="lora", lora=Lora(rank=2), export="adapter")
    list(compress(first))
    folder = Path(first.output) / "model"
    assert not (folder / "model.safetensors").exists()
    still = dataclasses.replace(config.schedule, steps=1, learning_rate=0.0, adapter_learning_rate=0.0)
    second = dataclasses.replace(first, sender=str(folder), output=str(tmp_path / "second"), schedule=still)
    list(compress(second))
    name = "adapter_model.safetensors"
    before, after = (load_file(place / name) for place in (folder, tmp_path / "second" / "model"))
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    one, other = (Bridge.load(place) for place in (folder, tmp_path / "second" / "model"))
    assert torch.equal(one.start, other.start) and one.projector is None
