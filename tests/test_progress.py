import io
import re
import time

import pytest
from rich.console import Console

from interlat import progress
from interlat.errors import InputError
from interlat.progress import completed, drain, gathered, in_bytes, say, track


def test_steps_pass_through_unchanged_and_stdout_stays_free(capsys):
    steps = [(0, 3), (2, 3), (3, 3)]
    assert list(track(iter(steps), "games")) == steps
    output = capsys.readouterr()
    assert output.out == ""
    assert "games: 0 of 3" in output.err and "games: 3 of 3" in output.err


def test_what_fails_before_the_first_step_leaves_no_bar(capsys):
    def steps():
        raise InputError("no such file")
        yield 0, 1

    with pytest.raises(InputError):
        list(track(steps(), "title"))
    assert capsys.readouterr().err == ""
    assert list(track([], "nothing to do")) == []


def test_a_note_stands_at_the_end(capsys):
    notes = {"text": "none yet"}

    def steps():
        yield 0, 2
        notes["text"] = in_bytes(1_500_000)
        yield 2, 2

    assert list(track(steps(), "title", notes)) == [(0, 2), (2, 2)]
    assert "1.5 MB" in capsys.readouterr().err


@pytest.mark.parametrize(
    "count, text",
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (7e12, "7.0 TB"), (7e15, "7000.0 TB")],
)
def test_bytes_for_people(count, text):
    assert in_bytes(count) == text


def test_a_message_is_one_line_on_stderr_as_it_is(capsys):
    message = "[bold]x[/bold] " * 40
    say(message)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.rstrip() == message.rstrip()


def test_draining_runs_every_step():
    seen = []
    drain(seen.append(number) for number in range(3))
    assert seen == [0, 1, 2]


def test_a_log_file_gets_a_line_now_and_then_even_within_one_long_step(capsys, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.01)

    def steps():
        yield 5, 9
        until = time.monotonic() + 10
        while "".join(seen).count("5 of 9") < 3 and time.monotonic() < until:
            time.sleep(0.01)
            seen.append(capsys.readouterr().err)
        yield 9, 9

    seen = []
    list(track(steps(), "thoughts", {"text": "1.5 MB"}))
    seen.append(capsys.readouterr().err)
    lines = "".join(seen).splitlines()
    assert len(lines) >= 4, "one at the beginning, several in between, one at the end"
    assert all(re.fullmatch(r"thoughts: \d of 9, \d+ s, (-|[\d.]+)/s, 1.5 MB", line) for line in lines)
    assert lines[-1].startswith("thoughts: 9 of 9")


def test_the_rate_is_that_of_this_run(capsys, monkeypatch):
    clock = iter([0.0, 0.0, 10.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    list(track([(100, 120), (110, 120)], "answers"))
    assert capsys.readouterr().err.splitlines() == ["answers: 100 of 120, 0 s, -/s", "answers: 110 of 120, 10 s, 1.0/s"]


def test_a_terminal_gets_a_bar(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(file=screen, force_terminal=True, width=80))
    list(track([(0, 3), (3, 3)], "games"))
    assert "3/3" in screen.getvalue() and "\x1b[" in screen.getvalue()


def test_a_stage_is_run_to_its_end_and_gives_what_it_returns(capsys):
    done = []

    def stage(count):
        assert not done, "nothing is done before the first step"
        for number in range(count):
            yield number, count
        return "result"

    assert completed(stage(3), "games", begun=lambda: done.append(1)) == "result" and done == [1]
    assert "games: 2 of 3" in capsys.readouterr().err
    done.clear()
    assert completed(stage(0), "games", begun=lambda: done.append(1)) == "result" and done == []
    assert completed([(0, 1)], "games") is None


def test_items_are_gathered_with_progress(capsys):
    assert gathered(iter("abc"), 3, "letters") == ["a", "b", "c"]
    assert "letters: 1 of 3" in capsys.readouterr().err
