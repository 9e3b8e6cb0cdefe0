"""Pictures of how many continuations latents hold at once: bands of token mass, and entropy over steps."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from interlat.errors import InputError
from interlat.files import write_atomically
from interlat.report.figures import INK, SERIES_COLOURS, STYLE, png_of, svg_of

BANDS = 6
"""Most probable tokens whose cumulative mass is drawn."""
COLUMNS = 3
_COLOURS = {"untrained": "#8c8c8c", "trained": SERIES_COLOURS[1]}

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """All latents of one step of one sender."""

    step: int
    bands: np.ndarray
    """``[samples, BANDS]``: mass of the best 1 ... BANDS tokens as a share of the kept ones, sorted by the first."""
    median_mass: float
    """Median over samples of the whole mass of the kept tokens (S10 for ten)."""
    entropy: tuple[float, float, float]
    """Lower quartile, median and upper quartile over samples, nats."""


def steps_of(records: Sequence[Record]) -> list[Step]:
    """The latents of one sender by step.

    Raises:
        InputError: no records.
    """
    if not records:
        raise InputError("there are no latents to draw; read some first")
    by_step: dict[int, list[Record]] = {}
    for record in records:
        by_step.setdefault(record["step"], []).append(record)
    found = []
    for step, of in sorted(by_step.items()):
        top = np.array([record["top"] for record in of])
        within = top / top.sum(axis=1, keepdims=True)
        bands = within[:, :BANDS].cumsum(axis=1)
        quartiles = np.quantile([record["entropy"] for record in of], [0.25, 0.5, 0.75])
        low, middle, high = (float(value) for value in quartiles)
        found.append(Step(step, bands[bands[:, 0].argsort()], float(np.median(top.sum(axis=1))), (low, middle, high)))
    return found


def parallelism_table(senders: Mapping[str, Sequence[Step]]) -> Table:
    """Median mass of the kept tokens, of the best one and entropy by step, for a terminal."""
    table = Table(title="token mass of latents under the language-model head (medians)")
    table.add_column("step", justify="right")
    for name in senders:
        for column in ("best", "top 10", "entropy"):
            table.add_column(f"{name}\n{column}", justify="right")
    for rows in zip(*senders.values(), strict=False):
        cells = [str(rows[0].step)]
        for row in rows:
            best = statistics.median((row.bands[:, 0] * row.median_mass).tolist())
            cells += [f"{best:.3f}", f"{row.median_mass:.3f}", f"{row.entropy[1]:.2f}"]
        table.add_row(*cells)
    return table


def plot_parallelism(senders: Mapping[str, Sequence[Record]], directory: str | Path) -> list[Path]:
    """Draw ``parallelism.png`` and ``.svg``: a panel a step with the bands of every sender, and one of entropies.

    Args:
        senders: "trained" and "untrained" (either may be missing) -> records of `read_latents`.
        directory: where the pictures go.
    """
    found = {name: steps_of(records) for name, records in senders.items()}
    count = max(len(steps) for steps in found.values())
    rows = math.ceil((count + 1) / COLUMNS)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * COLUMNS, 2.5 * rows), layout="constrained")
        panels = np.atleast_2d(figure.subplots(rows, COLUMNS, squeeze=False)).flatten()
        for place in range(count):
            _draw_step(panels[place], place, found)
        _draw_entropies(panels[count], found)
        for panel in panels[count + 1 :]:
            panel.set_axis_off()
        paths = [Path(directory) / f"parallelism.{form}" for form in ("png", "svg")]
        write_atomically(paths[0], png_of(figure))
        write_atomically(paths[1], svg_of(figure))
    return paths


def _draw_step(axes: Axes, place: int, found: Mapping[str, Sequence[Step]]) -> None:
    lines = []
    for name, steps in found.items():
        if place >= len(steps):
            continue
        step, colour = steps[place], _COLOURS.get(name, SERIES_COLOURS[0])
        share = (np.arange(len(step.bands)) + 0.5) / len(step.bands)
        below = np.zeros(len(step.bands))
        for band in range(step.bands.shape[1]):
            axes.fill_between(share, below, step.bands[:, band], color=colour, alpha=0.5 / (1 + 0.45 * band), lw=0)
            axes.plot(share, step.bands[:, band], color=colour, lw=0.8)
            below = step.bands[:, band]
        lines.append(f"{name} {step.median_mass:.2f}")
    axes.set(title=f"step {place + 1}", xlim=(0, 1), ylim=(0, 1))
    axes.text(0.97, 0.05, "top-10 mass\n" + "\n".join(lines), ha="right", va="bottom", transform=axes.transAxes,
              fontsize=8, bbox={"facecolor": "white", "edgecolor": INK, "alpha": 0.8, "lw": 0.5})  # fmt: skip
    if place % COLUMNS == 0:
        axes.set_ylabel("cumulative mass")
    axes.set_xlabel("share of the thoughts")


def _draw_entropies(axes: Axes, found: Mapping[str, Sequence[Step]]) -> None:
    for name, steps in found.items():
        colour = _COLOURS.get(name, SERIES_COLOURS[0])
        numbers = [step.step for step in steps]
        low, middle, high = zip(*(step.entropy for step in steps), strict=True)
        axes.fill_between(numbers, low, high, color=colour, alpha=0.2, lw=0)
        axes.plot(numbers, middle, "o-", color=colour, label=name, ms=4)
    axes.set(title="entropy, nats", xlabel="latent step", ylim=(0, None))
    axes.legend(frameon=False, fontsize=8)
