import pytest

from interlat.engine.text import text_of
from interlat.reasoning import final_part
from model_fixtures import tiny_tokenizer

MARKS = ["<|start|>", "<|end|>", "<|channel|>", "<|message|>", "<|return|>", "[THINK]", "[/THINK]"]
TOKENIZER = tiny_tokenizer(["<|endoftext|>", *MARKS], 320, eos_token="<|endoftext|>")


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
    ids = TOKENIZER(written, add_special_tokens=False)["input_ids"]
    text = text_of(ids, TOKENIZER)
    assert text == written.replace("<|endoftext|>", "")
    assert final_part(text) == said


def test_a_tokenizer_without_marks_decodes_as_it_did():
    tokenizer = tiny_tokenizer(["<|endoftext|>", "<|end|>", "<bop>"], 320)
    ids = tokenizer(" the<|end|> kettle <bop>\u00e9", add_special_tokens=False)["input_ids"] + [255]
    assert text_of(ids, tokenizer) == tokenizer.decode(ids, skip_special_tokens=True)
