"""The preference loss against float64 arithmetic, scores against single rows, and a training from end to end."""

import dataclasses
import json
import math

import pytest
import torch

from interlat.agents.loading import load
from interlat.connectors.adapter import CommunicationAdapter
from interlat.errors import CheckpointError, InputError
from interlat.files import append_line, read_lines
from interlat.store.reading import LatentStore
from interlat.training import fused_losses
from interlat.training.low_rank import updates_of
from interlat.training.objective import ActorObjective
from interlat.training.options import Lora, Schedule
from interlat.training.preference import (
    Preference,
    _start,
    load_preferences,
    pairs_of_step,
    preference_losses,
    score_trajectories,
    train_preference,
)
from interlat.training.settings import TrainPreference
from interlat.training.trajectories import TRAJECTORIES_FILE, Trajectory


@pytest.fixture(scope="module")
def trajectories(pipeline, tmp_path_factory):
    """With every thought two won trajectories (the expert's, and one that begins in vain) and one that goes nowhere."""
    folder = tmp_path_factory.mktemp("trajectories")
    store = LatentStore.open(pipeline.thoughts)
    for thought in store.ids:
        metadata = store.entry(thought).metadata
        turns = tuple((command, answer) for command, answer, _ in metadata["episode"]["turns"])
        nothing = ("look", "Nothing happens.")
        for attempt, (done, won) in enumerate([(turns, True), ((nothing, *turns), True), ((nothing,) * 4, False)]):
            one = Trajectory(
                thought, attempt, metadata["record"]["item"], won, len(done), 20, done, attempt, "a",
                store.manifest.fingerprint, {},
            )  # fmt: skip
            append_line(folder / TRAJECTORIES_FILE, one.record)
    return folder


@pytest.fixture
def config(pipeline, trajectories, tmp_path):
    return TrainPreference(
        str(pipeline.actors["latent"]),
        str(pipeline.thoughts),
        str(trajectories),
        str(tmp_path / "preference"),
        validation_share=0.3,
        schedule=Schedule(
            steps=4, batch_size=4, learning_rate=1e-3, adapter_learning_rate=1e-3, warmup_steps=1, checkpoint_every=1,
            eval_every=2, load_best_at_end=True,
        ),
        device="cpu",
    )  # fmt: skip


def preference(config):
    agent = load(config.start, dtype="float32", device="cpu")
    agent.engine.model.requires_grad_(True)
    adapter = agent.adapter if agent.settings.message_kind == "hidden" else None
    data = load_preferences(config)
    objective = ActorObjective(agent.engine.model, adapter)
    store = LatentStore.open(config.thoughts)
    return Preference(config, agent, objective, store, [*data.training, *data.validation]), data.training


def slow_score(agent, one, store, message):
    """(sum of log-probabilities, tokens) of one trajectory, in float64, written as a conversation from scratch."""
    tokenizer, model = agent.engine.tokenizer, agent.engine.model

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    record = store.entry(one.id).metadata["record"]
    blocks = [block for block in record["opening"].split("\n\n") if block.strip() and not block.startswith("-=")]
    user = "\n".join(blocks)
    head = f"<|im_start|>user\n{user}\n<bop>"
    table = model.get_input_embeddings().weight
    pieces, own = [table[ids(head)]], [0] * len(ids(head))
    if isinstance(message, torch.Tensor):
        pieces.append(agent.adapter(message[None].float())[0])
    elif message:
        pieces.append(table[ids(message)])
    own += [0] * sum(len(piece) for piece in pieces[1:])
    targets = list(own)
    talk = [("<eop><|im_end|>\n<|im_start|>assistant\n", False)]
    for number, (command, answer) in enumerate(one.turns):
        talk.append((f"{command}<|im_end|>", True))
        if number + 1 < len(one.turns):
            talk.append((f"\n<|im_start|>user\n{answer}<|im_end|>\n<|im_start|>assistant\n", False))
    for text, spoken in talk:
        pieces.append(table[ids(text)])
        targets += ids(text)
        own += [int(spoken)] * len(ids(text))
    with torch.no_grad():
        logits = model(inputs_embeds=torch.cat(pieces)[None]).logits[0].double()
    chances = logits.log_softmax(-1)
    said = [place for place, mine in enumerate(own) if mine]
    return sum(chances[place - 1, targets[place]].item() for place in said), len(said)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 5


@pytest.mark.parametrize("beta", [0.1, 0.5, 3.0])
def test_the_loss_is_that_of_the_paper(beta):
    policy, reference = numbers(50, 2) - 20, numbers(50, 2, seed=1) - 20
    losses = preference_losses(policy, reference, beta)
    for row in range(50):
        (w, l), (rw, rl) = policy[row].tolist(), reference[row].tolist()  # noqa: E741
        margin = beta * ((w - rw) - (l - rl))
        assert losses.margin[row].item() == pytest.approx(margin, abs=1e-6)
        assert losses.loss[row].item() == pytest.approx(-math.log(1 / (1 + math.exp(-margin))), abs=1e-6)


def test_the_loss_survives_large_margins():
    policy = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    losses = preference_losses(policy, torch.zeros(2, 2), 1.0)
    losses.loss.sum().backward()
    assert losses.loss.tolist() == [0.0, 2e4] and policy.grad.tolist() == [[0.0, 0.0], [-1.0, 1.0]]


def test_gradients_are_exact_and_raise_the_won_one():
    policy, reference = numbers(6, 2).requires_grad_(), numbers(6, 2, seed=1)
    assert torch.autograd.gradcheck(lambda p: preference_losses(p, reference, 0.3).loss, policy)
    preference_losses(policy, reference, 0.3).loss.sum().backward()
    assert (policy.grad[:, 0] < 0).all() and (policy.grad[:, 1] > 0).all()


def test_a_policy_that_is_the_reference_loses_ln_2():
    policy = numbers(5, 2)
    losses = preference_losses(policy, policy, 0.7)
    assert torch.allclose(losses.loss, torch.tensor(math.log(2), dtype=torch.float64)) and not losses.margin.any()


@pytest.mark.parametrize("kind", ["none", "text", "latent"])
@pytest.mark.parametrize("chunk", [2**24, 4000])
def test_scores_of_a_batch_are_those_of_single_conversations(pipeline, config, kind, chunk, monkeypatch):
    monkeypatch.setattr(fused_losses, "CHUNK_LOGITS", chunk)
    config = dataclasses.replace(config, start=str(pipeline.actors[kind]))
    scorer, pairs = preference(config)
    store = LatentStore.open(config.thoughts)
    chosen = [one for pair in pairs[:4] for one in pair.both]
    messages = [scorer._message(one.id) for one in chosen]
    with torch.no_grad():
        scores = score_trajectories(scorer.objective, [scorer.examples[one.key] for one in chosen], messages)
    plain = {"none": lambda t: None, "text": lambda t: store.entry(t).plan, "latent": store.hidden_states}[kind]
    for row, one in enumerate(chosen):
        expected, tokens = slow_score(scorer.agent, one, store, plain(one.id))
        assert scores.tokens[row] == tokens
        assert scores.log_probabilities[row].item() == pytest.approx(expected, abs=2e-4)
        assert scorer.reference[one.key] == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_step_is_the_mean_of_its_pairs_however_it_is_cut(config, normalised, weight):
    config = dataclasses.replace(config, beta=2.0, length_normalised=normalised, imitation_weight=weight)
    scorer, pairs = preference(config)
    pairs = pairs[:5]
    for key in scorer.reference:
        # Another reference than the policy, so that margins are not 0.
        scorer.reference[key] += (key[1] - 1) * (0.05 if normalised else 1.0)
    expected = []
    for pair in pairs:
        ratios = []
        for one in pair.both:
            total, tokens = slow_score(scorer.agent, one, scorer.store, scorer.store.hidden_states(one.id))
            ratios.append(total / (tokens if normalised else 1) - scorer.reference[one.key])
            if one is pair.won:
                imitation = -total / tokens
        expected.append(math.log1p(math.exp(-2 * (ratios[0] - ratios[1]))) + weight * imitation)
    whole, logged = scorer.share(pairs, len(pairs))
    assert whole.item() == pytest.approx(sum(expected) / len(pairs), abs=1e-4)
    parts = [scorer.share(part, len(pairs)) for part in (pairs[:2], pairs[2:])]
    assert sum(loss.item() for loss, _ in parts) == pytest.approx(whole.item(), abs=1e-5)
    for name, value in logged.items():
        assert sum(one[name].item() for _, one in parts) == pytest.approx(value.item(), abs=1e-4)


def test_one_step_along_the_gradient_raises_every_margin(config):
    scorer, pairs = preference(config)
    loss, before = scorer.share(pairs[:4], 4)
    assert loss.item() == pytest.approx(math.log(2), abs=1e-5) and before["margin"].abs() < 1e-4
    loss.backward()
    parameters = list(scorer.objective.parameters())
    assert all(p.grad is not None for p in scorer.objective.adapter.parameters()), "the adapter learns along"
    with torch.no_grad():
        for parameter in parameters:
            parameter -= 0.05 * parameter.grad
    lower, after = scorer.share(pairs[:4], 4)
    assert lower < loss and after["margin"] > 0 and after["accuracy"] == 1


def test_there_is_no_dropout(config):
    """The training loop puts all parts into training mode, and the adapter of the fixture has dropout."""
    scorer, pairs = preference(config)
    assert scorer.objective.adapter.config.dropout > 0
    scorer.objective.train()
    losses = [scorer.share(pairs[:3], 3)[0].item() for _ in range(3)]
    assert len(set(losses)) == 1 and losses[0] == pytest.approx(math.log(2), abs=1e-5)


def run(config):
    return [metrics for _, metrics in train_preference(config)]


def parameters(folder):
    agent = load(folder, dtype="float32", device="cpu")
    return {**agent.engine.model.state_dict(), **(agent.adapter.state_dict() if agent.adapter else {})}


@pytest.mark.parametrize("trained", ["full", "lora", "adapter"])
def test_a_killed_training_continues_to_the_same_actor(config, tmp_path, trained):
    """Only what is trained changes, the first step begins at ln 2, and a second life has the reference of the first."""
    config = dataclasses.replace(config, finetune=trained, lora=Lora(rank=2))
    metrics = run(config)
    assert metrics[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    killed = dataclasses.replace(config, output=str(tmp_path / "killed"))
    for step, _ in train_preference(killed):
        if step == 3:
            break
    run(killed)
    whole, again, start = (parameters(p) for p in (f"{config.output}/model", f"{killed.output}/model", config.start))
    assert whole.keys() == start.keys() and all(torch.equal(whole[name], again[name]) for name in whole)
    lines = [[{**line, "seconds": 0} for line in read_lines(f"{c.output}/metrics.jsonl")] for c in (config, killed)]
    assert lines[0] == lines[1]
    adapter = CommunicationAdapter.load(config.start).state_dict()
    changed = {name for name in whole if not torch.equal(whole[name], start[name])}
    assert changed & adapter.keys()
    assert bool(changed - adapter.keys()) == (trained != "adapter")
    assert trained != "lora" or all("proj" in name for name in changed - adapter.keys())


def test_the_finished_actor_is_the_best_one_as_an_actor_is_written(config, tmp_path):
    metrics = run(config)
    validated = {step: one["validation_loss"] for step, one in enumerate(metrics, 1) if "validation_loss" in one}
    assert sorted(validated) == [2, 4] and validated[4] < validated[2] < math.log(2)
    assert {"validation_accuracy", "validation_margin", "validation_won_log_ratio"} <= metrics[-1].keys()
    start, finished = (load(path, dtype="float32", device="cpu") for path in (config.start, f"{config.output}/model"))
    assert "interlat train preference" in (tmp_path / "preference" / "model" / "README.md").read_text()
    assert finished.settings == start.settings and finished.adapter.config == start.adapter.config
    rescored, _ = preference(dataclasses.replace(config, start=f"{config.output}/model"))
    first, _ = preference(config)
    pairs = load_preferences(config).validation
    rescored.reference = first.reference
    with torch.no_grad():
        loss = rescored.share(pairs, len(pairs))[0].item()
    assert loss == pytest.approx(validated[4], abs=1e-5), "nothing is rounded away"


@pytest.mark.parametrize("kind", ["none", "text"])
def test_actors_that_read_words_or_nothing_learn_too(pipeline, config, kind, tmp_path):
    config = dataclasses.replace(config, start=str(pipeline.actors[kind]))
    metrics = run(config)
    assert metrics[-1]["loss"] < metrics[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert load(f"{config.output}/model").adapter is None
    with pytest.raises(InputError, match="no adapter can learn"):
        run(dataclasses.replace(config, finetune="adapter", output=str(tmp_path / "other")))


def test_a_step_in_several_passes_is_the_same_step(config, tmp_path):
    schedule = dataclasses.replace(config.schedule, micro_batch_size=3)
    several = dataclasses.replace(config, schedule=schedule, output=str(tmp_path / "several"))
    one, other = run(config), run(several)
    for name in ("loss", "margin", "gradient_norm"):
        assert [m[name] for m in one] == pytest.approx([m[name] for m in other], abs=1e-4)


def test_every_pair_comes_once_an_epoch(config):
    pairs = load_preferences(config).training
    size = 4
    steps = [pairs_of_step(pairs, step, size, 0) for step in range(len(pairs))]
    assert all(len(step) == size for step in steps)
    places = [place for step in steps for place in map(pairs.index, step)]
    epochs = [places[start : start + len(pairs)] for start in range(0, len(places), len(pairs))]
    assert len(epochs) == size and all(sorted(epoch) == list(range(len(pairs))) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == size


def test_what_does_not_go_together_is_refused(pipeline, config, tmp_path, monkeypatch):
    for field, value in (("beta", 0), ("imitation_weight", -1), ("pairs_per_thought", 0), ("validation_share", 1.0)):
        with pytest.raises(InputError, match=f"{field} is {value}"):
            dataclasses.replace(config, **{field: value})
    with pytest.raises(InputError, match="collect trajectories"):
        run(dataclasses.replace(config, trajectories=str(tmp_path)))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(InputError, match="torchrun"):
        run(config)


def test_an_actor_without_its_adapter_is_refused(pipeline, config, tmp_path):
    text = load(pipeline.actors["text"])
    folder = tmp_path / "broken"
    text.engine.model.save_pretrained(folder)
    text.engine.tokenizer.save_pretrained(folder)
    (folder / "agent.json").write_text(json.dumps({"message_kind": "hidden"}))
    with pytest.raises(CheckpointError, match="no adapter"):
        run(dataclasses.replace(config, start=str(folder)))


def test_bfloat16_is_near_float32_and_begins_at_the_reference_too(config, tmp_path):
    half = dataclasses.replace(config, precision="bfloat16", finetune="lora", output=str(tmp_path / "half"))
    losses = [[m["loss"] for m in run(dataclasses.replace(c, finetune="lora"))] for c in (config, half)]
    assert losses[1][0] == pytest.approx(math.log(2), abs=0.02)
    assert losses[0] == pytest.approx(losses[1], rel=0.05) and losses[0] != losses[1]


def test_preferences_are_written_as_an_adapter_and_learned_on_from_one(config, tmp_path):
    first = dataclasses.replace(config, finetune="lora", lora=Lora(rank=2), export="adapter")
    merged = dataclasses.replace(first, export="merged", output=str(tmp_path / "merged"))
    found, same = ([{**line, "seconds": 0} for line in run(one)] for one in (first, merged))
    assert found == same
    one, other = parameters(f"{first.output}/model"), parameters(f"{merged.output}/model")
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=1e-6, rtol=1e-6)
    engine = load(f"{first.output}/model", dtype="float32", device="cpu").engine
    agent, objective = _start(dataclasses.replace(first, start=f"{first.output}/model"))
    assert updates_of(objective.model) and agent.engine.weights_fingerprint == engine.weights_fingerprint
