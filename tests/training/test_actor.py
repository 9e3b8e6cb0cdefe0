import dataclasses
import json
import math

import pytest
import torch
from safetensors.torch import load_file

import interlat
from chat_templates import FORMS
from interlat.collect.thoughts import CollectThoughts, collect_thoughts
from interlat.connectors.adapter import CommunicationAdapter
from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_tokenizer
from interlat.engine.distributed import Ranks
from interlat.engine.hf import Engine
from interlat.engine.prompt import Tokens, tokenize
from interlat.engine.sampling import Sampling
from interlat.engine.template import TemplateOptions
from interlat.errors import InputError
from interlat.experiments.household.episodes import read_episodes, texts_of
from interlat.experiments.tokenizer import train_tokenizer
from interlat.files import read_lines
from interlat.messages import TextMessage
from interlat.store.index import Entry
from interlat.store.reading import LatentStore
from interlat.tasks.sources import TaskSource
from interlat.training import actor
from interlat.training.actor import begin_adapter, new_adapter, train_actor
from interlat.training.conversations import load_corpus
from interlat.training.corpus import CORPORA, Corpus, StoredMessages
from interlat.training.examples import ids_of
from interlat.training.loop import step_of
from interlat.training.loss_weights import BranchWeights
from interlat.training.losses import LOSSES, Loss
from interlat.training.options import ConversationOptions, Curriculum, Lora, Schedule, SmallModel
from interlat.training.settings import TrainActor


@pytest.fixture
def config(pipeline, tmp_path):
    return TrainActor(
        str(tmp_path / "actor"),
        str(pipeline.episodes),
        "latent",
        thoughts=(str(pipeline.thoughts),),
        tokenizer=str(pipeline.root / "tokenizer"),
        model=SmallModel(hidden_size=16, layers=1, heads=2, intermediate_size=16),
        schedule=Schedule(steps=3, batch_size=4, checkpoint_every=1, eval_every=3),
        adapter_heads=2,
        validation_share=0.2,
    )


def test_a_killed_training_continues_to_the_same_adapter(config, tmp_path):
    list(train_actor(config))
    killed = dataclasses.replace(config, output=str(tmp_path / "killed"))
    for step, _ in train_actor(killed):
        if step == 2:
            break
    list(train_actor(killed))
    whole = CommunicationAdapter.load(tmp_path / "actor" / "model").state_dict()
    again = CommunicationAdapter.load(tmp_path / "killed" / "model").state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_validation_is_deterministic(config, tmp_path):
    losses = []
    for name in ("one", "two"):
        list(train_actor(dataclasses.replace(config, output=str(tmp_path / name))))
        losses.append(read_lines(tmp_path / name / "metrics.jsonl")[-1]["validation_loss"])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("message", ["text", "latent"])
def test_a_message_is_measured_as_it_is_read(config, pipeline, monkeypatch, message):
    """Under max_length: in words without the thoughts, in latents with a row for each word of them."""
    said, measured = "put apple", []

    def load(options, chat, messages, length_of):
        item = messages.stores[0].ids[0]
        measured.append((length_of(item), len(ids_of(said, chat)), messages.stores[0].length(item)))
        return Corpus([], [], {})

    thoughts = StoredMessages([str(pipeline.thoughts)])
    monkeypatch.setattr(StoredMessages, "entries", lambda self, item: [Entry(item, plan=f"<think>no</think>{said}")])
    monkeypatch.setattr(CORPORA["conversations"], "load", load)
    chat = ChatFormat(load_tokenizer(str(pipeline.root / "tokenizer")))
    config = dataclasses.replace(config, message=message, corpus="conversations", episodes=None)
    actor._corpus(config, thoughts, chat, Ranks())
    ((rows, words, states),) = measured
    assert rows == (words if message == "text" else states)


def test_the_adapter_knows_its_sender(pipeline):
    adapter = CommunicationAdapter.load(pipeline.actors["latent"])
    scout = Engine.load(str(pipeline.scout))
    assert adapter.config.sender_fingerprints == (scout.weights_fingerprint,)
    assert adapter.config.sender_tokenizer_fingerprint == scout.tokenizer_fingerprint


def test_a_store_alone_trains_the_same_actor(config, tmp_path):
    """Without the episodes' own file: they stand beside the thoughts, and nothing else is needed."""
    alone = dataclasses.replace(config, episodes=None, output=str(tmp_path / "alone"))
    for one in (config, alone):
        list(train_actor(one))
    lines = [read_lines(f"{one.output}/metrics.jsonl") for one in (config, alone)]
    assert [line["loss"] for line in lines[0]] == [line["loss"] for line in lines[1]]
    first, second = (CommunicationAdapter.load(f"{one.output}/model").state_dict() for one in (config, alone))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_actor_without_messages_trains_from_a_store_too(config):
    list(train_actor(dataclasses.replace(config, message="none", episodes=None)))


def test_a_base_learns_all_that_it_reads_if_asked(config):
    """With a weight on reading the loss is another one; the validation stays that of the commands."""
    base = dataclasses.replace(config, message="base", thoughts=())
    reading = dataclasses.replace(base, reading_weight=1.0, output=f"{base.output}-reading")
    losses = [next(metrics["loss"] for _, metrics in train_actor(c)) for c in (base, reading)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("field, value", [("direct_share", 0.1), ("direct_share", 1.1), ("reading_weight", 0.1)])
def test_what_only_the_base_does_is_refused_elsewhere(config, field, value):
    with pytest.raises(InputError, match=field):
        dataclasses.replace(config, **{field: value})


def test_a_kind_that_needs_thoughts_says_so(config):
    with pytest.raises(InputError, match="thoughts"):
        dataclasses.replace(config, thoughts=())
    with pytest.raises(InputError, match="episodes"):
        dataclasses.replace(config, message="none", thoughts=(), episodes=None)
    with pytest.raises(InputError, match="tokenizer"):
        dataclasses.replace(config, tokenizer=None)


def test_the_whole_recipe_is_killed_and_continued_to_the_same_adapter(config, tmp_path):
    """Separation, alignment and curriculum draw by the step, so a second life draws what the first would have drawn."""
    whole = dataclasses.replace(
        config,
        losses=BranchWeights(contrastive=0.5, plan_distillation=0.1, adaptive=True),
        curriculum=Curriculum("uniform"),
        none_share=0.0,
        prefix_share=0.0,
    )
    steps = [metrics for _, metrics in train_actor(whole)]
    assert all({"task", "contrastive", "plan_distillation"} <= metrics.keys() for metrics in steps)
    killed = dataclasses.replace(whole, output=str(tmp_path / "killed"))
    for step, _ in train_actor(killed):
        if step == 2:
            break
    list(train_actor(killed))
    one, other = (CommunicationAdapter.load(f"{c.output}/model").state_dict() for c in (whole, killed))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("field, value", [("losses", BranchWeights(0.1)), ("curriculum", Curriculum("linear"))])
def test_latent_losses_are_refused_for_words(config, field, value):
    with pytest.raises(InputError, match="latent"):
        dataclasses.replace(config, message="text", **{field: value})


@pytest.mark.parametrize("trained", ["lora", "adapter"])
def test_only_what_is_trained_changes_and_a_killed_run_continues(pipeline, config, tmp_path, trained):
    """The base is a trained text actor; what is frozen comes out as it went in, bit for bit."""
    start = str(pipeline.actors["text"])
    settings = dataclasses.replace(config, start=start, finetune=trained, lora=Lora(rank=2))
    list(train_actor(settings))
    killed = dataclasses.replace(settings, output=str(tmp_path / "killed"))
    for step, _ in train_actor(killed):
        if step == 2:
            break
    list(train_actor(killed))
    whole, again, before = (
        Engine.load(folder, dtype="float32").model.state_dict()
        for folder in (f"{settings.output}/model", f"{killed.output}/model", start)
    )
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    changed = {name for name in whole if not torch.equal(whole[name], before[name])}
    assert bool(changed) == (trained == "lora") and all("proj" in name for name in changed)
    adapters = [CommunicationAdapter.load(f"{c.output}/model").state_dict() for c in (settings, killed)]
    assert all(torch.equal(adapters[0][name], adapters[1][name]) for name in adapters[0])


def test_an_adapter_alone_needs_latent_messages(config):
    with pytest.raises(InputError, match="adapter"):
        dataclasses.replace(config, message="text", finetune="adapter")


def test_bfloat16_is_near_float32_and_leaves_float32_weights(config, tmp_path):
    half = dataclasses.replace(config, precision="bfloat16", output=str(tmp_path / "half"))
    losses = [[m["loss"] for _, m in train_actor(c)] for c in (config, half)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02) and losses[0] != losses[1]
    stored = load_file(tmp_path / "half" / "checkpoint.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}


def test_a_step_in_several_passes_is_the_same_step(config, tmp_path):
    """Dropout is drawn by the pass, so an adapter-free training shows it; accumulated shares equal one pass."""
    text = dataclasses.replace(config, message="text")
    schedule = dataclasses.replace(text.schedule, micro_batch_size=1)
    several = dataclasses.replace(text, schedule=schedule, output=str(tmp_path / "several"))
    losses = [[m["loss"] for _, m in train_actor(c)] for c in (text, several)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_gradient_checkpointing_changes_no_number(config, tmp_path):
    lean = dataclasses.replace(config, gradient_checkpointing=True, output=str(tmp_path / "lean"))
    losses = [[m["loss"] for _, m in train_actor(c)] for c in (config, lean)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_finished_model_has_the_best_parameters_if_asked(config, tmp_path, monkeypatch):
    """Validation losses of 3, 1 and 2: the best parameters are those of step 2, the last ones those of step 3."""
    schedule = Schedule(steps=3, batch_size=4, checkpoint_every=1, eval_every=1, warmup_steps=1)
    kept = {}
    for keep in ("best", "last"):
        losses = iter([3.0, 1.0, 2.0])
        monkeypatch.setattr(actor, "mean_losses", lambda *_, losses=losses: {"loss": next(losses)})
        output = str(tmp_path / keep)
        chosen = dataclasses.replace(
            config, schedule=dataclasses.replace(schedule, load_best_at_end=keep == "best"), output=output
        )
        assert [metrics["validation_loss"] for _, metrics in train_actor(chosen)] == [3.0, 1.0, 2.0]
        assert step_of(tmp_path / keep / "best.safetensors") == 2
        kept[keep] = CommunicationAdapter.load(tmp_path / keep / "model").state_dict()
        name = {"best": "best.safetensors", "last": "checkpoint.safetensors"}[keep]
        stored = load_file(tmp_path / keep / name)
        assert all(torch.equal(tensor, stored[f"adapter/{key}"]) for key, tensor in kept[keep].items())
    assert any(not torch.equal(kept["best"][key], kept["last"][key]) for key in kept["best"])


def test_validation_shows_what_another_message_costs(config):
    metrics = [m for _, m in train_actor(dataclasses.replace(config, validation_share=0.5))][-1]
    assert {"validation_loss", "validation_loss_of_another_message"} <= metrics.keys()


@pytest.mark.parametrize("message", ["latent", "text", "none"])
def test_any_conversations_train_an_actor(pipeline, tmp_path, message):
    """Trajectories as JSON: the scout thinks about them, an actor learns them, and its prompt at play is the one it
    learned: the validation loss is that of plain forward passes of the exported model on the agent's own prompts."""
    kettle = ["You tidy up.", "OK", "Your task is to: put a kettle in sink.", "go to sink 1", "You are there.", "done"]
    rows = [
        {"id": f"trial-{number}", "conversations": [
            {"from": "gpt" if place % 2 else "human", "value": f"{text} {number}" if place == 2 else text}
            for place, text in enumerate(kettle)
        ]}
        for number in range(6)
    ]  # fmt: skip
    (tmp_path / "data.json").write_text(json.dumps(rows))
    source, short = TaskSource("conversations", str(tmp_path / "data.json")), Sampling(max_new_tokens=6)
    store = str(tmp_path / "store")
    list(collect_thoughts(CollectThoughts(str(pipeline.scout), source, store, sampling=short)))
    options = ConversationOptions(prompt_template="A house. {text}", connector="\nYour plan: ")
    config = TrainActor(
        str(tmp_path / "actor"),
        corpus="conversations",
        conversations=options,
        message=message,
        thoughts=(store,),
        start=str(pipeline.actors["text"]),
        schedule=Schedule(steps=2, batch_size=3, eval_every=1, learning_rate=1e-9, adapter_learning_rate=1e-9),
        losses=BranchWeights(0.1, 0.1) if message == "latent" else BranchWeights(),
        curriculum=Curriculum("uniform") if message == "latent" else Curriculum(),
        validation_share=0.3,
        adapter_heads=2,
    )
    steps = [metrics for _, metrics in train_actor(config)]
    # Learning rates of nothing: the exported agent is, but for rounding, the one that was validated.
    agent = interlat.load(str(tmp_path / "actor" / "model"), dtype="float32")
    thoughts = LatentStore.open(store)
    held_out = load_corpus(options, agent.engine.chat, thoughts, thoughts.length, 0.3).corpus.validation
    total = count = 0
    for example in held_out:
        given = {"latent": thoughts.message(example.item), "text": TextMessage(thoughts.entry(example.item).plan)}
        text = f"{kettle[0]}\n{kettle[2]} {example.item[-1]}"
        parts = tokenize(agent.prompt(text, given.get(message)), agent.engine.tokenizer)
        table = agent.engine.model.get_input_embeddings().weight
        prompt = torch.cat([table[list(part.ids)] if isinstance(part, Tokens) else part.rows for part in parts])
        first = next(index for index, label in enumerate(example.labels) if label != -100)
        rest = example.after[first:]
        with torch.no_grad():
            logits = agent.engine.model(inputs_embeds=torch.cat([prompt, table[list(rest)]])[None]).logits[0]
        for place, label in enumerate(example.labels[first:]):
            if label != -100:
                total -= logits[len(prompt) + place - 1].log_softmax(-1)[label].item()
                count += 1
    assert steps[-1]["validation_loss"] == pytest.approx(total / count, rel=2e-3)


def test_what_does_not_go_together_is_refused(config):
    for changes in ({"corpus": "conversations"}, {"message": "base", "corpus": "conversations", "episodes": None}):
        with pytest.raises(InputError, match="conversations has no games"):
            dataclasses.replace(config, **changes)
    with pytest.raises(InputError, match=r"conversations\.data"):
        TrainActor("out", corpus="conversations", tokenizer="tokenizer")


def test_a_receiver_of_another_family_width_and_tokenizer_reads_the_scout(pipeline, config, tmp_path):
    """A Llama with its own tokens; the adapter begins with the map from the Qwen2 scout's states to its words."""
    texts = texts_of(read_episodes(pipeline.episodes))
    train_tokenizer(texts, 700, ("<bop>", "<eop>"), "llama").save_pretrained(tmp_path / "tokenizer")
    shape = SmallModel("llama", hidden_size=24, layers=1, heads=2, intermediate_size=16)
    llama = dataclasses.replace(
        config, tokenizer=str(tmp_path / "tokenizer"), model=shape, sender=str(pipeline.scout), validation_share=0.5
    )
    steps = [metrics for _, metrics in train_actor(llama)]
    assert all(math.isfinite(metrics["loss"]) for metrics in steps)
    agent = interlat.load(f"{llama.output}/model", dtype="float32")
    assert agent.engine.model.config.model_type == "llama"
    assert (agent.adapter.config.source_size, agent.adapter.config.target_size) == (16, 24)
    thoughts = LatentStore.open(pipeline.thoughts)
    rows = agent.read_many([thoughts.message(thoughts.ids[0])])[0]
    assert rows.shape == (thoughts.length(thoughts.ids[0]), 24) and rows.isfinite().all()
    game = next(record for record in read_episodes(pipeline.episodes) if record["episodes"])
    assert isinstance(agent.reply(game["opening"], message=thoughts.message(thoughts.ids[0])), str)


SPOON = "The spoon is on the table."


@pytest.mark.parametrize(("name", "date"), [("r1", None), ("gpt-oss", "2026-11-28")])
def test_what_is_learned_is_said_whatever_the_generation_prompt_ends_with(name, date, build_model, tmp_path):
    """Where the generation prompt opens a thought, prompts of training and of play differed: the loss fell, and the
    actor said "'he spoon is on the table.'"."""
    tokenizer = FORMS[name].tokenizer()
    build_model("qwen2", vocab_size=400).save_pretrained(tmp_path / "start")
    tokenizer.save_pretrained(tmp_path / "start")
    rows = [{"id": f"r{n}", "question": f"Where is the spoon, {n}?", "solution": SPOON} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = TrainActor(
        str(tmp_path / "actor"),
        start=str(tmp_path / "start"),
        corpus="conversations",
        conversations=ConversationOptions(data=str(tmp_path / "rows.jsonl"), kind="records"),
        template=TemplateOptions(date=date),
        schedule=Schedule(steps=45, batch_size=8, learning_rate=1e-2, warmup_steps=3, eval_every=45),
    )
    *_, (_, metrics) = train_actor(config)
    assert metrics["validation_loss"] < 0.05
    agent = interlat.load(tmp_path / "actor" / "model")
    assert agent.settings.template == TemplateOptions(date=date)
    memory = agent.engine.prefill([agent.prompt(rows[3]["question"])])
    reply = agent.engine.decode(memory, Sampling(max_new_tokens=40)).token_ids[0]
    assert tokenizer.decode(reply) == FORMS[name].reply(SPOON).removesuffix(tokenizer.eos_token)
    assert "2026-11-28" in tokenizer.decode(prompt_ids(agent, rows[3])) or date is None


def prompt_ids(agent, row):
    return [token for part in tokenize(agent.prompt(row["question"]), agent.engine.tokenizer) for token in part.ids]


def test_a_loss_of_another_package_trains(config, tmp_path):
    class Longer(Loss):
        """Wants the mean latent to be long."""

        def samples(self, replies):
            return torch.stack([replies.adapter(rows[None]).norm().reciprocal() for rows in replies.sent])

    if "longer" not in LOSSES:
        LOSSES.add("longer", Longer)
    config = dataclasses.replace(config, losses=BranchWeights(more={"longer": 0.5}), none_share=0.0)
    steps = list(train_actor(dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, steps=2))))
    assert len(steps) == 2 and all(metrics["longer"] > 0 for _, metrics in steps)
    for _, metrics in steps:
        assert metrics["loss"] == pytest.approx(metrics["task"] + 0.5 * metrics["longer"], rel=1e-5)


def test_a_learning_rate_that_would_undo_the_alignment_is_named(pipeline, config, capsys):
    thoughts = StoredMessages([str(pipeline.thoughts)])
    receiver = Engine.load(str(pipeline.actors["text"]), dtype="float32")
    items, sender, tokenizer = thoughts.stores[0].ids, str(pipeline.scout), load_tokenizer(str(pipeline.actors["text"]))
    config = dataclasses.replace(config, sender=sender)
    for rate, named in ((1.0, True), (1e-7, False)):
        adapter = new_adapter(config, thoughts.manifest, receiver.model.config.hidden_size)
        begin_adapter(adapter, thoughts, items, receiver.model, tokenizer, sender, rate)
        said = capsys.readouterr().err
        assert (f"adapter_learning_rate is {rate:g}" in said) == named
    # The rate that the line names would not be named again.
    adapter = new_adapter(config, thoughts.manifest, receiver.model.config.hidden_size)
    begin_adapter(adapter, thoughts, items, receiver.model, tokenizer, sender, 1.0)
    suggested = float(capsys.readouterr().err.split("try ")[1])
    begin_adapter(adapter, thoughts, items, receiver.model, tokenizer, sender, suggested)
    assert not capsys.readouterr().err


def test_with_its_sender_the_adapter_begins_as_the_words_it_expected(pipeline, config):
    """Where the sender is sure of a word, the row that the receiver gets points to the embedding of that word."""
    thoughts = StoredMessages([str(pipeline.thoughts)])
    receiver = Engine.load(str(pipeline.actors["text"]), dtype="float32")
    items = thoughts.stores[0].ids
    config = dataclasses.replace(config, sender=str(pipeline.scout))
    adapter = new_adapter(config, thoughts.manifest, receiver.model.config.hidden_size).eval()
    tokenizer = load_tokenizer(str(pipeline.actors["text"]))
    begin_adapter(adapter, thoughts, items, receiver.model, tokenizer, str(pipeline.scout), 1e-5)
    rows = torch.cat([thoughts.states(item).float() for item in items])
    head = Engine.load(str(pipeline.scout), dtype="float32").model.get_output_embeddings()
    expected = head(rows).softmax(dim=-1).detach() @ receiver.model.get_input_embeddings().weight.detach()
    with torch.no_grad():
        begun = adapter(rows[None])[0]
    assert torch.cosine_similarity(begun, expected - expected.mean(dim=-1, keepdim=True), dim=-1).mean() > 0.8
    with pytest.raises(InputError, match="did not make these thoughts"):
        begin_adapter(adapter, thoughts, items, receiver.model, tokenizer, str(pipeline.actors["none"]), 1e-5)
