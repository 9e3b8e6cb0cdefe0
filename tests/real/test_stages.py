"""Every stage once on a real model, small: collect, train, compress, evaluate, teams."""

import dataclasses
import itertools

import pytest
import torch

import interlat
from interlat.agents.sources import PromptOptions
from interlat.collect.thoughts import CollectThoughts, collect_thoughts
from interlat.engine.sampling import Sampling
from interlat.errors import MessageError
from interlat.evaluation.evaluate import evaluate
from interlat.evaluation.settings import Evaluate
from interlat.messages import TextMessage
from interlat.store.reading import LatentStore
from interlat.store.verify import verify
from interlat.tasks.sources import PLAN_REQUEST, TaskSource
from interlat.training.actor import TrainActor, train_actor
from interlat.training.compression import Compress, compress
from interlat.training.conversations import ConversationOptions
from interlat.training.loop import Schedule
from interlat.training.options import Lora
from real.conftest import QUESTIONS

LORA = Lora(rank=4, targets=("q_proj", "v_proj"))
COMMON = {"corpus": "conversations", "conversations": ConversationOptions(), "validation_share": 0.25}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def collection(place, questions, folder):
    return CollectThoughts(
        place,
        TaskSource("records", questions),
        str(folder / "store"),
        prompt=PromptOptions(template=PLAN_REQUEST),
        sampling=Sampling(max_new_tokens=12),
        batch_size=3,
        dtype="float32",
        device="cpu",
    )


@pytest.fixture(scope="module")
def store(collection):
    """Collected in two runs: the first one ends after some thoughts."""
    for progress in itertools.islice(collect_thoughts(collection), 3):
        done = progress.done
    assert 0 < done < len(QUESTIONS) and LatentStore.open(collection.output).unfinished
    assert next(iter(collect_thoughts(collection))).done >= done
    list(collect_thoughts(collection))
    return LatentStore.open(collection.output)


@pytest.fixture(scope="module")
def training(place, store, folder):
    return TrainActor(
        str(folder / "actor"),
        message="latent",
        thoughts=(str(store.directory),),
        start=place,
        finetune="lora",
        lora=LORA,
        schedule=Schedule(
            steps=6, batch_size=6, warmup_steps=1, learning_rate=1e-3, adapter_learning_rate=1e-3, eval_every=6
        ),
        none_share=0.0,
        prefix_share=0.0,
        adapter_dropout=0.0,
        device="cpu",
        **COMMON,
    )


@pytest.fixture(scope="module")
def trained(training):
    """The folder of the finished actor, and the losses of its training."""
    losses = [metrics["loss"] for _, metrics in train_actor(training)]
    return f"{training.output}/model", losses


@pytest.fixture(scope="module")
def receiver(trained):
    return interlat.load(trained[0], dtype="float32", device="cpu")


def test_a_store_has_what_the_front_door_writes(scout, store):
    assert store.ids == [f"q{n}" for n in range(len(QUESTIONS))] and not store.unfinished
    for number in (0, 5):
        thought = store[number]
        alone = scout.write(thought.entry.task, max_new_tokens=12)
        assert tuple(thought.entry.token_ids) == alone.token_ids and thought.entry.plan == alone.text
        torch.testing.assert_close(thought.hidden_states, alone.hidden_states, rtol=1e-3, atol=1e-3)


def test_low_rank_training_lowers_the_loss_and_changes_what_it_should(scout, training, trained, receiver):
    losses = trained[1]
    assert losses == pytest.approx([5.391, 3.894, 2.512, 2.002, 1.686, 1.286], rel=0.02)
    before, after = scout.engine.model.state_dict(), receiver.engine.model.state_dict()
    rows = len(before["model.embed_tokens.weight"])
    changed = {name for name in before if not torch.equal(before[name], after[name][:rows])}
    assert len(changed) == 2 * 30 and all(name.rpartition(".")[0].endswith(LORA.targets) for name in changed)


def test_the_trained_actor_reads_the_message(scout, receiver, store):
    """The reply is that of a plain loop over the prompt with the adapter's rows in the place of the message."""
    message, question = store.message("q1"), QUESTIONS[1][0]
    reply = receiver.reply(question, message, max_new_tokens=10)
    assert reply != receiver.reply(question, max_new_tokens=10)
    engine = receiver.engine
    table, tokenizer = engine.model.get_input_embeddings(), engine.tokenizer
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": f"{question}\n<bop><eop>"}], add_generation_prompt=True, tokenize=False
    )
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    cut = ids.index(tokenizer.convert_tokens_to_ids("<bop>")) + 1
    written = []
    with torch.no_grad():
        rows = receiver.adapter(message.hidden_states[None])[0]
        inputs = torch.cat([table(torch.tensor(ids[:cut])), rows, table(torch.tensor(ids[cut:]))])[None]
        while len(written) < 10:
            token = int(engine.model(inputs_embeds=inputs, use_cache=False).logits[0, -1].argmax())
            if token in engine.stop_ids:
                break
            written.append(token)
            inputs = torch.cat([inputs, table(torch.tensor([[token]]))], dim=1)
    assert reply == tokenizer.decode(written, skip_special_tokens=True)


def test_compression_lowers_the_loss_and_its_sender_thinks(place, trained, receiver, store, folder):
    config = Compress(
        trained[0],
        str(store.directory),
        str(folder / "short"),
        sender=place,
        finetune="lora",
        lora=LORA,
        latent_steps=(2,),
        schedule=Schedule(
            steps=4, batch_size=6, warmup_steps=1, learning_rate=1e-3, adapter_learning_rate=1e-3, eval_every=4
        ),
        device="cpu",
        **COMMON,
    )
    losses = [metrics["loss"] for _, metrics in compress(config)]
    assert losses[0] == pytest.approx(2.3585, rel=0.02)
    assert losses[-1] < losses[0]
    short = interlat.load(f"{config.output}/model", dtype="float32", device="cpu")
    message = short.think(QUESTIONS[1][0])
    assert message.hidden_states.shape == (2, 576)
    assert receiver.reply(QUESTIONS[1][0], message, max_new_tokens=4)


def evaluation(place, questions, output, **changes):
    return Evaluate(
        sender=place,
        environment="records",
        data=(questions,),
        output=str(output),
        limit=4,
        max_plan_tokens=10,
        max_new_tokens=10,
        dtype="float32",
        device="cpu",
        message_dtype="float32",
        **changes,
    )


def replies(results):
    return {(line["variant"], line["item"]): line["turns"][0]["action"] for line in results.records}


def test_an_evaluation_of_text_and_hidden_states_is_what_the_agents_say(
    scout, receiver, place, trained, questions, folder
):
    config = evaluation(
        place, questions, folder / "pair", receiver=trained[0], channels=("none", "text", "hidden", "thought:3")
    )
    results = evaluate(config)
    found = replies(results)
    assert len(found) == 16 and not any(line["failure"] for line in results.records)
    asked = {f"q{n}": text for n, (text, _) in enumerate(QUESTIONS)}
    item = next(line["item"] for line in results.records)
    plan = scout.write(asked[item], max_new_tokens=10)
    for name, message in {
        "none": None,
        "text": TextMessage(plan.text),
        "hidden": plan,
        "thought:3": scout.think(asked[item], 3),
    }.items():
        assert found[name, item] == receiver.reply(asked[item], message, max_new_tokens=10), name


def test_an_evaluation_of_caches_is_what_the_agents_say(scout, place, questions, folder):
    results = evaluate(evaluation(place, questions, folder / "one", channels=("none", "cache", "cache:3"), ask="text"))
    found = replies(results)
    assert len(found) == 12 and not any(line["failure"] for line in results.records)
    assert len({found[name, results.records[0]["item"]] for name in ("none", "cache", "cache:3")}) > 1


def test_its_store_is_whole(store):
    assert not [verdict for verdict in verify(store) if verdict.problem]


def test_an_adapter_of_another_model_is_refused(receiver, store):
    other = dataclasses.replace(store.message("q0").header, weights_fingerprint="0" * 64)
    with pytest.raises(MessageError, match="weights"):
        receiver.check(other)
