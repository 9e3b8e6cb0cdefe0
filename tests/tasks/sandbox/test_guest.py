import io

import pytest

from interlat.tasks.sandbox.guest import serve
from interlat.tasks.sandbox.plain import from_plain, receive, send, to_plain


def answers(program, *calls):
    """What the process of the code would send, here without a process."""
    source, sink = io.BytesIO(), io.BytesIO()
    send(source, program)
    for name, values, named in calls:
        send(source, {"name": name, "values": to_plain(list(values)), "named": to_plain(named)})
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
    program = "kept = []\ndef f(n, *, more=0):\n    kept.append(n)\n    return len(kept), n + more"
    began, *found = answers(program, ("f", [5], {}), ("f", [6], {"more": 10}))
    assert began == {"isolation": ["something"]}
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
    _, answer = answers(f"def f():\n    raise {raised}", ("f", [], {}))
    assert answer == {"error": error, "reason": reason}


def test_code_that_does_not_run_is_the_last_word():
    assert answers("1 / 0", ("f", [], {})) == [
        {"isolation": ["something"], "error": "ZeroDivisionError", "reason": "division by zero"}
    ]
    (answer,) = answers("def f(:", ("f", [], {}))
    assert answer["error"] == "SyntaxError"


def test_what_is_not_there_and_what_cannot_be_sent():
    _, missing, odd = answers("def f(): return object()", ("g", [], {}), ("f", [], {}))
    assert missing == {"error": "NameError", "reason": "the code does not define it"}
    assert odd == {"error": "NotPlain", "reason": "a value of type object"}
