import json

import pytest

from interlat.errors import InputError
from interlat.files import append_line
from interlat.report.build import build_report


def test_everything_is_written_from_records_or_their_file(make_records, tmp_path):
    records = make_records(games=4)
    for record in records:
        append_line(tmp_path / "results.jsonl", record)
    build_report(records, tmp_path / "one", title="A run")
    build_report(tmp_path / "results.jsonl", tmp_path / "two", title="A run")
    for name in ("report.html", "summary.json", "summary.md"):
        assert (tmp_path / "one" / name).stat().st_size
    one, two = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("one", "two"))
    assert one["rows"] == two["rows"] and one["title"] == "A run"


def test_nothing_is_written_without_records(tmp_path):
    with pytest.raises(InputError, match="nothing was played"):
        build_report([], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_page_of_a_large_run_stays_below_ten_megabytes(make_records, make_inspections, tmp_path):
    records = make_records(games=250, turns=20)
    report = build_report(records, tmp_path, inspections=make_inspections(records))
    assert report.page.stat().st_size < 10_000_000
