import pytest
import torch

from interlat.engine.prompt import (
    Latents,
    Text,
    Tokens,
    begun,
    embed_prompts,
    filled,
    prompt_length,
    token_ids_of,
    tokenize,
    whole,
)
from interlat.errors import PromptError


@pytest.fixture
def tokenizer(make_tokenizer):
    return make_tokenizer("chatml")


def test_cutting_a_text_into_parts_does_not_change_its_tokens(tokenizer):
    whole = tokenize("the kettle is in the drawer", tokenizer)
    cut = tokenize([Text("the ket"), Text(""), Text("tle is in"), Text(" the drawer")], tokenizer)
    assert whole == cut
    assert list(whole[0].ids) == tokenizer("the kettle is in the drawer", add_special_tokens=False)["input_ids"]


def test_latents_keep_their_place_between_texts(tokenizer):
    rows = torch.randn(3, 4)
    parts = tokenize([Text("a<bop>"), Latents(rows), Text("<eop>b"), Tokens((1, 2))], tokenizer)
    assert [type(part) for part in parts] == [Tokens, Latents, Tokens]
    assert parts[0].ids[-1] == tokenizer.convert_tokens_to_ids("<bop>")
    assert parts[1].rows is rows
    assert parts[2].ids[0] == tokenizer.convert_tokens_to_ids("<eop>") and parts[2].ids[-2:] == (1, 2)
    assert prompt_length(parts) == len(parts[0].ids) + 3 + len(parts[2].ids)
    assert token_ids_of(parts, filler=-1).count(-1) == 3


def test_no_special_token_is_added(make_tokenizer):
    tokenizer = make_tokenizer("llama3")
    (part,) = tokenize("the", tokenizer)
    assert tokenizer.bos_token_id not in part.ids


def test_a_prompt_of_its_own_begins_once_and_never_ends(begins_texts):
    bos, eos = begins_texts.bos_token_id, begins_texts.eos_token_id
    the = begins_texts("the", add_special_tokens=False)["input_ids"]
    assert begins_texts("the")["input_ids"] == [bos, *the, eos]
    for prompt in (
        "the",
        "<s>the",
        [Text("<s>"), Text("the", True)],
        [Tokens((bos,)), Text("the")],
        [Text("the", True)],
    ):
        (part,) = tokenize(begun(prompt, begins_texts), begins_texts)
        assert list(part.ids) == [bos, *the]
    rows = torch.ones(2, 4)
    assert tokenize(begun([Latents(rows)], begins_texts), begins_texts)[0] == Tokens((bos,))
    assert list(tokenize(whole("the", begins_texts), begins_texts)[0].ids) == [bos, *the]
    assert list(tokenize(whole([Text("the")], begins_texts), begins_texts)[0].ids) == the
    assert begun("", begins_texts) == [Text("")]


def test_a_tokenizer_that_begins_no_text_leaves_a_prompt_alone(make_tokenizer):
    assert begun("the", make_tokenizer("llama3")) == [Text("the")]


@pytest.mark.parametrize("bad", ["\ud800", "a \udfff b", None, 5, b"a", ["a"], [{"role": "user", "content": "x"}]])
def test_what_is_no_text_is_a_prompt_error(tokenizer, bad):
    with pytest.raises(PromptError):
        tokenize([Text(bad)], tokenizer)
    with pytest.raises(PromptError):
        tokenize(bad, tokenizer)


def test_a_lone_surrogate_is_named():
    with pytest.raises(PromptError, match=r"lone surrogate '\\ud83d' at character 4"):
        Text("bad \ud83d")
    assert Text("fine \U0001f600 \x00").text


def test_values_of_a_template_are_no_places():
    assert filled("{a} and {b}!", {"{a}": "{b}", "{b}": "x"}) == [
        Text(""), Text("{b}", True), Text(" and "), Text("x", True), Text("!")
    ]  # fmt: skip
    with pytest.raises(PromptError, match="NoneType"):
        filled("{a}", {"{a}": None})


def test_empty_parts_disappear(tokenizer):
    assert tokenize([Text(""), Tokens(()), Latents(torch.empty(0, 4))], tokenizer) == []


def test_a_wrong_part_is_named(tokenizer):
    with pytest.raises(PromptError, match="int; expected Text, Tokens or Latents"):
        tokenize([3], tokenizer)


def test_embeddings_are_padded_on_the_left():
    embedding = torch.nn.Embedding(10, 4)
    rows = torch.full((1, 4), 7.0)
    result, mask = embed_prompts([[Tokens((1, 2, 3))], [Latents(rows), Tokens((5,))]], embedding, 4)
    assert mask.tolist() == [[True, True, True], [False, True, True]]
    assert torch.equal(result[0], embedding.weight[[1, 2, 3]])
    assert torch.equal(result[1], torch.stack([torch.zeros(4), rows[0], embedding.weight[5]]))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.zeros(2, 3), r"shape \[2, 3\], but this model reads latents of width 4"),
        (torch.tensor([[0.0, 1.0, float("nan"), 0.0]]), "contain NaN or infinity"),
        (torch.tensor([[0.0, 1.0, float("inf"), 0.0]]), "contain NaN or infinity"),
    ],
)
def test_unusable_latents_are_refused(rows, message):
    with pytest.raises(PromptError, match=message):
        embed_prompts([[Latents(rows)]], torch.nn.Embedding(10, 4), 4)
