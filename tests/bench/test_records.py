import json

from interlat.bench.records import print_records

RECORDS = [
    {"case": "tiny", "metric": "steps_per_second", "ours": 30.0, "reference": 10.0, "ratio": 3.0, "machine": "a box"}
]


def test_json_lines_on_stdout(capsys):
    print_records(iter(RECORDS), "title", as_json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == RECORDS[0] and captured.err == ""


def test_a_table_on_stderr(capsys):
    print_records(RECORDS, "ours against theirs")
    captured = capsys.readouterr()
    assert captured.out == "" and "3.00x" in captured.err and "a box" in captured.err
