import dataclasses
import random

import pytest
import torch
from safetensors.torch import load_file

from interlat.agents.episodes import read_episodes
from interlat.align.adapter import CommunicationAdapter
from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_tokenizer
from interlat.engine.transformers import Engine
from interlat.errors import InputError
from interlat.files import read_lines
from interlat.train.actor import (
    TrainActor,
    _examples,
    _MessageSource,
    _start_model,
    _with_direct,
    believed_plan,
    train_actor,
)
from interlat.train.branches import BranchWeights
from interlat.train.curriculum import Curriculum
from interlat.train.examples import ids_of
from interlat.train.loop import Schedule
from interlat.train.model import SmallModel
from interlat.train.trained import LowRank


@pytest.fixture
def config(pipeline, tmp_path):
    return TrainActor(
        str(tmp_path / "actor"),
        str(pipeline.episodes),
        "latent",
        thoughts=(str(pipeline.thoughts),),
        tokenizer=str(pipeline.root / "tokenizer"),
        model=SmallModel(hidden_size=16, layers=1, heads=2, intermediate_size=16),
        schedule=Schedule(steps=3, batch_size=4, checkpoint_every=1, validate_every=3),
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


def test_the_adapter_knows_its_sender(pipeline):
    adapter = CommunicationAdapter.load(pipeline.actors["latent"])
    scout = Engine.load(str(pipeline.scout))
    assert adapter.config.sender_fingerprints == (scout.weights_fingerprint,)
    assert adapter.config.sender_tokenizer_fingerprint == scout.tokenizer_fingerprint


def test_with_its_sender_the_adapter_begins_as_the_words_it_expected(pipeline, config):
    """Where the sender is sure of a word, the row that the receiver gets points to the embedding of that word."""
    aligned = dataclasses.replace(config, start=str(pipeline.actors["text"]), sender=str(pipeline.scout))
    chat = ChatFormat(load_tokenizer(aligned.start))
    examples = _examples([r for r in read_episodes(pipeline.episodes) if r["episodes"]], chat, 1.0)
    source = _MessageSource(aligned, chat)
    receiver = _start_model(aligned, chat.tokenizer)
    adapter = source.make_adapter(receiver, [example for example, _, _ in examples]).eval()
    assert adapter.config.project_input
    rows = torch.cat([source.thoughts.states(example.item).float() for example, _, _ in examples])
    head = Engine.load(str(pipeline.scout), dtype="float32").model.get_output_embeddings()
    embeddings = receiver.get_input_embeddings().weight.detach()
    expected = head(rows).softmax(dim=-1).detach() @ embeddings
    with torch.no_grad():
        begun = adapter(rows[None])[0]
    assert torch.cosine_similarity(begun, expected - expected.mean(dim=-1, keepdim=True), dim=-1).mean() > 0.8
    with pytest.raises(InputError, match="did not make these thoughts"):
        _MessageSource(dataclasses.replace(aligned, sender=str(pipeline.actors["none"])), chat).make_adapter(
            receiver, [examples[0][0]]
        )


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


def test_believed_plans_follow_the_belief_and_not_the_truth(pipeline):
    """Over many draws the plan names the best place more often than its probability of being true."""
    best = drawn = 0
    for record in read_episodes(pipeline.episodes):
        for episode in record["episodes"]:
            for seed in range(20):
                plan = believed_plan(record, episode, random.Random(seed))
                best += f" at {episode['beliefs'][0]['places'][0]}." in plan
                drawn += 1
    assert 0.85 < best / drawn < 1


def test_direct_plans_name_the_true_places(pipeline):
    for record in read_episodes(pipeline.episodes):
        for episode in record["episodes"]:
            assert believed_plan(record, {**episode, "direct": True}, random.Random(0)) == episode["plan"]


@pytest.mark.parametrize("share, expected", [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_the_share_of_direct_episodes_is_the_one_asked_for(pipeline, config, share, expected):
    base = dataclasses.replace(config, message="base", thoughts=(), direct_share=share)
    chat = ChatFormat(load_tokenizer(base.tokenizer))
    records = [r for r in read_episodes(pipeline.episodes) if r["episodes"]]
    chosen = [bool(e.get("direct")) for _, _, e in _with_direct(_examples(records, chat, 1.0), base, chat)]
    assert sum(chosen) / len(chosen) == pytest.approx(expected, abs=0.05)


def test_without_direct_episodes_the_share_is_an_error(pipeline, config):
    base = dataclasses.replace(config, message="base", thoughts=(), direct_share=0.5)
    chat = ChatFormat(load_tokenizer(base.tokenizer))
    record = next(r for r in read_episodes(pipeline.episodes) if r["episodes"])
    stumbled = {**record["episodes"][0], "turns": [["go to shelf 1", "Nothing happens.", False]]}
    with pytest.raises(InputError, match="direct_share"):
        _with_direct(_examples([{**record, "episodes": [stumbled]}], chat, 1.0), base, chat)


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
        losses=BranchWeights(separation=0.5, alignment=0.1, adaptive=True),
        curriculum=Curriculum("uniform"),
        none_share=0.0,
        prefix_share=0.0,
    )
    steps = [metrics for _, metrics in train_actor(whole)]
    assert all({"task", "separation", "alignment"} <= metrics.keys() for metrics in steps)
    killed = dataclasses.replace(whole, output=str(tmp_path / "killed"))
    for step, _ in train_actor(killed):
        if step == 2:
            break
    list(train_actor(killed))
    one, other = (CommunicationAdapter.load(f"{c.output}/model").state_dict() for c in (whole, killed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_curriculum_ends_with_whole_messages(pipeline, config):
    mixed = dataclasses.replace(
        config, losses=BranchWeights(alignment=0.1), curriculum=Curriculum("uniform"), prefix_share=0.0, none_share=0.0
    )
    chat = ChatFormat(load_tokenizer(mixed.tokenizer))
    source = _MessageSource(mixed, chat)
    examples = _examples([r for r in read_episodes(pipeline.episodes) if r["episodes"]], chat, 1.0)
    for progress, whole in ((0.0, False), (0.9, True)):
        rng = random.Random(0)
        branches = [source.branch(*chosen, rng, progress) for chosen in examples]
        assert all(b.own.taken == len(b.own.rows) and not b.own.words for b in branches) == whole
        assert all(b.plan == ids_of(source.thoughts.text(b.example.item, rng), chat) for b in branches)


@pytest.mark.parametrize("field, value", [("losses", BranchWeights(0.1)), ("curriculum", Curriculum("linear"))])
def test_latent_losses_are_refused_for_words(config, field, value):
    with pytest.raises(InputError, match="latent"):
        dataclasses.replace(config, message="text", **{field: value})


@pytest.mark.parametrize("trained", ["low_rank", "adapter"])
def test_only_what_is_trained_changes_and_a_killed_run_continues(pipeline, config, tmp_path, trained):
    """The base is a trained text actor; what is frozen comes out as it went in, bit for bit."""
    start = str(pipeline.actors["text"])
    settings = dataclasses.replace(config, start=start, trained=trained, low_rank=LowRank(rank=2))
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
    assert bool(changed) == (trained == "low_rank") and all("proj" in name for name in changed)
    adapters = [CommunicationAdapter.load(f"{c.output}/model").state_dict() for c in (settings, killed)]
    assert all(torch.equal(adapters[0][name], adapters[1][name]) for name in adapters[0])


def test_an_adapter_alone_needs_latent_messages(config):
    with pytest.raises(InputError, match="adapter"):
        dataclasses.replace(config, message="text", trained="adapter")


def test_bfloat16_is_near_float32_and_leaves_float32_weights(config, tmp_path):
    half = dataclasses.replace(config, precision="bfloat16", output=str(tmp_path / "half"))
    losses = [[m["loss"] for _, m in train_actor(c)] for c in (config, half)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02) and losses[0] != losses[1]
    stored = load_file(tmp_path / "half" / "checkpoint.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
