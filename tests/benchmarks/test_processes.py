import pytest

from benchmarks.processes import forget_peak_memory, memory_since, peak_memory, run_side
from interlat.errors import BenchmarkError


def test_a_side_that_fails_is_named_with_its_last_words():
    with pytest.raises(BenchmarkError, match=r"the odd side failed: .*No module named"):
        run_side("benchmarks.nothing_of_that_name", [], "the odd side")


def test_a_side_that_is_killed_says_so(tmp_path, monkeypatch):
    (tmp_path / "dying.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BenchmarkError, match="the large side failed: killed by signal 9, perhaps for want of memory"):
        run_side("dying", [], "the large side")


def test_the_last_line_is_the_result(tmp_path, monkeypatch):
    lines = ["import os, sys", "print('noise')", "print('\"' + os.environ['B'] + sys.argv[1] + '\"')"]
    (tmp_path / "a_side.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    assert run_side("a_side", ["c"], "this side", {"B": "b"}) == "bc"


def test_peak_memory_grows_with_what_is_held_and_can_be_forgotten():
    forget_peak_memory()
    before = peak_memory()
    block = bytearray(64 * 2**20)
    assert peak_memory() - before > 48 * 2**20
    del block
    forget_peak_memory()
    assert peak_memory() - before < 32 * 2**20


def test_memory_is_never_below_the_baseline():
    forget_peak_memory()
    assert memory_since(peak_memory() + 2**30) == 0
