import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlat.engine.chat import ChatFormat
from interlat.errors import InputError
from interlat.experiments.tokenizer import train_tokenizer

TOKENIZER = train_tokenizer(["go to drawer 3. On the drawer 3, you see a mug 1."] * 20, 500, ("<bop>", "<eop>"))


def test_a_place_is_one_token():
    ids = TOKENIZER("go to drawer 3", add_special_tokens=False)["input_ids"]
    assert [TOKENIZER.decode([i]) for i in ids] == ["go", " to", " drawer 3"]


def test_where_one_calculates_a_number_is_its_own_token():
    tokenizer = train_tokenizer(["Anna 12 + 3 = 15."] * 20, 500, numbered=False)
    ids = tokenizer("Anna 12 + 3 = 15.", add_special_tokens=False)["input_ids"]
    assert [tokenizer.decode([i]) for i in ids] == ["Anna", " 12", " +", " 3", " =", " 15", "."]


def test_specials_are_never_split():
    ids = TOKENIZER("a<bop>b<eop><|im_end|>", add_special_tokens=False)["input_ids"]
    assert {"<bop>", "<eop>", "<|im_end|>"} <= set(TOKENIZER.convert_ids_to_tokens(ids))


@given(st.text(max_size=40).filter(lambda text: "<" not in text))
def test_lossless(text):
    assert TOKENIZER.decode(TOKENIZER(text, add_special_tokens=False)["input_ids"]) == text


def test_a_family_writes_its_own_conversations():
    tokenizer = train_tokenizer(["go to drawer 3."] * 20, 400, ("<bop>", "<eop>"), "llama")
    turns = [{"role": "user", "content": "go<bop><eop>"}, {"role": "assistant", "content": "drawer 3"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    user, assistant = (f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ("user", "assistant"))
    assert text == f"<|begin_of_text|>{user}go<bop><eop><|eot_id|>{assistant}drawer 3<|eot_id|>"
    chat = ChatFormat(tokenizer)
    assert tokenizer.convert_ids_to_tokens([chat.end_of_turn]) == ["<|eot_id|>"]
    assert tokenizer.pad_token != tokenizer.eos_token


def test_a_vocabulary_without_room_is_refused():
    with pytest.raises(InputError, match="vocabulary_size"):
        train_tokenizer(["x"], 200)


def test_survives_the_checkpoint_of_a_qwen2_model(tmp_path):
    """transformers 5 loads another splitting for Qwen2 checkpoints; the engine must load the one that was saved."""
    from interlat.engine.checkpoint import load_tokenizer
    from interlat.training.model import build_model, export_model
    from interlat.training.options import SmallModel

    model = build_model(SmallModel(hidden_size=8, layers=1, heads=1, intermediate_size=8), TOKENIZER, 0)
    export_model(model, TOKENIZER, tmp_path / "model")
    text = "go to drawer 3. On the drawer 3, you see a mug 1."
    assert load_tokenizer(str(tmp_path / "model"))(text)["input_ids"] == TOKENIZER(text)["input_ids"]
