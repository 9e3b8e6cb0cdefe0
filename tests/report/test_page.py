import json
import re
import shutil
import subprocess

import pytest

from interlat.experiments.household.report import build_report
from interlat.report.evaluation import report_evaluation


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, flags=re.DOTALL)[1])


def with_turns(records):
    for record in records:
        record |= {"plan": "look left", "turns": [{"action": "look", "observation": "a shelf"}], "max_steps": 9}
    return records


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


def test_any_evaluation_has_a_page_with_its_own_words(make_results, tmp_path):
    records = with_turns(make_results(items=5))
    report = report_evaluation(
        records, tmp_path, title="arithmetic: from A to <B>", command="interlat evaluate --sender A"
    )
    page = (tmp_path / "report.html").read_text()
    assert tmp_path / "report.html" in report.files
    assert "arithmetic: from A to &lt;B&gt;" in page and "interlat evaluate --sender A" in page
    for word in ("hidden zeros", "Every arm", "Read the items", "solved only by first", "receiver, s"):
        assert word in page, word
    body = re.sub(r"<(script|style)>.*?</\1>|<script .*?</script>|<[^>]+>", " ", page, flags=re.DOTALL)
    assert not re.search(r"\b(scout|actor|game)s?\b", body), "words of the household"
    data = data_of(page)
    assert len(data["games"]) == 10 and len(data["games"][0]["episodes"]) == 7
    assert data["words"]["item"] == "item"


def test_latents_stand_in_the_page_by_channel(make_results, tmp_path):
    records = with_turns(make_results(items=2, splits=("",)))
    row = {"position": 0, "token": "left", "norm": 4.0, "entropy": 0.5, "top": [["left", 0.75], ["right", 0.25]]}
    read = {"norm": 2.0, "attention": 0.0125, "near": [["left", 0.9]]}
    messages = {"hidden": {"rows": [{**row, "read": read}]}, "thought:8": {"rows": [row]}}
    inspections = {"-0": {"task": "go", "evidence": "a note", "answer": "left", "messages": messages}}
    report_evaluation(records, tmp_path, inspections=inspections)
    data = data_of((tmp_path / "report.html").read_text())
    of = {game["item"]: game for game in data["games"]}
    strings = data["strings"]
    (packed,) = of["-0"]["rows"]["hidden"]
    assert packed[2:4] == [4, 0.5] and [strings[place] for place in packed[4:8:2]] == ["left", "right"]
    assert packed[5:9:2] == [750, 250]
    norm, attention, near, cosine = packed[-1]
    assert (norm, attention, strings[near], cosine) == (2, 1.25, "left", 900)
    assert not isinstance(of["-0"]["rows"]["thought:8"][0][-1], list), "nobody looked at the receiver there"
    assert of["-1"]["rows"] == {}
    assert strings[of["-0"]["answer"]] == "left"


def test_a_run_without_turns_has_a_page_without_a_reader(make_results, tmp_path):
    report_evaluation(make_results(items=2), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert 'id="data"' not in page and "Read the items" not in page and "Every arm" in page


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_script_is_a_program(tmp_path, make_results):
    report_evaluation(with_turns(make_results(items=1)), tmp_path)
    script = re.findall(r"<script>(.*?)</script>", (tmp_path / "report.html").read_text(), flags=re.DOTALL)[-1]
    (tmp_path / "reader.js").write_text(script)
    subprocess.run(["node", "--check", str(tmp_path / "reader.js")], check=True)
