import importlib.util
import json
from pathlib import Path

import pytest
from interlat.errors import InputError
from interlat.report.build import build_report

spec = importlib.util.spec_from_file_location("table_records", Path(__file__).with_name("test_table.py"))
table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)


def data_of(page):
    return json.loads(page.split('<script id="data" type="application/json">')[1].split("</script>")[0])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    output = tmp_path_factory.mktemp("report")
    row = {"position": 0, "token": "</script>", "norm": 1.0, "entropy": 0.5, "top": [["</script>", 0.9]]}
    inspections = {"game 1": {"task": "t", "evidence": "<i>e</i>", "plan": "p", "rows": [row]}}
    return output, build_report(table.RECORDS, output, inspections=inspections, command="interlat demo <x>")


def test_the_page_is_self_contained_and_escapes_what_it_shows(built):
    output, report = built
    page = report.page.read_text()
    assert page.count("</script>") == 2, "a text of the games ended the script element"
    assert "https://" not in page.replace("http://www.w3.org", "") and "src=" not in page
    assert "interlat demo &lt;x&gt;" in page
    data = data_of(page)
    assert data["games"]["game 1"]["variants"]["latent"]["turns"][0][0] == "go to </script> 1"
    assert data["games"]["game 1"]["inspection"]["rows"][0]["top"] == [["</script>", 0.9]]
    assert data["games"]["game 2"]["inspection"] is None


def test_figures_are_there_and_the_same_again(built, tmp_path):
    output, _ = built
    build_report(table.RECORDS, tmp_path)
    for name in ("success.svg", "success.png"):
        assert (output / "figures" / name).stat().st_size > 1000
    assert (output / "figures" / "success.svg").read_text() == (tmp_path / "figures" / "success.svg").read_text()
    assert not list(output.rglob("*.tmp"))


def test_nothing_played_is_an_error(tmp_path):
    with pytest.raises(InputError, match="nothing was played"):
        build_report([], tmp_path)
