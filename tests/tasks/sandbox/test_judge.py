import contextlib
import os
import threading

import pytest

from interlat.tasks.sandbox.guest import serve
from interlat.tasks.sandbox.judge import judged
from interlat.tasks.sandbox.plain import receive, send


def verdict_about(guest, tests="assert f(2) == 4", before="", functions=("f",)):
    """The verdict of a judge who talks to ``guest(source, sink)`` in a thread."""
    reads, writes = os.pipe()
    back_reads, back_writes = os.pipe()
    guest_source, sink = os.fdopen(reads, "rb"), os.fdopen(writes, "wb")
    source, guest_sink = os.fdopen(back_reads, "rb"), os.fdopen(back_writes, "wb")

    def run():
        with guest_source, guest_sink:
            guest(guest_source, guest_sink)

    thread = threading.Thread(target=run)
    thread.start()
    job = {"program": "def f(n): return n * n", "tests": tests, "before": before, "functions": list(functions)}
    with source:
        try:
            return judged(job, source, sink)
        finally:
            with contextlib.suppress(BrokenPipeError):
                sink.close()
            thread.join()


def honest(source, sink):
    serve(source, sink, ["here"])


def test_right_code_passes_and_the_record_says_how_it_was_confined():
    assert verdict_about(honest) == {"passed": True, "reason": "", "isolation": ["here"]}


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        ("assert f(2) == 5, 'five'", "AssertionError: five"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("f(1) +", "SyntaxError"),
        ("f('x')", "TypeError: can't multiply sequence by non-int"),
    ],
)
def test_tests_that_do_not_pass(tests, reason):
    found = verdict_about(honest, tests)
    assert not found["passed"] and reason in found["reason"]


def test_helpers_come_before_and_functions_of_the_code_replace_what_they_stand_for():
    before = "def helper(n): return n + 1\ndef f(n): 'to be written'"
    assert verdict_about(honest, "assert helper(f(2)) == 5", before)["passed"]


def sends(*messages):
    def guest(source, sink):
        receive(source)
        for message in messages:
            send(sink, message)
            if message is not messages[-1]:
                receive(source)

    return guest


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (({"isolation": []}, {"result": ["int", "0x5"]}), "AssertionError"),
        (({"isolation": []}, {"result": ["sly", 4]}), "GuestError: the code gave something of the kind 'sly'"),
        (({"isolation": []}, [4]), "GuestError: the code gave no answer"),
        (({"isolation": []}, {"error": "SystemExit"}), "GuestError: the code raised SystemExit"),
        (({"isolation": []}, {"error": "exit", "reason": "0"}), "GuestError: the code raised exit"),
        (({"isolation": []}, {"error": "UnicodeDecodeError"}), "Exception: UnicodeDecodeError"),
        (({"isolation": []}, {"passed": True}), "AssertionError"),
        ((["passed"],), ": "),
        (({"error": "SyntaxError", "reason": "at the end"},), "SyntaxError: at the end"),
    ],
)
def test_whatever_the_other_side_sends_is_no_pass(messages, reason):
    found = verdict_about(sends(*messages))
    assert found["passed"] is False and reason in found["reason"]


def test_whoever_leaves_does_not_pass():
    found = verdict_about(lambda source, sink: None)
    assert not found["passed"] and "ended before it was tested" in found["reason"]

    def leaves(source, sink):
        receive(source)
        send(sink, {"isolation": []})

    assert "GuestError: the process of the code ended" in verdict_about(leaves)["reason"]
