import re

import matplotlib.image
import pytest

from benchmarks.sender_figure import plot_sender
from interlat.errors import InputError

RECORDS = [
    {"case": f"0.5B model, plan of {n} tokens", "machine": "two cores", "plan_tokens": n, "ratio": n / 20}
    for n in (25, 100, 1000)
]


def test_the_picture_shows_every_ratio(tmp_path):
    png, svg = plot_sender(RECORDS, tmp_path)
    picture = matplotlib.image.imread(png)
    assert picture.shape[1] >= 600 and 0.5 < picture.mean() < 0.99
    texts = re.findall(r"<!-- (.+?) -->", svg.read_text())
    assert {"1.25", "5", "50", "25", "100", "1000", "0.5B model, two cores"} <= set(texts)


def test_nothing_to_draw_is_said(tmp_path):
    with pytest.raises(InputError, match="benchmarks sender"):
        plot_sender([], tmp_path)
    assert not list(tmp_path.iterdir())
