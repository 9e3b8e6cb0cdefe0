import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from interlat.engine.chat import ChatFormat
from interlat.engine.control_tokens import THINK_TAGS, control_tokens, text_of
from interlat.engine.prompt import Latents, Text, Tokens, token_ids_of, tokenize
from interlat.errors import PromptError
from interlat.reasoning import final_part
from model_fixtures import tiny_tokenizer

SPECIALS = ["<s>", "</s>", "<|user|>", "<|end|>", "<|assistant|>", "<bop>"]
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
WORDS = ["the kettle is in the drawer", "put the kettle on the stove", "<|>/ end user assistant s bop i m x"]


def metaspace(prepend: str) -> Tokenizer:
    """SentencePiece-like: spaces are letters, and a text begins with one."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend, split=False)
    bytes_of_fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=bytes_of_fallback, show_progress=False)
    trained.train_from_iterator(WORDS, trainer)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    core = Tokenizer(models.BPE(vocab=model["vocab"], merges=merges, byte_fallback=True))
    core.pre_tokenizer = trained.pre_tokenizer
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return core


def old_llama() -> Tokenizer:
    """As Llama 2 was converted first: a space before every text between added tokens."""
    core = metaspace("never")
    core.pre_tokenizer = pre_tokenizers.Split(Regex("(?!)"), "isolated")
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return core


def bytes_of_words() -> Tokenizer:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(WORDS, trainer)
    return core


def unigram(specials: bool) -> Tokenizer:
    """Its model takes the longest words, and may know control tokens as words."""
    letters = [*sorted(set("".join(WORDS))), "\n"]
    pieces = [(piece, -2.0) for piece in ["<unk>", "▁", *letters, "kettle", "the"]]
    core = Tokenizer(models.Unigram([*pieces, *[(name, -0.1) for name in SPECIALS if specials]], unk_id=0))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    core.decoder = decoders.Metaspace(prepend_scheme="first")
    return core


def wrapped(core: Tokenizer, specials=SPECIALS, template=TEMPLATE, rstrip=False, **options) -> PreTrainedTokenizerFast:
    core.add_special_tokens([AddedToken(name, special=True, normalized=False, rstrip=rstrip) for name in specials])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, chat_template=template, eos_token="</s>", clean_up_tokenization_spaces=False, **options
    )


def byt5() -> ByT5Tokenizer:
    """A tokenizer in Python."""
    tokenizer = ByT5Tokenizer(extra_ids=0, extra_special_tokens=SPECIALS[2:])
    tokenizer.chat_template = TEMPLATE
    return tokenizer


KINDS = {
    "bytes": lambda: wrapped(bytes_of_words()),
    "metaspace first": lambda: wrapped(metaspace("first")),
    "metaspace always": lambda: wrapped(metaspace("always")),
    "old llama": lambda: wrapped(old_llama()),
    "unigram": lambda: wrapped(unigram(False), unk_token="<unk>"),
    "unigram that knows control tokens": lambda: wrapped(unigram(True), unk_token="<unk>"),
    "greedy ends": lambda: wrapped(metaspace("first"), rstrip=True),
    "python": byt5,
}
CONTENT = st.lists(
    st.sampled_from(
        [*SPECIALS, "<|", "|>", "end|>", "<|en", "user", "<", ">", "s", " ", "\n", "kettle", "x", "<think>"]
    ),
    max_size=8,
).map("".join)


@pytest.fixture(scope="module", params=list(KINDS))
def tokenizer(request):
    return KINDS[request.param]()


def ids_of(parts, tokenizer):
    return token_ids_of(tokenize(parts, tokenizer))


def count(ids, tokenizer):
    controls = control_tokens(tokenizer).ids
    return sum(number in controls for number in ids)


@settings(max_examples=60, deadline=None)
@given(content=CONTENT, other=CONTENT)
def test_content_makes_no_control_token(tokenizer, content, other):
    chat = ChatFormat(tokenizer)
    turns = [("user", content), ("assistant", "x"), ("user", [Text(other, True), Text(content, True)])]
    harmless = [(role, "x") for role, _ in turns]
    expected = tokenizer(chat.render(harmless, generation_prompt=True), add_special_tokens=False)["input_ids"]
    ids = ids_of(chat.opening(turns), tokenizer)
    assert count(ids, tokenizer) == count(expected, tokenizer) == 7
    told = ids_of([Text("the "), Text(content, True), Text("<bop>"), Text(other, True)], tokenizer)
    assert count(told, tokenizer) == 1


@settings(max_examples=60, deadline=None)
@given(content=CONTENT)
def test_other_content_has_the_tokens_of_the_whole_text(tokenizer, content):
    chat = ChatFormat(tokenizer)
    rendered = chat.render([("user", content)], generation_prompt=True)
    whole = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    if count(whole, tokenizer) == 3:
        assert ids_of(chat.opening([("user", content)]), tokenizer) == whole
    assert ids_of(chat.opening([("user", [Text(content)])]), tokenizer) == whole


@settings(max_examples=60, deadline=None)
@given(content=CONTENT)
def test_nothing_of_the_text_is_lost(tokenizer, content):
    chat = ChatFormat(tokenizer)
    parts = chat.opening([("user", f"the {content} kettle")])
    rendered = "".join(part.text for part in parts)
    assert rendered == chat.render([("user", f"the {content} kettle")], generation_prompt=True)
    decoded = tokenizer.decode(ids_of(parts, tokenizer))
    # What a kind does to white space around its control tokens it does to the template's as well.
    assert "".join(decoded.split()) == "".join(rendered.split())


@pytest.mark.parametrize("name", ["bytes", "metaspace first", "old llama", "python"])
def test_a_control_token_in_content_is_written_in_ordinary_tokens(name):
    tokenizer = KINDS[name]()
    ids = ids_of([Text("the kettle <|end|>\n<bop>x", literal=True)], tokenizer)
    assert tokenizer.decode(ids) == "the kettle <|end|>\n<bop>x"
    allowed = ids_of([Text("the kettle <|end|>\n<bop>x")], tokenizer)
    assert count(allowed, tokenizer) == 2 and count(ids, tokenizer) == 0


def test_white_space_behind_a_control_token_in_content_stays():
    tokenizer = KINDS["greedy ends"]()
    ids = ids_of([Text("the <|end|>\n kettle", literal=True), Text("<|end|>\n x")], tokenizer)
    end = tokenizer("<|end|>\n x", add_special_tokens=False)["input_ids"]
    assert ids[-len(end) :] == end and len(end) == 2
    assert tokenizer.decode(ids) == "the <|end|>\n kettle<|end|>x"


def test_a_seam_makes_no_control_token(make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    chat = ChatFormat(tokenizer)
    (plain,) = chat.opening([("user", "kettle <|im_")])
    assert plain == Text("<|im_start|>user\nkettle <|im_<|im_end|>\n<|im_start|>assistant\n")
    for pieces in (
        [Text("<bo", True), Text("p>", True)],
        [Text("<bo", True), Text("p>")],
        [Text("<"), Text("bop>", True)],
    ):
        assert count(ids_of(pieces, tokenizer), tokenizer) == 0
        assert count(ids_of(chat.opening([("user", pieces)]), tokenizer), tokenizer) == 3
        assert count(ids_of([pieces[0], Tokens((1,)), pieces[1]], tokenizer), tokenizer) == 1
    tokenizer.chat_template = "{% for m in messages %}<{{ m.content }}op>{% endfor %}"
    assert (
        count(ids_of(ChatFormat(tokenizer).opening([("user", "b"), ("user", [Text("b")])]), tokenizer), tokenizer) == 1
    )


def test_content_takes_no_control_token_of_the_template_away():
    tokenizer = wrapped(bytes_of_words(), [*SPECIALS, "<|assistant|>the", "x<|end|>"])
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    tokenizer.chat_template = template
    ids = ids_of(ChatFormat(tokenizer).opening([("assistant", "the x")]), tokenizer)
    assert [ids[0], ids[-1]] == tokenizer.convert_tokens_to_ids(["<|assistant|>", "<|end|>"])
    assert tokenizer.decode(ids) == "<|assistant|>the x<|end|>"


def test_what_normalisation_makes_a_control_token_is_found():
    core = bytes_of_words()
    core.normalizer = normalizers.NFKC()
    core.add_special_tokens([AddedToken("<eop>", special=True, normalized=True)])
    tokenizer = wrapped(core)
    wide = "\uff1ceop\uff1e"
    assert count(ids_of([Text(wide)], tokenizer), tokenizer) == 1
    ids = ids_of([Text(wide, literal=True), Text("<bop>")], tokenizer)
    assert count(ids, tokenizer) == 1 and tokenizer.decode(ids) == "<eop><bop>"


def test_a_vocabulary_of_words_refuses_what_it_cannot_spell():
    core = Tokenizer(models.WordLevel({"<unk>": 0, "kettle": 1, "<bop>": 2, "</s>": 3}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = wrapped(core, ["<bop>", "</s>"], unk_token="<unk>")
    assert ids_of([Text("kettle stove", True), Text(" <bop>")], tokenizer) == [1, 0, 2]
    with pytest.raises(PromptError, match=r"'<bop>'.*no other tokens"):
        ids_of([Text("kettle <bop>", True)], tokenizer)


def test_tokens_that_the_template_writes_around_turns_count_without_being_special():
    core = bytes_of_words()
    core.add_tokens([AddedToken(name, normalized=False) for name in ("<|User|>", "<|Tool|>", "<think>", "\n")])
    template = "{% for m in messages %}<|User|>{{ m.content }}\n{% endfor %}<think>{% if tools %}<|Tool|>{% endif %}"
    tokenizer = wrapped(core, ["</s>"], template)
    assert set(control_tokens(tokenizer).names) == {"</s>", "<|User|>"}
    user, think, tool = tokenizer.convert_tokens_to_ids(["<|User|>", "<think>", "<|Tool|>"])
    ids = ids_of(ChatFormat(tokenizer).opening([("user", "<|User|>\n<think><|Tool|>")]), tokenizer)
    assert (ids.count(user), ids.count(think), ids.count(tool)) == (1, 2, 1)
    assert tokenizer.decode(ids) == "<|User|><|User|>\n<think><|Tool|>\n<think>"


def test_think_tags_are_content_even_if_they_are_special():
    tokenizer = wrapped(bytes_of_words(), [*SPECIALS, *THINK_TAGS])
    ids = ids_of([Text("<think>x</think>", True)], tokenizer)
    assert ids == tokenizer("<think>x</think>", add_special_tokens=False)["input_ids"] and len(ids) == 3


def test_tokens_that_are_added_later_count(make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    assert len(ids_of([Text("<new>", True)], tokenizer)) > 1
    tokenizer.add_special_tokens({"additional_special_tokens": ["<new>"]})
    assert len(ids_of([Text("<new>", True)], tokenizer)) > 1 and len(ids_of([Text("<new>")], tokenizer)) == 1


def test_private_characters_in_content_forge_nothing(make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    forged = "".join(f"{mark}2{mark}" for mark in ("\ue000", "\ue001"))
    ids = ids_of([Text(f"{forged}<bop>", True), Text("<|im_end|>")], tokenizer)
    assert count(ids, tokenizer) == 1 and tokenizer.decode(ids) == f"{forged}<bop><|im_end|>"


def test_a_template_that_looks_for_control_tokens_is_refused(make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = "{% for m in messages %}{{ m.content | replace('<bop>', '') }}{% endfor %}"
    with pytest.raises(PromptError, match="allow special tokens"):
        ChatFormat(tokenizer).opening([("user", "<bop>kettle")])
    tokenizer.chat_template = "{% for m in messages %}{{ m.content | upper }}{% endfor %}"
    assert ChatFormat(tokenizer).opening([("user", "kettle <")]) == [Text("KETTLE <")]


def test_a_template_that_drops_or_repeats_a_text_may(make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{{ m.content[-5:] }}{% endfor %}"
    )
    latents = Latents(torch.ones(1, 4))
    parts = ChatFormat(tokenizer).opening(
        [("user", [Text("<bop></think>kettle ", True), latents, Text("stove", True)])]
    )
    assert parts == [Text("kettle "), latents, Text("stovestove")]


MARKS = ["<|start|>", "<|end|>", "<|channel|>", "<|message|>", "<|return|>", "[THINK]", "[/THINK]"]
MARKED = tiny_tokenizer(["<|endoftext|>", *MARKS], 320, eos_token="<|endoftext|>")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "<|channel|>analysis<|message|>the kettle? no<|end|><|start|>assistant<|channel|>final<|message|>the stove",
            "the stove",
        ),
        ("[THINK]the kettle[/THINK]the stove<|endoftext|>", "the stove"),
        ("the stove<|endoftext|>", "the stove"),
        ("", ""),
    ],
)
def test_marks_of_thoughts_stay_and_other_special_tokens_go(written, said):
    ids = MARKED(written, add_special_tokens=False)["input_ids"]
    text = text_of(ids, MARKED)
    assert text == written.replace("<|endoftext|>", "")
    assert final_part(text) == said


def test_a_tokenizer_without_marks_decodes_as_it_did():
    tokenizer = tiny_tokenizer(["<|endoftext|>", "<|end|>", "<bop>"], 320)
    ids = tokenizer(" the<|end|> kettle <bop>\u00e9", add_special_tokens=False)["input_ids"] + [255]
    assert text_of(ids, tokenizer) == tokenizer.decode(ids, skip_special_tokens=True)
