import pytest
import torch

from interlat.engine.chat import ChatFormat
from interlat.engine.prompt import Latents, Text, Tokens, tokenize
from interlat.errors import PromptError

EXPECTED = {
    "chatml": (
        "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>\n<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>",
    ),
    "llama3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nmore<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
    ),
    "mistral": ("<s>[INST] hello [/INST]", "</s>[INST] more [/INST]", "</s>"),
}


@pytest.fixture(params=list(EXPECTED))
def name(request):
    return request.param


@pytest.fixture
def chat(name, make_tokenizer):
    return ChatFormat(make_tokenizer(name))


def test_opening_continuation_and_stop(chat, name):
    opening, continuation, end = EXPECTED[name]
    assert chat.opening([("user", "hello")]) == [Text(opening)]
    assert chat.continuation("more") == [Text(continuation)]
    assert chat.end_of_turn == chat.tokenizer.convert_tokens_to_ids(end)
    assert chat.stop_ids == {chat.end_of_turn}


def test_turn_by_turn_tokens_equal_the_whole_conversation(chat, name):
    reply = "go to drawer" if name != "mistral" else " go to drawer"
    parts = [*chat.opening([("user", "hello")]), Text(reply), *chat.continuation("more")]
    whole = chat.tokenizer.apply_chat_template(
        [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "go to drawer"},
            {"role": "user", "content": "more"},
        ],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=False,
    )
    reply_ids = Tokens(tuple(chat.tokenizer(reply, add_special_tokens=False)["input_ids"]))
    in_turns = tokenize([*chat.opening([("user", "hello")]), reply_ids, *chat.continuation("more")], chat.tokenizer)
    assert list(tokenize(parts, chat.tokenizer)[0].ids) == list(whole) == list(in_turns[0].ids)


def test_latents_survive_templating_at_their_place(chat, name):
    first, second = Latents(torch.randn(2, 4)), Latents(torch.randn(3, 4))
    parts = chat.opening([("user", [Text("plan: <bop>"), first, Text("<eop> and "), second])])
    opening = EXPECTED[name][0]
    head, tail = opening.split("hello")
    assert parts == [Text(head + "plan: <bop>"), first, Text("<eop> and "), second, Text(tail)]


def test_content_that_looks_like_a_marker_is_kept(chat):
    tokens = Tokens((1,))
    parts = chat.opening([("user", [Text("Qinsertq0x Qinsertqq1x "), tokens])])
    assert tokens in parts
    assert "Qinsertq0x Qinsertqq1x " in parts[0].text


def test_a_continuation_may_hold_latents(chat):
    latents = Latents(torch.randn(2, 4))
    parts = chat.continuation([Text("see <bop>"), latents, Text("<eop>")])
    assert parts[1] is latents and parts[0].text.endswith("see <bop>") and parts[2].text.startswith("<eop>")


def test_system_turn(make_tokenizer):
    parts = ChatFormat(make_tokenizer("chatml")).opening([("system", "be brief"), ("user", "hello")])
    assert parts[0].text.startswith("<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhello")


def test_a_refused_role_is_a_prompt_error(make_tokenizer):
    with pytest.raises(PromptError, match=r"refuses the turns .*only user and assistant"):
        ChatFormat(make_tokenizer("mistral")).opening([("system", "x"), ("user", "y")])


def test_options_reach_the_template(make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = "{{ messages[0].content }}{% if quiet %}!{% endif %}"
    assert ChatFormat(tokenizer, {"quiet": True}).opening([("user", "a")]) == [Text("a!")]


def test_a_template_that_drops_a_part_is_an_error(make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
    chat = ChatFormat(tokenizer)
    with pytest.raises(PromptError, match="drops, repeats or reorders"):
        chat.opening([("system", [Tokens((1,))]), ("user", "a")])
    with pytest.raises(PromptError, match="does not keep assistant turns"):
        chat.continuation("a")
    with pytest.raises(PromptError, match="does not keep assistant turns"):
        _ = chat.closing


def test_a_turn_that_ends_in_ordinary_text_stops_at_the_end_of_text_only(make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    chat = ChatFormat(tokenizer)
    assert chat.end_of_turn is None
    assert chat.stop_ids == {tokenizer.eos_token_id}


def test_no_template_and_no_turns_are_errors(make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    with pytest.raises(PromptError, match="at least one turn"):
        ChatFormat(tokenizer).opening([])
    tokenizer.chat_template = None
    with pytest.raises(PromptError, match="no chat template"):
        ChatFormat(tokenizer)
