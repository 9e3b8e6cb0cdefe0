import dataclasses
import sys
from subprocess import run

import pytest

from interlat.agents.sources import PromptOptions, TaskSource
from interlat.collect.settings import CollectThoughts
from interlat.engine.options import TemplateOptions
from interlat.errors import InputError


@pytest.fixture
def config():
    return CollectThoughts("scout", TaskSource("arithmetic"), "store")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"samples": 2}, "temperature"),
        ({"samples": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
        ({"method": "compressed", "latent_steps": 0}, "latent_steps"),
        ({"method": "compressed", "grade": True}, "neither sampled nor answers"),
        ({"method": "compressed", "state_at": "after_token"}, "state_at"),
    ],
)
def test_settings_that_make_no_sense_are_refused(config, changes, words):
    with pytest.raises(InputError, match=words):
        dataclasses.replace(config, **changes)


def test_two_switches_for_thoughts_must_not_contradict_each_other(config):
    with pytest.raises(InputError, match=r"prompt\.thinking is on and template\.enable_thinking is False"):
        dataclasses.replace(
            config, prompt=PromptOptions(thinking="on"), template=TemplateOptions(enable_thinking=False)
        )


def test_settings_need_no_torch():
    code = "import sys, interlat.collect.settings; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
