import json

import pytest
from rich.console import Console

from interlat.errors import InputError
from interlat.experiments.household.report import build_report, markdown_report, summarise_games, terminal_report
from interlat.files import append_line


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


def test_the_page_of_a_large_run_stays_below_five_megabytes(make_records, make_inspections, tmp_path):
    records = make_records(games=250, turns=20)
    report = build_report(records, tmp_path, inspections=make_inspections(records))
    assert report.page.stat().st_size < 5_000_000


def terminal(summary):
    console = Console(width=80)
    with console.capture() as capture:
        console.print(terminal_report(summary))
    return capture.get()


def test_the_report_fits_a_terminal_of_80_columns(make_records):
    text = terminal(summarise_games(make_records()))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for word in ("latent", "cross_task", "gaussian"):
        assert word in text


def test_uncontrolled_results_say_so(make_records):
    assert "uncontrolled" not in terminal(summarise_games(make_records())).lower()
    assert "uncontrolled" in terminal(summarise_games(make_records(("none", "latent")))).lower()


def test_markdown_names_every_variant(make_records):
    text = markdown_report(summarise_games(make_records()))
    for variant in ("none", "text", "latent", "cross_task", "zeros", "gaussian"):
        assert variant in text
    assert text.count("|") > 50


def test_latents_are_compared_with_each_other_and_controls_with_none(make_records):
    short = summarise_games(make_records(["latent", "compressed:8", "first_rows:8", "zeros", "none"], splits=("seen",)))
    assert [(found.first, found.second) for found in short.comparisons] == [
        ("latent", "compressed:8"),
        ("latent", "first_rows:8"),
        ("compressed:8", "first_rows:8"),
        ("latent", "none"),
        ("compressed:8", "none"),
        ("first_rows:8", "none"),
        ("latent", "zeros"),
        ("compressed:8", "zeros"),
        ("first_rows:8", "zeros"),
        ("zeros", "none"),
    ]


def test_records_of_the_general_format_make_the_same_report(make_records, tmp_path):
    """With phases of seconds and latents in place of the older names."""
    old = make_records(games=3)
    new = []
    for record in old:
        kept = {
            name: value for name, value in record.items() if not name.endswith("_seconds") and name != "message_rows"
        }
        seconds = {phase: record[f"{phase}_seconds"] for phase in ("sender", "receiver")}
        new.append({**kept, "latents": record["message_rows"], "seconds": seconds})
    one, two = (build_report(records, tmp_path / name) for name, records in (("old", old), ("new", new)))
    assert terminal(one.summary) == terminal(two.summary)
    assert markdown_report(one.summary) == markdown_report(two.summary)


def test_summary_json_keeps_its_names(make_records, tmp_path):
    build_report(make_records(("none", "text", "latent")), tmp_path)
    found = json.loads((tmp_path / "summary.json").read_text())
    assert found["uncontrolled"] and found["splits"] == ["seen", "unseen", "all"]
    row = {row["variant"]: row for row in found["rows"] if row["split"] == "seen"}
    assert not row["latent"]["controlled"] and row["text"]["controlled"]
    assert row["latent"]["message_rows"] == 24 and row["latent"]["games"] == 20 and "sender_seconds" in row["latent"]
    assert found["comparisons"][0]["games"] == 20
