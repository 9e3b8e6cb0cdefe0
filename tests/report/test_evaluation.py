import json

import matplotlib.image
import pytest
from rich.console import Console

from interlat.report.evaluation import json_lines, markdown_report, notes, report_evaluation, terminal_report
from interlat.report.page import facts_of_run
from interlat.report.summary import summarise


def terminal(summary):
    console = Console(width=80)
    with console.capture() as capture:
        console.print(terminal_report(summary))
    return capture.get()


def test_the_report_fits_a_terminal_of_80_columns(make_results):
    text = terminal(summarise(make_results(steps=40)))
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    for word in ("hidden zeros", "cache", "latents", "score", "steps", "McNemar", "Holm"):
        assert word in text
    assert "no control: cache." in " ".join(text.split())


def test_columns_that_say_nothing_are_left_out(make_results):
    records = [{**record, "score": float(record["success"])} for record in make_results(steps=1)]
    text = terminal(summarise(records))
    assert "steps" not in text and "score" not in text and "latents" in text
    plain = [r for r in records if r["variant"] in ("none", "text")]
    assert "latents" not in terminal(summarise(plain))


def test_notes_say_what_a_reader_has_to_know(make_results):
    both = " ".join(notes(summarise(make_results(seeds=(0, 1)))))
    assert "several seeds" in both and "no control: cache" in both and "failure" not in both
    one = [record for record in make_results() if record["variant"] == "none"]
    one[0] |= {"failure": "too long", "success": False}
    found = notes(summarise(one))
    assert not any("McNemar" in note or "no control" in note for note in found)
    assert any(note.startswith(f"1 of {len(one)} ") for note in found)


def test_markdown_has_the_majority_and_pass_at_k_of_several_answers(make_results):
    records = [{**record, "given": str(record["success"])} for record in make_results(seeds=(0, 1, 2))]
    summary = summarise(records)
    head = next(line for line in markdown_report(summary).splitlines() if line.startswith("| arm |"))
    assert "| majority % | pass@2 % | pass@3 % |" in head
    text = terminal(summary)
    assert max(map(len, text.splitlines())) <= 80 and "pass@k" in text
    first = json.loads(json_lines(summary).splitlines()[0])
    assert first["sampled"]["pass_at"]["3"]["estimate"] == summary.rows[0].sampled.pass_at[3].estimate


def test_markdown_names_every_arm_and_comparison(make_results):
    summary = summarise(make_results())
    text = markdown_report(summary)
    assert text.count("\n**hard**\n") == 1 and text.count("| hidden - none |") == 3
    rows = [line for line in text.splitlines() if line.startswith("| hidden zeros |")]
    assert len(rows) == 3 and len({line.count("|") for line in rows}) == 1


def test_json_lines_hold_what_the_tables_hold(make_results):
    summary = summarise(make_results())
    lines = [json.loads(line) for line in json_lines(summary).splitlines()]
    assert [line["kind"] for line in lines] == ["arm"] * len(summary.rows) + ["comparison"] * len(summary.comparisons)
    assert lines[0]["variant"] == summary.rows[0].variant and lines[-1]["adjusted"] == summary.comparisons[-1].adjusted


def test_everything_is_written_and_the_same_again(make_results, tmp_path, monkeypatch):
    # All but the minute at which the page was made.
    monkeypatch.setattr(
        "interlat.report.evaluation.facts_of_run", lambda *told: {**facts_of_run(*told), "date": "today"}
    )
    one, two = (report_evaluation(make_results(), tmp_path / name) for name in ("one", "two"))
    names = [path.relative_to(tmp_path / "one") for path in one.files]
    assert sorted(path.stem for path in names if path.suffix == ".png") == [
        *("success", "success_by_latents", "success_by_message_bytes", "success_by_seconds"),
    ]
    for first, second in zip(one.files, two.files, strict=True):
        assert first.read_bytes() == second.read_bytes()
        if first.suffix == ".png":
            assert 0.5 < matplotlib.image.imread(first).mean() < 0.99
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("variants", [("none",), ("none", "text"), ("hidden",)])
def test_few_arms_are_reported_too(make_results, tmp_path, variants):
    records = [record for record in make_results(splits=("test",)) if record["variant"] in variants]
    report = report_evaluation(records, tmp_path, by="task_type")
    assert set(report.summary.variants) == set(variants) and (tmp_path / "summary.md").stat().st_size


def test_old_household_records_are_reported(make_records, tmp_path):
    """Without pictures, on request."""
    report = report_evaluation(make_records(), tmp_path, figures=False)
    assert not any(file.suffix in (".png", ".svg") for file in report.files) and len(report.files) == 5
    assert [row.variant for row in report.summary.on("all") if not row.controlled] == ["text"]
