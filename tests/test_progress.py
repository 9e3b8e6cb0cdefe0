import pytest

from interlat.errors import InputError
from interlat.progress import accepted, drain, in_bytes, say, track


def test_steps_pass_through_unchanged_and_stdout_stays_free(capsys):
    steps = [(0, 3), (2, 3), (3, 3)]
    assert list(track(iter(steps), "games")) == steps
    output = capsys.readouterr()
    assert output.out == ""
    assert "games" in output.err and "3/3" in output.err


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


def test_something_is_done_at_the_first_step_and_not_before_it():
    done = []

    def steps(count):
        assert not done
        yield from range(count)

    assert list(accepted(steps(3), lambda: done.append(1))) == [0, 1, 2] and done == [1]
    done.clear()
    assert list(accepted(steps(0), lambda: done.append(1))) == [] and done == []
