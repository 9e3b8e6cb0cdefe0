import matplotlib.image
import pytest

from interlat.evaluation.statistics import Interval
from interlat.report.figures import Point, cost_figure, save_figure, success_figure, svg_of
from interlat.report.summary import summarise


def test_bars_are_the_same_again_and_written_whole(make_results, tmp_path):
    summary = summarise(make_results())
    figure = success_figure(summary, "label", "items")
    assert svg_of(figure) == svg_of(success_figure(summary, "label", "items"))
    paths = save_figure(figure, tmp_path, "success")
    assert [path.suffix for path in paths] == [".png", ".svg"]
    assert 0.5 < matplotlib.image.imread(paths[0]).mean() < 0.99
    assert not list(tmp_path.glob(".*"))


def test_a_panel_names_its_group_and_counts_its_items(make_results):
    records = [r for r in make_results(items=5) if r["variant"] != "none" or r["item"] != "hard-0"]
    titles = [axes.get_title(loc="left") for axes in success_figure(summarise(records), "label", "items").axes]
    assert titles == ["easy, 5 items", "hard, 4 to 5 items", "all, 9 to 10 items"]
    (one,) = success_figure(summarise(make_results(splits=("",))), "label", "items").axes
    assert one.get_title(loc="left") == "20 items"


def test_points_of_one_kind_are_one_line():
    rate = Interval(0.5, 0.4, 0.6)
    names = ("text", "thought:2", "thought:8")
    points = [Point(name, rate, Interval(cost, cost, cost)) for cost, name in enumerate(names, 1)]
    (axes,) = cost_figure(points, "success, %", "bytes").axes
    assert [line.get_label() for line in axes.containers] == ["text", "thought"]
    assert axes.containers[1][0].get_xydata().tolist() == [[2.0, 50.0], [3.0, pytest.approx(50.0)]]
    assert {text.get_text() for text in axes.texts} == {"2", "8"}
