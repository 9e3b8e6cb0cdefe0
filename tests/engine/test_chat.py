import pytest
import torch

from chat_templates import FORMS, SPECIALS
from interlat.engine.chat import ChatFormat
from interlat.engine.prompt import Latents, Text, Tokens, tokenize
from interlat.errors import PromptError
from model_fixtures import tiny_tokenizer

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


def form(name):
    return ChatFormat(FORMS[name].tokenizer(), FORMS[name].options)


TALK = [("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]


@pytest.mark.parametrize("name", [name for name in FORMS if FORMS[name].alone])
def test_a_continuation_needs_no_conversation_where_all_turns_are_written_alike(name):
    chat = form(name)
    assert chat.continuation("hello") == [Text(FORMS[name].between("hello"))]
    talk = TALK if not FORMS[name].with_system else TALK[1:]
    assert chat.continuation("hello", talk) == chat.continuation("hello")
    assert chat.continuation("hello", talk[:-2]) == chat.continuation("hello")


def test_a_template_that_counts_turns_needs_the_conversation():
    chat = form("counted")
    with pytest.raises(PromptError, match="writes later turns of a conversation in another way"):
        chat.continuation("hello")
    assert chat.continuation("hello", TALK) == [
        Text("<|im_end|>\n<|im_start|>user 6\nhello<|im_end|>\n<|im_start|>assistant 7\n")
    ]


def test_a_system_turn_that_moves_cannot_be_played_on():
    chat = form("mistral")
    assert chat.opening([("system", "S"), ("user", "a")]) == [Text("<bos>[INST] S\n\na[/INST]")]
    with pytest.raises(PromptError, match="writes a conversation anew"):
        chat.continuation("c", TALK[:3])


def test_a_template_that_changes_earlier_turns_cannot_be_played_on():
    source = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{{ m.content if loop.index > loop.length - 3 else '...' }}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    chat = ChatFormat(tiny_tokenizer(SPECIALS, 340, chat_template=source, eos_token="<|im_end|>"))
    chat.continuation("c", TALK[1:3])
    with pytest.raises(PromptError, match="writes a conversation anew"):
        chat.continuation("e", TALK[1:])


def test_a_continuation_keeps_what_the_user_writes_where_the_template_ends_no_turn():
    source = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    chat = ChatFormat(tiny_tokenizer(SPECIALS, 340, chat_template=source, eos_token="<eos>"))
    parts = chat.continuation("stop at <eos> please")
    assert "".join(part.text for part in parts) == "\nuser: stop at <eos> please\nassistant: "
    assert chat.end_of_turn is None
    with pytest.raises(PromptError, match="no special token behind"):
        _ = chat.stop


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("r1", "\n</think>\n\n"),
        ("qwq", "\n</think>\n\n"),
        ("qwen3.5", "\n</think>\n\n"),
        ("nemotron3", "\n</think>\n\n"),
        ("deepseek v3.1 thinking", "</think>"),
        ("qwen3.5 quiet", ""),
        ("qwen3", ""),
        ("gpt-oss", ""),
        ("llama2", ""),
    ],
)
def test_the_end_of_a_thought_that_the_prompt_opens(name, end):
    assert form(name).end_of_thought == end
