from interlat.experiments.household.report import build_report


def test_the_page_is_self_contained_and_escapes_what_it_shows(make_records, make_inspections, tmp_path):
    records = make_records(games=2)
    for record in records:
        record["turns"][0]["action"] = "go to <img src=x onerror=alert(1)> 1"
    report = build_report(records, tmp_path, inspections=make_inspections(records), command="interlat demo <x>")
    page = report.page.read_text()
    assert "<img src=x" not in page
    assert "interlat demo &lt;x&gt;" in page
    for request in ('href="http', 'src="http', "url(http", "@import"):
        assert request not in page
