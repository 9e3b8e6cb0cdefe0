import io
import random

import matplotlib.image
import pytest
from rich.console import Console

from interlat.errors import InputError
from interlat.evaluation.latency import PHASES
from interlat.evaluation.statistics import mean_interval, median_interval, wilson_interval
from interlat.report.tradeoff import latencies, latency_table, plot_tradeoff, points

SECONDS = {"text": 0.20, "latent": 0.21, "compressed:2": 0.05, "compressed:8": 0.08}


def measurements(count=30):
    rng = random.Random(0)
    lines = []
    for number in range(count):
        for variant, seconds in SECONDS.items():
            phases = {f"{phase}_seconds": seconds / 5 * rng.uniform(0.9, 1.1) for phase in PHASES}
            sizes = {"message_bytes": 100, "message_rows": 2, "item": str(number), "variant": variant}
            lines.append({**phases, "seconds": sum(phases.values()), **sizes})
    return lines


def episodes():
    won = {"none": 30, "text": 50, "latent": 60, "compressed:2": 55, "compressed:8": 59}
    return [
        {"split": "seen", "item": str(n), "variant": variant, "success": n < count}
        for variant, count in won.items()
        for n in range(100)
    ]


def test_medians_and_their_intervals():
    lines = measurements()
    found = {one.variant: one for one in latencies(lines)}
    assert list(found) == list(SECONDS)
    for variant, one in found.items():
        of = [line for line in lines if line["variant"] == variant]
        assert one.total == median_interval([line["seconds"] for line in of]) and one.measurements == 30
        thinking = sorted(line["thinking_seconds"] for line in of)
        assert one.phases["thinking"] == pytest.approx((thinking[14] + thinking[15]) / 2)
        assert one.total.low <= one.total.estimate <= one.total.high
    with pytest.raises(InputError, match="no measurements"):
        latencies([])


def test_only_what_was_played_and_measured_is_a_point():
    found = points(episodes(), measurements())
    assert [point.name for point in found] == list(SECONDS)
    assert found[2].success == wilson_interval(55, 100)
    with pytest.raises(InputError, match="both played and measured"):
        points([{"split": "seen", "item": "0", "variant": "zeros", "success": True}], measurements())


def test_games_of_several_trainings_count_once():
    other = [{**record, "success": not record["success"]} for record in episodes() if record["variant"] == "latent"]
    found = {point.name: point.success for point in points([*episodes(), *other], measurements())}
    assert found["latent"] == mean_interval([0.5] * 100) and found["text"] == wilson_interval(50, 100)


def test_the_picture_is_drawn_and_the_same_again(tmp_path):
    paths = plot_tradeoff(episodes(), measurements(), tmp_path)
    before = [path.read_bytes() for path in paths]
    picture = matplotlib.image.imread(paths[0])
    assert picture.shape[1] >= 1000 and 0.5 < picture.mean() < 0.99
    assert [path.name for path in paths] == ["tradeoff.png", "tradeoff.svg"]
    assert [path.read_bytes() for path in plot_tradeoff(episodes(), measurements(), tmp_path)] == before


def test_the_table_fits_80_columns():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(latency_table(latencies(measurements())))
    text = console.export_text()
    assert "compressed:8" in text and all(len(line) <= 80 for line in text.splitlines())
