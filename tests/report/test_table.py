from rich.console import Console

from interlat.report.summary import summarise
from interlat.report.table import markdown_report, terminal_report


def terminal(summary):
    console = Console(width=80)
    with console.capture() as capture:
        console.print(terminal_report(summary))
    return capture.get()


def test_the_report_fits_a_terminal_of_80_columns(make_records):
    text = terminal(summarise(make_records()))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for word in ("latent", "cross_task", "gaussian"):
        assert word in text


def test_uncontrolled_results_say_so(make_records):
    assert "uncontrolled" not in terminal(summarise(make_records())).lower()
    assert "uncontrolled" in terminal(summarise(make_records(("none", "latent")))).lower()


def test_markdown_names_every_variant(make_records):
    text = markdown_report(summarise(make_records()))
    for variant in ("none", "text", "latent", "cross_task", "zeros", "gaussian"):
        assert variant in text
    assert text.count("|") > 50
