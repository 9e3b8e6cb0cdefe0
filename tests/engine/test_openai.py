import socket

import pytest

from interlat.engine import openai
from interlat.engine.openai import OpenAIEngine
from interlat.engine.sampling import Sampling
from interlat.engine.template import TemplateOptions
from interlat.errors import CheckpointError, InputError, MessageError, PromptError


def asked(text):
    return [{"role": "user", "content": text}]


def echo(request):
    text = request["messages"][-1]["content"]
    return text.upper(), "length" if text == "long" else "stop"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(openai, "RETRIES", 0)


def test_answers_come_in_the_order_of_the_conversations(chat_server):
    server = chat_server(echo=echo)
    engine = OpenAIEngine("echo", server.url)
    texts = [f"text {number}" for number in range(20)] + ["long"]
    answers = engine.answers([asked(text) for text in texts], Sampling(max_new_tokens=7))
    assert [answer.text for answer in answers] == [text.upper() for text in texts]
    assert [answer.stopped for answer in answers] == [True] * 20 + [False]
    assert (answers[0].prompt_tokens, answers[0].tokens) == (2, 2)
    assert engine.answers([], Sampling()) == []


def test_a_request_says_how_to_decode_and_no_more(chat_server, monkeypatch):
    server = chat_server(echo=echo)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    engine = OpenAIEngine("echo")
    engine.answers([asked("a")], Sampling(max_new_tokens=7), [2**40 + 5])
    engine.answers([asked("a")], Sampling(0.5, 0.9, 20, 7), [2**40 + 5])
    thinks = engine.with_template(TemplateOptions(enable_thinking=False, arguments={"depth": "2"}))
    thinks.answers([asked("a")], Sampling(max_new_tokens=7))
    greedy, sampled, templated = server.requests
    plain = {"model": "echo", "messages": asked("a"), "max_tokens": 7}
    assert greedy == {**plain, "temperature": 0}
    assert sampled == {**plain, "temperature": 0.5, "top_p": 0.9, "top_k": 20, "seed": 5}
    assert templated == {**greedy, "chat_template_kwargs": {"depth": 2, "enable_thinking": False}}
    assert set(server.keys) == {"Bearer secret-key"}


@pytest.mark.parametrize(
    ("status", "said", "error", "expected"),
    [
        (401, "bad key", InputError, r"refused the key in OPENAI_API_KEY .*bad key"),
        (404, "gone", CheckpointError, r"does not know openai:echo .*gone"),
        (400, "maximum context length is 10 tokens", PromptError, r"openai:echo: .*context length.*shorten the prompt"),
        (400, "temperature is bad", InputError, r"refused a request .*temperature is bad.*correct the settings"),
        (503, "loading", InputError, r"did not answer .*loading.*what is done is kept"),
    ],
)
def test_what_a_server_refuses_is_one_line(chat_server, status, said, error, expected):
    engine = OpenAIEngine("echo", chat_server(echo=lambda _: (status, said)).url)
    with pytest.raises(error, match=expected) as found:
        engine.answers([asked("a")], Sampling())
    assert "\n" not in str(found.value)


def test_a_server_that_is_busy_is_asked_again(chat_server, monkeypatch):
    monkeypatch.setattr(openai, "RETRIES", 2)
    left = [(429, "slow down"), (500, "sorry")]
    server = chat_server(echo=lambda request: left.pop() if left else echo(request))
    (answer,) = OpenAIEngine("echo", server.url).answers([asked("a")], Sampling())
    assert answer.text == "A" and len(server.requests) == 3


def test_a_wrong_place_is_refused_before_anything_is_asked(chat_server):
    server = chat_server(echo=echo, other=echo)
    with pytest.raises(CheckpointError, match=r"has no model 'ehco': it has echo, other; give one of these"):
        OpenAIEngine("ehco", server.url)
    with pytest.raises(InputError, match="names no model"):
        OpenAIEngine("", server.url)
    with pytest.raises(InputError, match=r"give base_url .* or set OPENAI_API_KEY"):
        OpenAIEngine("echo")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(InputError, match=rf"127\.0\.0\.1:{port}/v1 did not answer .*start it or correct base_url"):
        OpenAIEngine("echo", f"http://127.0.0.1:{port}/v1")


def test_a_server_need_not_list_its_models(chat_server):
    server = chat_server(echo=echo)
    server.lists_models = False
    assert OpenAIEngine("echo", server.url).answers([asked("a")], Sampling())[0].text == "A"


@pytest.mark.parametrize(
    "use",
    [
        lambda engine: engine.prefill(["a"]),
        lambda engine: engine.prefill_hidden(["a"]),
        lambda engine: engine.decode(None),
        lambda engine: engine.think(None, 2, None),
        lambda engine: engine.stream([]),
        lambda engine: engine.embed(None),
        lambda engine: engine.logits(None),
        lambda engine: engine.input_embeddings,
        lambda engine: engine.tokenizer,
        lambda engine: engine.chat,
        lambda engine: engine.dtype,
        lambda engine: engine.layers,
    ],
)
def test_what_needs_the_model_itself_is_refused_by_name(chat_server, use):
    engine = OpenAIEngine("echo", chat_server(echo=echo).url)
    with pytest.raises(MessageError, match="openai:echo runs behind a server, which takes and gives words only"):
        use(engine)
