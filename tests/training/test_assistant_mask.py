"""Labels against conversations that are written out by hand, for templates that behave like the published ones."""

import functools
import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from chat_templates import FORMS, SPECIALS
from interlat.agents.agent import Agent
from interlat.agents.settings import AgentSettings
from interlat.engine.chat import ChatFormat
from interlat.engine.checkpoint import load_tokenizer
from interlat.engine.control_tokens import control_tokens
from interlat.engine.hf import Engine
from interlat.engine.prompt import Latents, Text, Tokens, prompt_length, token_ids_of, tokenize
from interlat.engine.template import TemplateOptions
from interlat.errors import PromptError
from interlat.experiments.household.checkpoints import bundled
from interlat.messages import TextMessage
from interlat.tasks.base import Task
from interlat.training.assistant_mask import supervised_conversation
from interlat.training.conversations import conversation_example
from interlat.training.examples import IGNORED, ids_of
from interlat.training.options import ConversationOptions
from model_fixtures import make_model

TEXTS = [
    "go to drawer 1",
    "the kettle is in the drawer",
    "a\n\n\nb\n\nc\nuser\nassistant\nsystem\n",
    "[INST] x [/INST] y",
]
WORDS = r"\s*[\r\n]+|\s+(?!\S)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"
MARKS = ["<s>", "</s>", "<bop>", "<eop>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
MARKS += ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


def byte_level(*, composed: bool, trimmed: bool) -> Tokenizer:
    """Like Qwen's (composed characters, whole offsets) or like Llama 3's (offsets without leading spaces)."""
    core = Tokenizer(models.BPE())
    if composed:
        core.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(WORDS), behavior="isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.post_processor = processors.ByteLevel(trim_offsets=trimmed)
    core.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=340, initial_alphabet=alphabet, show_progress=False))
    return core


def sentence_piece(*, legacy: bool) -> Tokenizer:
    """Like Llama 2's (a space before each section between special tokens) or Mistral's; bytes for other characters."""
    trained = Tokenizer(models.BPE())
    lines = pre_tokenizers.Split("\n", behavior="isolated")
    trained.pre_tokenizer = pre_tokenizers.Sequence([lines, pre_tokenizers.Metaspace(prepend_scheme="first")])
    trained.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=90, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    words = [*(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    merges = [tuple(merge) for merge in model["merges"]]
    core = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges, byte_fallback=True))
    if legacy:
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return core


TOKENIZERS = {
    "qwen": byte_level(composed=True, trimmed=False),
    "llama3": byte_level(composed=False, trimmed=True),
    "llama2": sentence_piece(legacy=True),
    "mistral": sentence_piece(legacy=False),
}

QWEN = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nDEFAULT<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN3 = (
    "{% set ns = namespace(asked=-1) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.asked = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% set said = m.content %}{% set thought = '' %}"
    "{% if m.role == 'assistant' and '</think>' in said %}"
    "{% set thought = said.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
    "{% set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.index0 > ns.asked and (loop.last or thought) %}"
    "{{ '<think>\n' + thought.strip('\n') + '\n</think>\n\n' + said.lstrip('\n') }}"
    "{% else %}{{ said }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
LLAMA2 = (
    "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}"
    "{% set lead = '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' %}"
    "{% else %}{% set rest = messages %}{% set lead = '' %}{% endif %}"
    "{% for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}"
    "{{ bos_token + '[INST] ' + ((lead if loop.first else '') + m.content).strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}"
    "{{ m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA31 = (
    "{{ bos_token + '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + date_string + '\n\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}{% set messages = messages[1:] %}{% endif %}"
    "{{ '<|eot_id|>' }}" + LLAMA3.removeprefix("{{ bos_token }}")
)
MISTRAL = (
    "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set lead = messages[0].content %}"
    "{% else %}{% set rest = messages %}{% endif %}{{ bos_token }}{% for m in rest %}{% if m.role == 'user' %}"
    "{% if loop.last and lead is defined %}{{ '[INST] ' + lead + '\n\n' + m.content + '[/INST]' }}"
    "{% else %}{{ '[INST] ' + m.content + '[/INST]' }}{% endif %}"
    "{% else %}{{ ' ' + m.content | trim + eos_token }}{% endif %}{% endfor %}"
)

Segments = list[tuple[str, bool]]
"""Consecutive texts of a conversation, and whether the model writes them."""


def qwen(turns: list[tuple[str, str]]) -> Segments:
    segments = [] if turns[0][0] == "system" else [("<|im_start|>system\nDEFAULT<|im_end|>\n", False)]
    for role, content in turns:
        segments += [(f"<|im_start|>{role}\n", False), (f"{content}<|im_end|>", role == "assistant"), ("\n", False)]
    return segments


def qwen3(turns: list[tuple[str, str]]) -> Segments:
    """Every reply with the empty thought that the last one has: none knows whether another one follows."""
    segments = []
    for role, content in turns:
        lead = ""
        if role == "assistant":
            lead, content = "<think>\n\n</think>\n\n", content.lstrip("\n")
        segments += [(f"<|im_start|>{role}\n", False), (f"{lead}{content}<|im_end|>", role == "assistant")]
        segments.append(("\n", False))
    return segments


def qwen3_quiet(turns: list[tuple[str, str]]) -> Segments:
    lead = "<think>\n\n</think>\n\n"
    segments: Segments = []
    for text, written in qwen3(turns):
        segments += [(lead, False), (text.removeprefix(lead), True)] if text.startswith(lead) else [(text, written)]
    return segments


def llama2(turns: list[tuple[str, str]]) -> Segments:
    lead = f"<<SYS>>\n{turns[0][1]}\n<</SYS>>\n\n" if turns[0][0] == "system" else ""
    segments = []
    for number, (role, content) in enumerate(turns[1:] if lead else turns):
        opening = lead if number == 0 else ""
        asked = (f"<s>[INST] {(opening + content).strip()} [/INST]", False)
        segments.append(asked if role == "user" else (f" {content.strip()} </s>", True))
    return segments


def llama3(turns: list[tuple[str, str]]) -> Segments:
    segments = [("<|begin_of_text|>", False)]
    for role, content in turns:
        segments.append((f"<|start_header_id|>{role}<|end_header_id|>\n\n", False))
        segments.append((f"{content.strip()}<|eot_id|>", role == "assistant"))
    return segments


def llama31(turns: list[tuple[str, str]]) -> Segments:
    system = turns[0][1].strip() if turns[0][0] == "system" else ""
    header = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n"
    return [(f"{header}{system}<|eot_id|>", False), *llama3(turns[1:] if turns[0][0] == "system" else turns)[1:]]


def mistral(turns: list[tuple[str, str]]) -> Segments:
    segments = [("<s>", False)]
    for role, content in turns:
        segments.append((f"[INST] {content}[/INST]", False) if role == "user" else (f" {content.strip()}</s>", True))
    return segments


@dataclass(frozen=True)
class Format:
    tokenizer: str
    template: str
    segments: Callable[[list[tuple[str, str]]], Segments]
    """The conversation written out."""
    bos: str = "<s>"
    eos: str = "</s>"
    options: dict[str, Any] = field(default_factory=dict)
    system: bool = True
    """Whether a finished conversation keeps its system turn."""

    def chat(self, template: str | None = None) -> ChatFormat:
        core = Tokenizer.from_str(TOKENIZERS[self.tokenizer].to_str())
        core.add_special_tokens([*MARKS, "[INST]", "[/INST]"] if self.template == MISTRAL else MARKS)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=core,
            chat_template=template or self.template,
            bos_token=self.bos,
            eos_token=self.eos,
            clean_up_tokenization_spaces=False,
        )
        return ChatFormat(tokenizer, self.options)


LLAMA3_ENDS = {"bos": "<|begin_of_text|>", "eos": "<|eot_id|>"}
FORMATS = {
    "qwen2.5": Format("qwen", QWEN, qwen, eos="<|im_end|>"),
    "qwen2.5 with pieces": Format("llama2", QWEN, qwen, eos="<|im_end|>"),
    "qwen3": Format("qwen", QWEN3, qwen3, eos="<|im_end|>"),
    "qwen3 quiet": Format("qwen", QWEN3, qwen3_quiet, eos="<|im_end|>", options={"enable_thinking": False}),
    "llama2": Format("llama2", LLAMA2, llama2),
    "llama2 with bytes": Format("llama3", LLAMA2, llama2),
    "llama3": Format("llama3", LLAMA3, llama3, **LLAMA3_ENDS),
    "llama3.1": Format("llama3", LLAMA31, llama31, **LLAMA3_ENDS, options={"date_string": "26 Jul 2024"}),
    "mistral": Format("mistral", MISTRAL, mistral, system=False),
    "mistral with bytes": Format("llama3", MISTRAL, mistral, system=False),
}
CHATS = {name: layout.chat() for name, layout in FORMATS.items()}
FOR_ALL = pytest.mark.parametrize("name", list(FORMATS))


def text_of(ids, chat, legacy=False):
    """The text that the ids spell, where the decoders of SentencePiece tokenizers would leave spaces out."""
    if not legacy and chat.tokenizer.backend_tokenizer.decoder is not None:
        return chat.tokenizer.decode(ids)
    spelled, after_special = b"", False
    for token in chat.tokenizer.convert_ids_to_tokens(list(ids)):
        byte = re.fullmatch("<0x(..)>", token)
        plain = token.removeprefix("▁") if legacy and after_special else token
        spelled += bytes([int(byte[1], 16)]) if byte else plain.replace("▁", " ").encode()
        after_special = token in chat.tokenizer.all_special_tokens or token in MARKS
    return spelled.decode(errors="replace")


def runs_of(labels):
    """(first, end) of the stretches of labelled positions."""
    positions = [position for position, label in enumerate(labels) if label != IGNORED]
    runs = [list(run) for _, run in groupby(enumerate(positions), lambda pair: pair[1] - pair[0])]
    return [(run[0][1], run[-1][1] + 1) for run in runs]


def learned_texts(supervised, chat, legacy=False):
    ids = token_ids_of(supervised.parts)
    return [text_of(ids[first:end], chat, legacy) for first, end in runs_of(supervised.labels)]


def check(name, turns):
    """Tokens, labels and their places against the conversation written out."""
    chat, segments, legacy = CHATS[name], FORMATS[name].segments(turns), FORMATS[name].tokenizer == "llama2"
    supervised = supervised_conversation(turns, chat)
    ids = token_ids_of(supervised.parts)
    whole = chat.tokenizer("".join(text for text, _ in segments), add_special_tokens=False)["input_ids"]
    assert text_of(ids, chat, legacy) == text_of(whole, chat, legacy)
    # Control tokens that stand in a content are words.
    own = "".join(text for text, _ in FORMATS[name].segments([(role, "x") for role, _ in turns]))
    controls = control_tokens(chat.tokenizer).ids
    counts = [sum(token in controls for token in some) for some in (ids, whole, chat.tokenizer.encode(own))]
    assert counts[0] == counts[2]
    # A reply that begins with white space may share a token with its prompt in the whole, but not at play.
    if counts[1] == counts[2] and not any(written and not text[0].strip() for text, written in segments):
        assert ids == whole
    assert all(label in (IGNORED, token) for token, label in zip(ids, supervised.labels, strict=True))
    runs = runs_of(supervised.labels)
    assert len(runs) == sum(written for _, written in segments)

    def before(position):
        return normal(text_of(ids[:position], chat, legacy))

    def normal(text):
        return unicodedata.normalize("NFC", text.replace("▁", " "))

    for index, (text, written) in enumerate(segments):
        if written:
            first, end = runs.pop(0)
            start = normal("".join(text for text, _ in segments[:index]))
            assert before(end) == normal("".join(text for text, _ in segments[: index + 1]))
            assert before(first) == start


TALK = [("user", "go"), ("assistant", "go"), ("user", "go"), ("assistant", "to drawer 1")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qwen2.5", ["go<|im_end|>", "to drawer 1<|im_end|>"]),
        ("qwen2.5 with pieces", ["go<|im_end|>", "to drawer 1<|im_end|>"]),
        ("qwen3", [f"<think>\n\n</think>\n\n{reply}<|im_end|>" for reply in ("go", "to drawer 1")]),
        ("qwen3 quiet", ["go<|im_end|>", "to drawer 1<|im_end|>"]),
        ("llama2", [" go </s>", " to drawer 1 </s>"]),
        ("llama2 with bytes", [" go </s>", " to drawer 1 </s>"]),
        ("llama3", ["go<|eot_id|>", "to drawer 1<|eot_id|>"]),
        ("llama3.1", ["go<|eot_id|>", "to drawer 1<|eot_id|>"]),
        ("mistral", [" go</s>", " to drawer 1</s>"]),
        ("mistral with bytes", [" go</s>", " to drawer 1</s>"]),
    ],
)
def test_learned_are_the_replies_and_the_tokens_that_end_them(name, expected):
    assert learned_texts(supervised_conversation(TALK, CHATS[name]), CHATS[name]) == expected
    check(name, TALK)


@pytest.mark.parametrize("name", [name for name in FORMATS if "qwen3" not in name])
def test_the_whole_equals_the_template_with_its_own_tokenising(name):
    chat = CHATS[name]
    messages = [{"role": role, "content": content} for role, content in TALK]
    whole = chat.tokenizer.apply_chat_template(messages, return_dict=False, **FORMATS[name].options)
    assert supervised_conversation(TALK, chat).parts == (Tokens(tuple(whole)),)


CHUNKS = [
    "\n", " ", "  ", "go", "assistant", "user", "[INST]", "[/INST]", "<<SYS>>", "<|im_end|>", "</s>", "<|eot_id|>",
    "<|im_start|>", "<bop>", "Qinsertq0x", "\ue000", "\ue0000\ue000", "é", "e\u0301", "kettle", "\u2581", "雪", "👩‍🚀",
]  # fmt: skip
CONTENTS = st.lists(st.sampled_from(CHUNKS) | st.text(max_size=4), max_size=5).map("".join)


@FOR_ALL
@given(data=st.data())
def test_random_contents(name, data):
    rounds = data.draw(st.lists(st.tuples(CONTENTS, CONTENTS), min_size=1, max_size=3))
    turns = [turn for user, reply in rounds for turn in (("user", user), ("assistant", reply))]
    if FORMATS[name].system and data.draw(st.booleans()):
        turns = [("system", data.draw(CONTENTS)), *turns]
    if data.draw(st.booleans()):
        turns.append(("user", data.draw(CONTENTS)))
    check(name, turns)


@FOR_ALL
@pytest.mark.parametrize("reply", ["", "a", "1", " a ", "go to drawer 1", "<|im_end|>", "a</s>b", "\n", "雪"])
def test_replies_of_one_token_of_none_and_with_the_words_of_the_user(name, reply):
    check(name, [("user", reply), ("assistant", reply), ("user", ""), ("assistant", reply)])


def test_a_reply_shares_no_token_with_its_prompt():
    """Qwen's splitting joins newlines, but at play the header's newline is read before the reply is written."""
    chat = CHATS["qwen2.5"]
    supervised = supervised_conversation([("user", "a"), ("assistant", "\n\nb")], chat)
    assert learned_texts(supervised, chat) == ["\n\nb<|im_end|>"]
    check("qwen2.5", [("user", "a"), ("assistant", "\n\nb")])


def test_a_header_token_that_takes_in_white_space_is_not_learned():
    """Phi 3 has such tokens; ``<|user|>`` must not count as the end of a reply's content either."""
    chat = FORMATS["mistral"].chat(
        "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '</s>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    )
    tokens = [AddedToken(f"<|{role}|>", rstrip=True, special=True) for role in ("user", "assistant")]
    chat.tokenizer.backend_tokenizer.add_special_tokens(tokens)
    supervised = supervised_conversation([("user", "a"), ("assistant", "  go"), ("user", "b")], chat)
    assert learned_texts(supervised, chat) == ["go</s>"]


LATENTS = Latents(torch.ones(3, 4))
NOTE = Tokens((7, 8))
HINTED = [
    ("user", [Text("hint: <bop>"), LATENTS, Text("<eop> "), NOTE, Text(" go on")]),
    ("assistant", "go"),
    ("user", [Text("and "), LATENTS]),
    ("assistant", "to drawer 1"),
]


@FOR_ALL
def test_messages_stand_where_they_stand_at_play(name):
    chat = CHATS[name]
    supervised = supervised_conversation(HINTED, chat)
    before, first, middle, second, after = supervised.parts
    assert first is LATENTS and second is LATENTS
    assert before.ids[-1] == chat.tokenizer.convert_tokens_to_ids("<bop>")
    assert middle.ids[0] == chat.tokenizer.convert_tokens_to_ids("<eop>")
    # Up to the first reply, and behind it up to the second one, the parts are those at play.
    *opening, header = tokenize(chat.opening(HINTED[:1]), chat.tokenizer)
    assert opening == [before, first] and middle.ids[: len(header.ids)] == header.ids
    asked, rows, header = tokenize(chat.continuation(HINTED[2][1], HINTED[:2]), chat.tokenizer)
    assert middle.ids[-len(asked.ids) :] == asked.ids and rows is second
    assert after.ids[: len(header.ids)] == header.ids
    assert len(supervised.labels) == prompt_length(supervised.parts)
    plain = [("user", "hint"), ("assistant", "go"), ("user", "and"), ("assistant", "to drawer 1")]
    assert learned_texts(supervised, chat) == learned_texts(supervised_conversation(plain, chat), chat)
    assert NOTE.ids == tuple(token_ids_of(supervised.parts)[i] for i in range(*place_of(NOTE, supervised)))


def place_of(tokens, supervised):
    ids = token_ids_of(supervised.parts)
    places = [i for i in range(len(ids)) if tuple(ids[i : i + len(tokens.ids)]) == tokens.ids]
    assert len(places) == 1
    return places[0], places[0] + len(tokens.ids)


def test_labels_stand_behind_the_rows_of_a_message():
    chat, turns = CHATS["llama3"], [("user", [LATENTS]), ("assistant", "go")]
    supervised = supervised_conversation(turns, chat)
    head, latents, tail = supervised.parts
    assert latents is LATENTS
    reply = tuple(chat.tokenizer("go<|eot_id|>", add_special_tokens=False)["input_ids"])
    assert supervised.labels == (IGNORED,) * (len(head.ids) + 3 + len(tail.ids) - len(reply)) + reply
    assert tail.ids[-len(reply) :] == reply


THOUGHT = "<think>\nnear the stove\n</think>\n\ngo"


def test_thoughts_are_learned_where_the_template_keeps_them():
    chat = CHATS["qwen3"]
    supervised = supervised_conversation([("user", "a"), ("assistant", THOUGHT)], chat)
    assert learned_texts(supervised, chat) == [f"{THOUGHT}<|im_end|>"]
    turns = [("user", "a"), ("assistant", THOUGHT), ("user", "b"), ("assistant", THOUGHT)]
    assert learned_texts(supervised_conversation(turns, chat), chat) == [f"{THOUGHT}<|im_end|>"] * 2


def test_composed_characters_are_learned_whole():
    chat = CHATS["qwen2.5"]
    supervised = supervised_conversation([("user", "e\u0301"), ("assistant", "e\u0301e\u0301")], chat)
    assert learned_texts(supervised, chat) == ["éé<|im_end|>"]


def test_a_reply_may_end_with_the_token_that_opens_the_next_turn():
    """GLM 4 has no token of its own for the end; its last reply has none at all."""
    chat = FORMATS["mistral"].chat(
        "{% for m in messages %}{{ ('<s>' if m.role == 'user' else '</s>') + m.content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '</s>' }}{% endif %}"
    )
    turns = [("user", "a"), ("assistant", "go"), ("user", "b"), ("assistant", "on")]
    assert learned_texts(supervised_conversation(turns, chat), chat) == ["go<s>", "on<s>"]
    assert chat.end_of_turn in chat.stop_ids


def test_a_template_without_an_end_of_turn_is_an_error_even_if_the_user_writes_one():
    chat = FORMATS["mistral"].chat(
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
    )
    with pytest.raises(PromptError, match="no special token behind"):
        supervised_conversation([("user", "a"), ("assistant", "go"), ("user", "</s>")], chat)


@pytest.mark.parametrize(
    ("layout", "template", "turns", "message"),
    [
        ("mistral", None, [("system", "x"), *TALK], "rewrites the beginning"),
        (
            "mistral",
            "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
            TALK,
            "does not keep assistant turns",
        ),
        ("llama2", None, [("assistant", "x")], "begins with the assistant"),
        ("qwen2.5", None, [*TALK, ("assistant", "x")], "turn 4 is the assistant's"),
        ("qwen2.5", None, [*TALK, ("user", "x"), ("user", "x")], "turn 5 is the user's"),
        ("qwen2.5", None, [("user", "a")], "no reply to learn"),
        ("qwen3 quiet", None, [("user", "a"), ("assistant", THOUGHT)], "enable_thinking"),
        ("qwen2.5", QWEN.split("{% if add_generation_prompt")[0], TALK, r"no generation prompt.*im_start.*assistant"),
        (
            "mistral",
            MISTRAL + "{% if messages[-1].content == 'go' and messages[1] is defined %}!{% endif %}",
            TALK,
            "behind an assistant's turn depends on",
        ),
        (
            "mistral",
            "{% for m in messages if m.role == 'user' or messages[0].content != 'go' %}{{ m.content }}{% endfor %}",
            TALK,
            "drops all that an assistant",
        ),
        ("qwen2.5", None, [("user", "a"), ("assistant", [Text("go"), LATENTS])], "turn 1 is the assistant's and holds"),
        ("qwen2.5", None, [], "no reply to learn"),
        ("qwen2.5", None, [("user", [3]), ("assistant", "go")], "expected Text, Tokens or Latents"),
        (
            "mistral",
            "{% for m in messages %}{{ m.content[:9] + eos_token }}{% endfor %}",
            [("user", [Text("a long text"), NOTE]), ("assistant", "go")],
            "drops, repeats or reorders",
        ),
    ],
)
def test_what_cannot_be_labelled_is_an_error(layout, template, turns, message):
    with pytest.raises(PromptError, match=message):
        supervised_conversation(turns, FORMATS[layout].chat(template))


ROOM = "put the kettle on the stove"
SAID = [(ROOM, "go to drawer 1"), ("the kettle is in the drawer", "take it"), ("you have it", "go on")]
SETTINGS = [(system, rounds, slot) for system in ("", "Act.") for rounds in (1, 2, 3) for slot in (False, True)]


@pytest.fixture(scope="module")
def agent_of():
    """An agent with the tokenizer of a form of template and a random model."""
    model = make_model("qwen2", vocab_size=400)
    engine = functools.cache(lambda name: Engine.wrap(model, FORMS[name].tokenizer()))

    def make(name, system, slot):
        template = TemplateOptions(arguments=FORMS[name].options)
        settings = AgentSettings(system_prompt=system, message_kind="text" if slot else "", template=template)
        return Agent(engine(name), settings=settings)

    return make


def played_ids(agent, chat, replies, rounds):
    """Turn by turn what is in the cache of an agent that writes the given replies (ids without their ends)."""
    first = rounds[0][0]
    ids = token_ids_of(tokenize(agent.prompt(first), chat.tokenizer))
    talk = [*([("system", agent.settings.system_prompt)] if agent.settings.system_prompt else []), ("user", first)]
    yield ids
    for (_, said), written, (user, _) in zip(rounds, replies, rounds[1:], strict=False):
        talk.append(("assistant", said))
        ids = [*ids, *written, *token_ids_of(tokenize(chat.continuation(user, talk), chat.tokenizer))]
        talk.append(("user", user))
        yield ids


@pytest.mark.parametrize("name", list(FORMS))
@pytest.mark.parametrize(("system", "rounds", "slot"), SETTINGS)
def test_training_reads_what_play_reads_turn_by_turn(name, system, rounds, slot, agent_of):
    agent, form = agent_of(name, system, slot), FORMS[name]
    chat = agent.chat
    talk = [
        {"from": who, "value": text} for pair in SAID[:rounds] for who, text in zip(("human", "gpt"), pair, strict=True)
    ]
    task = Task("x", ROOM, metadata={"conversations": talk})
    options = ConversationOptions(data="x", system_prompt=system, task_turn=0, place_for_message=slot)
    if system and form.with_system:
        with pytest.raises(PromptError, match=form.with_system):
            conversation_example("x", task, options, chat)
        return
    example = conversation_example("x", task, options, chat)
    ids, labels = [*example.before, *example.after], [*[IGNORED] * len(example.before), *example.labels]
    runs = runs_of(labels)
    learned = [labels[first:end] for first, end in runs]
    assert len(runs) == rounds
    for (first, _), played in zip(runs, played_ids(agent, chat, [run[:-1] for run in learned], SAID), strict=False):
        assert ids[:first] == played
    # Written out by hand: what is learned stops a reply, and says what was said.
    decode = chat.tokenizer.decode
    assert [decode(run) for run in learned] == [form.reply(said) for _, said in SAID[:rounds]]
    assert {run[-1] for run in learned} == {chat.end_of_turn} <= chat.stop_ids
    if form.alone or rounds == 1:
        first = f"{ROOM}\n<bop><eop>" if slot else ROOM
        whole = form.opening(system, first)
        for turn, (_, said) in enumerate(SAID[:rounds]):
            written = decode(learned[turn][:-1])
            assert form.reply(said).startswith(written)
            whole += written + (form.between(SAID[turn + 1][0]) if turn + 1 < rounds else form.behind)
        assert decode(ids) == whole


CONTROLS = "".join(["a ", *SPECIALS, " b"]).replace("<think>", "").replace("</think>", "")


@pytest.mark.parametrize("name", list(FORMS))
def test_training_reads_what_play_reads_where_contents_hold_control_tokens(name, agent_of):
    rounds = [(f"{CONTROLS} {number}", f"go {CONTROLS}") for number in range(3)]
    agent = agent_of(name, "", True)
    talk = [{"from": who, "value": text} for pair in rounds for who, text in zip(("human", "gpt"), pair, strict=True)]
    task = Task("x", rounds[0][0], metadata={"conversations": talk})
    example = conversation_example("x", task, ConversationOptions(data="x", task_turn=0), agent.chat)
    ids, labels = [*example.before, *example.after], [*[IGNORED] * len(example.before), *example.labels]
    written = [labels[first : end - 1] for first, end in runs_of(labels)]
    turns = list(zip(runs_of(labels), played_ids(agent, agent.chat, written, rounds), strict=True))
    assert len(turns) == 3
    for (first, _), played in turns:
        assert ids[:first] == played
    assert not any(agent.chat.end_of_turn in reply for reply in written)


@pytest.mark.parametrize("name", list(FORMS))
def test_the_words_of_a_message_stand_in_training_where_they_stand_at_play(name, agent_of):
    agent = agent_of(name, "", True)
    example = conversation_example("x", Task("x", ROOM, answer="go"), ConversationOptions(data="x"), agent.chat)
    words = ids_of("look in the drawer", agent.chat)
    played = token_ids_of(tokenize(agent.prompt(ROOM, TextMessage("look in the drawer")), agent.chat.tokenizer))
    first = runs_of(example.labels)[0][0]
    assert [*example.before, *words, *example.after[:first]] == played


@pytest.mark.parametrize(
    ("name", "reply", "learned"),
    [
        ("r1", THOUGHT, "near the stove\n</think>\n\ngo<eos>"),
        # As a model that was asked writes it: the opening tag stands in the prompt.
        ("r1", "near the stove\n</think>\n\ngo", "near the stove\n</think>\n\ngo<eos>"),
        ("r1", "<think></think>go", "</think>go<eos>"),
        ("qwq", THOUGHT, "near the stove\n</think>\n\ngo<|im_end|>"),
        ("nemotron3", THOUGHT, "near the stove\n</think>\n\ngo<|im_end|>"),
        ("qwen3.5", THOUGHT, "near the stove\n</think>\n\ngo<|im_end|>"),
        ("qwen3", THOUGHT, f"{THOUGHT}<|im_end|>"),
        ("deepseek v3.1 thinking", "<think>near</think>go", "near</think>go<eos>"),
    ],
)
def test_a_thought_goes_on_where_the_prompt_opened_it(name, reply, learned, agent_of):
    chat = agent_of(name, "", False).chat
    talk = [("user", ROOM), ("assistant", reply), ("user", "on"), ("assistant", reply)]
    assert learned_texts(supervised_conversation(talk, chat), chat) == [learned] * 2


@pytest.mark.parametrize(
    ("name", "reply", "message"),
    [
        ("qwen3 quiet", THOUGHT, "enable_thinking to true"),
        ("qwen3.5 quiet", THOUGHT, "enable_thinking to true"),
        ("r1", "<think>and never ends", "enable_thinking"),
    ],
)
def test_a_thought_where_there_can_be_none_is_an_error(name, reply, message, agent_of):
    with pytest.raises(PromptError, match=message):
        supervised_conversation([("user", ROOM), ("assistant", reply)], agent_of(name, "", False).chat)


def test_a_system_turn_that_switches_thoughts_off_counts():
    chat = ChatFormat(FORMS["smollm3"].tokenizer())
    talk = [("system", "/no_think"), *TALK]
    supervised = supervised_conversation(talk, chat)
    assert learned_texts(supervised, chat) == ["go<|im_end|>", "to drawer 1<|im_end|>"]
    assert chat.tokenizer.decode(token_ids_of(supervised.parts)).count("<think>\n\n</think>\n\n") == 2


def test_the_ids_of_the_bundled_models_stay_what_they_were():
    """As the code gave them that labelled the rendered conversation; a training that goes on must see the same."""
    chat = ChatFormat(load_tokenizer(bundled("alfworld-mini/latent")))
    said = [ROOM, "go to drawer 1", "the kettle is in the drawer", "take it", "you have it"]
    talk = [{"from": "gpt" if turn % 2 else "human", "value": text} for turn, text in enumerate(said)]
    options = ConversationOptions(data="x", task_turn=0, system_prompt="Act.")
    example = conversation_example("x", Task("x", ROOM, metadata={"conversations": talk}), options, chat)
    assert example.before == (
        *(1, 87, 93, 743, 73, 81, 203, 37, 71, 88, 18, 2, 203),
        *(1, 89, 87, 268, 203, 384, 274, 927, 635, 274, 472, 360, 203, 3),
    )
    assert example.after == (
        *(4, 2, 203, 1, 503, 87, 542, 88, 309, 88, 203, 302, 272, 377, 2, 203),
        *(1, 89, 87, 268, 203, 88, 266, 927, 372, 354, 274, 381, 2, 203, 1, 503, 87, 542, 88, 309, 88, 203),
        *(427, 443, 2, 203, 1, 89, 87, 268, 203, 93, 267, 475, 283, 443, 2, 203),
    )
    learned = {11: 302, 12: 272, 13: 377, 14: 2, 38: 427, 39: 443, 40: 2}
    assert {place: label for place, label in enumerate(example.labels) if label != IGNORED} == learned
    assert example.weights == (1.0,) * len(example.after)
