"""The toy channel of CONTRIBUTING.md: its file and its test are what they say."""

import sys
import types

from doc_blocks import ROOT, blocks_of
from interlat.channels.protocol import CHANNELS


def test_the_channel_passes_its_own_test(agents, monkeypatch):
    channel, tests = (block for block in blocks_of(ROOT / "CONTRIBUTING.md") if block.language == "python")
    module = types.ModuleType("interlat.channels.last")
    exec(compile(channel.text, channel.place, "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(CHANNELS._places, "last", lambda: module.LastWords)
    names = {}
    exec(compile(tests.text, tests.place, "exec"), names)
    names["test_the_end_of_the_plan_travels"](agents)
    for argument in ("", "0", "two"):
        names["test_a_number_of_words_is_needed"](argument)
