import asyncio
import io
import subprocess
import sys

import pytest

from interlat.tasks.sandbox.guest import serve
from interlat.tasks.sandbox.plain import from_plain, receive, send, to_plain


def answers(program, *requests, names=("f",), before=""):
    """What the process of the code would send, here without a process; what is not said is asked of the first name."""
    source, sink = io.BytesIO(), io.BytesIO()
    send(source, {"program": program, "before": before, "names": list(names)})
    for do, *values in requests:
        send(source, {"do": do, "values": ["list", [["yours", 0], *map(to_plain, values)]], "named": to_plain({})})
    source.seek(0)
    serve(source, sink, ["something"])
    sink.seek(0)
    found = []
    while True:
        try:
            found.append(receive(sink))
        except EOFError:
            return found


def test_calls_are_answered_in_their_order():
    program = "kept = []\ndef f(n, more=0):\n    kept.append(n)\n    return len(kept), n + more"
    began, *found = answers(program, ("call", 5), ("call", 6, 10))
    assert began == {"isolation": ["something"], "names": {"f": ["mine", [0, ["call", "repr"], "f"]]}}
    assert [from_plain(answer["result"]) for answer in found] == [(1, 5), (2, 16)]


@pytest.mark.parametrize(
    ("raised", "error", "reason"),
    [
        ("ValueError('no')", "ValueError", "no"),
        ("SystemExit(3)", "SystemExit", "3"),
        ("type('Own', (KeyError,), {})('x')", "KeyError", "'x'"),
        ("type('ValueError', (BaseException,), {})()", "BaseException", ""),
    ],
)
def test_exceptions_are_sent_by_the_name_of_their_builtin(raised, error, reason):
    _, answer = answers(f"def f():\n    raise {raised}", ("call",))
    assert (answer["error"], answer["reason"]) == (error, reason)


def test_code_that_does_not_run_is_the_last_word():
    (answer,) = answers("1 / 0", ("call",))
    assert answer["isolation"] == ["something"] and answer["error"] == "ZeroDivisionError"
    (answer,) = answers("def f(:", ("call",))
    assert answer["error"] == "SyntaxError"


def test_names_are_those_that_the_code_defines():
    (began,) = answers("LIMIT = 3\ndef f(): pass", names=("f", "g", "LIMIT"))
    assert began["names"]["LIMIT"] == 3 and began["names"].keys() == {"f", "LIMIT"}


def test_what_runs_before_is_there_and_a_future_may_follow():
    program = "from __future__ import annotations\ndef f(n: Missing): return helper(n)"
    _, answer = answers(program, ("call", 2), before="def helper(n): return n + 1")
    assert answer["result"] == 3


def test_what_is_no_data_is_referred_to_by_what_it_can_do():
    (began,) = answers(
        "import re, collections\nmatch = re.match('a', 'a')\nclass Bag:\n    def __len__(self): return 3\n"
        "class Broken(KeyError): pass\nbag = Bag()\nodd = object()",
        names=("match", "bag", "odd", "Bag", "Broken"),
    )
    names = began["names"]
    assert names["match"] == ["mine", [0, ["getitem", "repr"], "Match"]]
    assert names["bag"] == ["mine", [1, ["len"], "Bag"]] and names["odd"] == ["mine", [2, [], "object"]]
    assert names["Bag"][1][1] == ["call", "class", "repr"]
    assert names["Broken"] == ["exception", [4, ["builtin", "KeyError"], "Broken"]]


def test_only_changes_of_what_returns_nothing_are_told():
    program = "def f(one, other):\n    one.append(3)\n    return other"
    _, nothing, something = answers(program, ("call", [1], None), ("call", [1], 5))
    assert nothing["changed"] == [[1, ["list", [1, 3]]]] and "changed" not in something


def test_items_are_made_as_they_are_needed_and_errors_come_in_their_place():
    program = (
        "made = []\n"
        "def items():\n"
        "    for n in range(3):\n        made.append(n)\n        yield n\n    1 / 0\nf = items()"
    )
    found = answers(program, ("next", 2), ("next", 2), ("next", 1), ("next", 1))[1:]
    assert [from_plain(answer["result"]) for answer in found[:2]] == [([0, 1], False), ([2], False)]
    assert found[2]["error"] == "ZeroDivisionError" and from_plain(found[3]["result"]) == ([], True)


def test_a_value_that_is_too_large_is_an_answer():
    _, answer, after = answers("def f(n): return 'x' * n", ("call", 2**26), ("call", 1))
    assert answer["error"] == "NotPlain" and "67108878 bytes" in answer["reason"] and after["result"] == "x"


LOOPS = """
import asyncio, socket
def refused(*_, **__): raise PermissionError
socket.socketpair = refused
from interlat.tasks.sandbox.guest import loops_without_sockets
loops_without_sockets()
async def both():
    return await asyncio.gather(asyncio.to_thread(int, "3"), asyncio.sleep(0.01, 4))
print(asyncio.run(both()), asyncio.run(both()))
"""


def test_asyncio_needs_no_sockets():
    done = subprocess.run([sys.executable, "-c", LOOPS], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[3, 4] [3, 4]\n", done.stderr
    assert asyncio.SelectorEventLoop._make_self_pipe.__module__ == "asyncio.selector_events"
