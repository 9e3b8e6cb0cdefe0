import io

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from interlat.errors import InputError
from interlat.report.parallelism import parallelism_table, plot_parallelism, steps_of


def records(spread, steps=3, samples=40):
    rng = np.random.default_rng(0)
    made = []
    for sample in range(samples):
        for step in range(1, steps + 1):
            masses = np.sort(rng.dirichlet(np.full(10, spread)))[::-1] * 0.8
            tokens = ["$x$" if sample % 4 else " a", *"bcdefghij"]
            record = {"item": str(sample), "step": step, "top": masses.tolist(), "entropy": spread + step}
            made.append({**record, "tokens": tokens})
    return made


def test_bands_are_cumulative_shares_sorted_by_the_first():
    given = records(1.0)
    found = steps_of(given)
    assert [step.step for step in found] == [1, 2, 3]
    first = [record for record in given if record["step"] == 1]
    assert found[0].bands.shape == (40, 6)
    assert (np.diff(found[0].bands[:, 0]) >= 0).all() and (np.diff(found[0].bands, axis=1) >= 0).all()
    largest = max(first, key=lambda record: record["top"][0])["top"]
    assert found[0].bands[-1].tolist() == pytest.approx(np.cumsum(largest)[:6] / sum(largest))
    assert found[0].median_mass == pytest.approx(0.8) and found[2].entropy == (4.0, 4.0, 4.0)
    assert found[0].commonest == ("$x$", 0.75)
    with pytest.raises(InputError, match="no latents"):
        steps_of([])


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_the_picture_is_drawn_and_the_same_again(steps, tmp_path):
    senders = {"untrained": records(0.05), "trained": records(5.0, steps)}
    paths = plot_parallelism(senders, tmp_path)
    before = [path.read_bytes() for path in paths]
    picture = matplotlib.image.imread(paths[0])
    assert picture.shape[1] >= 900 and 0.4 < picture.mean() < 0.99
    assert [path.read_bytes() for path in plot_parallelism(senders, tmp_path)] == before


def test_the_table_fits_80_columns():
    console = Console(width=80, record=True, file=io.StringIO())
    senders = {"untrained": records(0.05), "trained": records(5.0)}
    console.print(parallelism_table({name: steps_of(given) for name, given in senders.items()}))
    text = console.export_text()
    assert "untrained" in text and "0.800" in text and all(len(line) <= 80 for line in text.splitlines())
