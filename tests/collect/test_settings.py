import dataclasses
import sys
from subprocess import run

import pytest

from interlat.agents.sources import PromptOptions
from interlat.collect.settings import CollectThoughts, Filters
from interlat.engine.options import TemplateOptions
from interlat.errors import InputError
from interlat.tasks.graders.verdict import Verdict
from interlat.tasks.sources import TaskSource


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


@pytest.mark.parametrize(
    "filters, tokens, stopped, verdict, reason",
    [
        (Filters(), 3, False, None, ""),
        (Filters(finished=True), 3, False, None, "not finished"),
        (Filters(finished=True), 3, True, None, ""),
        (Filters(min_tokens=4), 3, True, None, "too short: 3"),
        (Filters(min_tokens=3), 3, True, None, ""),
        (Filters(max_tokens=2), 3, True, None, "too long: 3"),
        (Filters(max_tokens=3), 3, True, None, ""),
        (Filters(correct=True), 3, True, Verdict(False, "numeric"), "wrong answer"),
        (Filters(correct=True), 3, True, Verdict(True, "exact"), ""),
        (Filters(), 3, True, Verdict(False, "unparsed"), ""),
    ],
)
def test_what_is_left_out_has_a_reason(filters, tokens, stopped, verdict, reason):
    found = filters.reason_against(tokens, stopped, verdict)
    assert found.startswith(reason) and bool(found) == bool(reason)


@pytest.mark.parametrize("values", [{"min_tokens": -1}, {"max_tokens": 0}, {"min_tokens": 5, "max_tokens": 4}])
def test_lengths_that_leave_nothing_are_refused(values):
    with pytest.raises(InputError, match="leave nothing"):
        Filters(**values)
