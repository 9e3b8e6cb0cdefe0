import pytest

from interlat.agents.prompting import PromptMaker
from interlat.engine.prompt import Text
from interlat.errors import InputError

SETTINGS = {"prompt": {"template": "Task: {text} {x}", "system": "be brief", "chat": True, "thinking": "default"}}


def test_braces_of_the_template_and_the_task_mean_nothing():
    assert PromptMaker("{text} in {braces}", None, chat=False)("a {text} {0}") == [Text("a {text} {0} in {braces}")]


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
        PromptMaker("{text}", None, system="be brief", chat=False)
