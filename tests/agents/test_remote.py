import dataclasses
import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import interlat
from interlat.agents.remote import RemoteAgent
from interlat.engine.sampling import Sampling
from interlat.errors import InputError, MessageError
from interlat.evaluation.evaluate import evaluate, settings_hash
from interlat.evaluation.settings import Evaluate
from interlat.messages import TextMessage

QUESTIONS = [
    {"id": f"q{n}", "question": f"What is {n} + {n}?", "answer": str(2 * n), "told": f"n is {n}"} for n in range(5)
]


def counted(request):
    """Says how many turns it was given."""
    return f"<think>hm</think>answer {len(request['messages'])}", "stop"


@pytest.fixture
def agent(chat_server):
    server = chat_server(counts=counted)
    return interlat.load("openai:counts", base_url=server.url), server


def test_replies_have_read_the_words_and_leave_thoughts_out(agent):
    remote, server = agent
    told = dataclasses.replace(remote.settings, system_prompt="Be short.", prompt_template="Q: {text}")
    remote = dataclasses.replace(remote, settings=told)
    replies = remote.reply_many(["one", "two", "three"], [TextMessage("a hint"), None, None], batch_size=2)
    assert replies == ["answer 2"] * 3 and all(reply.stopped for reply in replies)
    assert remote.reply("four") == "answer 2"
    asked = {json.dumps(request["messages"]) for request in server.requests}
    system = {"role": "system", "content": "Be short."}
    contents = ("Q: one\na hint", "Q: two", "Q: three", "Q: four")
    assert asked == {json.dumps([system, {"role": "user", "content": content}]) for content in contents}
    with pytest.raises(InputError, match="1 messages for 2 texts"):
        remote.reply_many(["one", "two"], [None])


def test_a_thought_that_does_not_end_is_no_answer(chat_server):
    server = chat_server(thinks=lambda _: ("<think>hm", "length"))
    remote = interlat.load("openai:thinks", base_url=server.url)
    (reply,) = remote.reply_many(["one"])
    assert reply == "" and not reply.stopped
    with pytest.raises(MessageError, match="still thinking after 9 tokens"):
        remote.reply("one", max_new_tokens=9)


def test_a_conversation_goes_on_with_all_that_was_said(agent):
    remote, server = agent
    talk = remote.converse(["one", "two"], [None, TextMessage("hint")])
    first = talk.reply(Sampling())
    assert [(turn.text, turn.written, turn.stopped) for turn in first] == [
        ("answer 1", "<think>hm</think>answer 1", True)
    ] * 2
    talk.go_on([1], ["and now?"])
    assert talk.running == [1]
    (second,) = talk.reply(Sampling())
    # The server counts "two hint answer 1 and now?" in words; two of them are the model's own.
    assert (second.text, second.prompt_tokens, second.tokens) == ("answer 3", 4, 2)
    assert server.requests[-1]["messages"] == [
        {"role": "user", "content": "two\nhint"},
        {"role": "assistant", "content": "<think>hm</think>answer 1"},
        {"role": "user", "content": "and now?"},
    ]
    talk.go_on([], [])
    assert talk.running == [] and talk.reply(Sampling()) == []


def plain_server(chat_server, **folders):
    """A server whose answers are made by `generate` of transformers."""

    def answers(folder):
        tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).float()
        ends = interlat.load(folder, dtype="float32").engine.stop_ids

        def answer(request):
            ids = tokenizer.apply_chat_template(
                request["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
            )["input_ids"]
            with torch.no_grad():
                made = model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=request["max_tokens"],
                    do_sample=False,
                    eos_token_id=sorted(ends),
                    pad_token_id=0,
                )[0, ids.shape[1] :].tolist()
            stopped = bool(made) and made[-1] in ends
            return tokenizer.decode(made[:-1] if stopped else made, skip_special_tokens=True), (
                "stop" if stopped else "length"
            )

        return answer

    return chat_server(**{name: answers(folder) for name, folder in folders.items()})


@pytest.fixture(scope="module")
def model(save_model):
    """Without delimiters of messages, as real models are."""
    return str(save_model("plain", specials=["<|endoftext|>", "<|im_start|>", "<|im_end|>"]))


@pytest.fixture
def config(model, tmp_path):
    data = tmp_path / "questions.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    return Evaluate(
        sender=model,
        receiver=model,
        environment="records",
        data=(str(data),),
        output=str(tmp_path / "run"),
        channels=("none", "text"),
        controls=("cross_task",),
        max_plan_tokens=6,
        max_new_tokens=5,
        dtype="float32",
        batch_size=3,
    )


def test_an_evaluation_over_a_server_has_the_results_of_the_same_models_here(config, chat_server, tmp_path):
    here = evaluate(config).records
    server = plain_server(chat_server, model=config.sender)
    said = {"success", "score", "turns", "plan", "stopped", "variant", "item", "donor"}
    for number, (sender, receiver) in enumerate(
        [("openai:model", "openai:model"), (config.sender, "openai:model"), ("openai:model", config.receiver)]
    ):
        remote = dataclasses.replace(
            config, sender=sender, receiver=receiver, base_url=server.url, output=str(tmp_path / str(number))
        )
        there = evaluate(remote).records
        assert [{name: line.get(name) for name in said} for line in there] == [
            {name: line.get(name) for name in said} for line in here
        ]
        asked = len(server.requests)
        assert evaluate(remote).records == there and len(server.requests) == asked, "nothing is asked again"


def test_a_server_decides_a_result_and_its_absence_leaves_hashes_as_they_were(config):
    assert settings_hash(dataclasses.replace(config, base_url="")) == settings_hash(config)
    first, second = (
        dataclasses.replace(config, receiver="openai:m", base_url=url) for url in ("http://a/v1", "http://b/v1")
    )
    assert settings_hash(first) != settings_hash(second)
    with pytest.raises(InputError, match="neither sender nor receiver is behind a server"):
        dataclasses.replace(config, base_url="http://a/v1")


@pytest.mark.parametrize("channel", ["hidden", "thought:2", "cache", "cache:2", "embeddings"])
@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_channels_without_words_are_refused_by_name_before_anything_is_asked(config, chat_server, channel, side):
    server = chat_server(counts=counted)
    remote = dataclasses.replace(
        config, **{side: "openai:counts"}, base_url=server.url, channels=("text", channel), controls=()
    )
    kind = {"thought:2": "hidden", "embeddings": "hidden", "cache:2": "cache"}.get(channel, channel)
    named = f"the channel {channel}; use none and text" if side == "sender" else f"a message of the kind {kind}"
    with pytest.raises(MessageError, match=rf"openai:counts runs behind a server.*{named}"):
        evaluate(remote)
    assert server.requests == []


def test_a_written_plan_says_who_wrote_it(agent):
    remote, server = agent
    assert isinstance(remote, RemoteAgent)
    (made,) = remote.written(["a task"], Sampling(max_new_tokens=9), [0])
    assert made.message.header.model == "openai:counts" and made.message.header.kind == "text"
    assert server.requests[0]["messages"][0]["content"].startswith("a task\n")
    with pytest.raises(MessageError, match="takes and gives words only"):
        remote.write("a task")
    server.answers["counts"] = lambda _: ("  ", "stop")
    (made,) = remote.written(["a task"], Sampling(), [0])
    assert made.message is None and made.failure == "openai:counts wrote an empty plan"
