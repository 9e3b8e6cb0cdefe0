import json

import pytest

from benchmarks.records import comparison, print_records, record_of

RECORDS = [
    {"case": "tiny", "metric": "steps_per_second", "ours": 30.0, "reference": 10.0, "ratio": 3.0, "machine": "a box"}
]


def test_json_lines_on_stdout(capsys):
    assert print_records(iter(RECORDS), "title", as_json=True) == list(RECORDS)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == RECORDS[0] and captured.err == ""


def test_a_table_on_stderr(capsys):
    print_records(RECORDS, "ours against theirs")
    captured = capsys.readouterr()
    assert captured.out == "" and "3.00x" in captured.err and "a box" in captured.err


@pytest.mark.parametrize("larger_is_better, ratio", [(True, 4.0), (False, 0.25)])
def test_a_ratio_above_one_is_always_better(larger_is_better, ratio):
    assert comparison("b", "c", "m", "u", 8.0, 2.0, larger_is_better=larger_is_better)["ratio"] == ratio


def test_an_amount_becomes_a_rate():
    record = record_of("b", "c", "m", "u", 10.0, (2.0, 5.0))
    assert (record["ours"], record["reference"], record["ratio"]) == (5.0, 2.0, 2.5)
