from interlat.progress import track


def test_steps_pass_through_unchanged_and_stdout_stays_free(capsys):
    steps = [(0, 3), (2, 3), (3, 3)]
    assert list(track(iter(steps), "games")) == steps
    output = capsys.readouterr()
    assert output.out == ""
    assert "games" in output.err and "3/3" in output.err
