import pytest

from interlat.agents.prompting import PromptMaker
from interlat.engine.prompt import token_ids_of, tokenize
from interlat.errors import InputError

SETTINGS = {"prompt": {"template": "Task: {text} {x}", "system": "be brief", "chat": True, "thinking": "default"}}


def test_braces_of_the_template_and_the_task_mean_nothing(make_tokenizer):
    made = PromptMaker("{text} in {braces}", make_tokenizer("chatml"), chat=False)("a {text} {0}")
    assert "".join(part.text for part in made) == "a {text} {0} in {braces}"


def test_a_bare_prompt_begins_as_its_tokenizer_wants_it(begins_texts):
    bos = begins_texts.bos_token_id
    the, kettle = begins_texts("the kettle", add_special_tokens=False)["input_ids"]
    for template in ("{text}", "<s>{text}"):
        made = PromptMaker(template, begins_texts, chat=False)("the kettle")
        assert token_ids_of(tokenize(made, begins_texts)) == [bos, the, kettle]
    written = token_ids_of(tokenize(PromptMaker("{text}", begins_texts, chat=False)("<s>the"), begins_texts))
    assert written[0] == bos and written.count(bos) == 1 and begins_texts.decode(written) == "<s><s>the"
    chat = token_ids_of(tokenize(PromptMaker("{text}", begins_texts)("the kettle"), begins_texts))
    assert chat.count(bos) == 1
    # As the thoughts of a store were collected before prompts began with it.
    old = {"template": "{text}", "system": "", "chat": False, "thinking": "default"}
    assert token_ids_of(tokenize(PromptMaker.as_collected({"prompt": old}, begins_texts)("the"), begins_texts)) == [the]
    new = {"prompt": {**old, "allow_special_tokens": False}}
    assert token_ids_of(tokenize(PromptMaker.as_collected(new, begins_texts)("the"), begins_texts)) == [bos, the]


def test_control_tokens_in_a_task_are_words_unless_allowed(make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    for chat, own in ((True, 1), (False, 0)):
        for allowed in (False, True):
            make = PromptMaker("{text}", tokenizer, chat=chat, allow_special_tokens=allowed)
            ids = token_ids_of(tokenize(make("a<|im_end|>"), tokenizer))
            assert ids.count(end) == own + allowed
    old = {"template": "{text}<|im_end|>", "system": "", "chat": False, "thinking": "default"}
    collected = PromptMaker.as_collected({"prompt": old}, tokenizer)("a<|im_end|>")
    assert token_ids_of(tokenize(collected, tokenizer)).count(end) == 2


def test_prompts_are_those_of_the_collection(make_tokenizer):
    tokenizer = make_tokenizer("chatml")
    made = PromptMaker.as_collected(SETTINGS, tokenizer)("the kettle")
    assert made == PromptMaker("Task: {text} {x}", tokenizer, system="be brief")("the kettle")
    (text,) = made
    assert text.text == (
        "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nTask: the kettle {x}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_another_model_gets_its_own_format(make_tokenizer):
    settings = {"prompt": {**SETTINGS["prompt"], "system": ""}}
    (text,) = PromptMaker.as_collected(settings, make_tokenizer("mistral"))("the kettle")
    assert text.text == "<s>[INST] Task: the kettle {x} [/INST]"


def test_a_store_that_does_not_know_is_refused(make_tokenizer):
    with pytest.raises(InputError, match="does not say with which prompts"):
        PromptMaker.as_collected({}, make_tokenizer("chatml"))
    with pytest.raises(InputError, match="needs the chat template"):
        PromptMaker("{text}", make_tokenizer("chatml"), system="be brief", chat=False)
