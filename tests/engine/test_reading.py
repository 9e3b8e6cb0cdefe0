import pytest
import torch

from interlat.engine.prompt import Latents, Text, Tokens
from interlat.engine.reading import check_fits, checked_prompts
from interlat.errors import InputError, PromptError


def test_prompts_become_tokens_and_latents(qwen):
    latents = Latents(torch.zeros(2, qwen.hidden_size))
    found = checked_prompts(qwen, [[Tokens((3, 4)), latents], "put"], [0, 5], begins=True)
    assert found[0] == [Tokens((3, 4)), latents]
    assert found[1] == [Tokens(tuple(qwen.tokenizer("put", add_special_tokens=False)["input_ids"]))]


def test_only_what_begins_gets_the_first_token(begins_texts, qwen, monkeypatch):
    monkeypatch.setattr(qwen, "tokenizer", begins_texts)
    first = begins_texts.convert_tokens_to_ids("<s>")
    (begun,), (going_on,) = (checked_prompts(qwen, ["put"], [0], begins=begins)[0] for begins in (True, False))
    assert begun.ids == (first, *going_on.ids)


@pytest.mark.parametrize(
    ("prompts", "read", "error", "why"),
    [
        ([], [], PromptError, "no prompts"),
        ("put", [0, 0, 0], PromptError, "pass \\[text\\]"),
        (["put"], [0, 0], InputError, "1 prompts for a cache of 2"),
        ([[Text("")]], [0], PromptError, "prompt 0 is empty"),
        (["put", [Tokens((3, 320))]], [0, 0], PromptError, "prompt 1 has token id 320.*0 to 319"),
        ([[Tokens((3, 4, 5))]], [254], PromptError, "3 positions long after 254 positions already read"),
    ],
)
def test_what_cannot_be_read_is_refused(qwen, prompts, read, error, why):
    with pytest.raises(error, match=why):
        checked_prompts(qwen, prompts, read, begins=not any(read))


def test_the_last_position_fits(qwen):
    check_fits(qwen, "it is", 2, qwen.context_length - 2)
    with pytest.raises(PromptError, match=f"it is 3 positions long.*holds {qwen.context_length}"):
        check_fits(qwen, "it is", 3, qwen.context_length - 2)
