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


def test_the_page_says_whether_the_channel_communicates(make_records, tmp_path):
    records = make_records(["none", "latent", "cross_task"], games=40)
    items = sorted({record["item"] for record in records})
    partner = dict(zip(items, [*items[7:], *items[:7]], strict=True))
    for record in records:
        told = partner[record["item"]] if record["variant"] == "cross_task" else record["item"]
        record["given"] = record["answer"] = f"go to shelf {items.index(record['item'])}"
        record["given"] = f"go to shelf {items.index(told)}" if record["variant"] != "none" else "look"
        if record["variant"] == "cross_task":
            record |= {"donor": told, "donor_answer": f"go to shelf {items.index(told)}"}
    page = build_report(records, tmp_path / "donors").page.read_text()
    table = page.split('id="donors"')[1].split("</section>")[0]
    assert ">latent<" in table and ">alive<" in table and "100.0 (1.3)" in table
    assert "Donor: the item" in table and "Donor: the item" not in page.split('id="donors"')[0]
    without = build_report(make_records(["none", "latent"], games=2), tmp_path / "none").page.read_text()
    assert 'id="donors"' not in without
