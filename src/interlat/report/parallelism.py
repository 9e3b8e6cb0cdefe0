"""Pictures of how many continuations latents hold at once: bands of token mass, and entropy over steps."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.table import Table

from interlat.errors import InputError
from interlat.report.figures import SERIES_COLOURS, STYLE, save_figure
from interlat.report.summary import Record
from interlat.report.table import Column, rich_table

BANDS = 6
"""Most probable tokens whose cumulative mass is drawn."""
COLUMNS = 6
"""Most steps beside each other."""
_COLOURS = {"untrained": "#8c8c8c", "trained": SERIES_COLOURS[1]}


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
    commonest: tuple[str, float]
    """The token that is most often the most probable one, and in which share of the samples it is."""


def steps_of(records: Sequence[Record]) -> list[Step]:
    """The latents of one sender by step. Raises InputError: no records."""
    if not records:
        raise InputError("there are no latents to draw; read some first")
    by_step: dict[int, list[Record]] = {}
    for record in records:
        by_step.setdefault(record["step"], []).append(record)
    found = []
    for step, of in sorted(by_step.items()):
        top = np.array([record["top"] for record in of])
        mass = top.sum(axis=1)
        bands = (top / mass[:, None])[:, :BANDS].cumsum(axis=1)
        low, middle, high = np.quantile([record["entropy"] for record in of], [0.25, 0.5, 0.75]).tolist()
        token, times = Counter(record["tokens"][0] for record in of).most_common(1)[0]
        bands = bands[bands[:, 0].argsort()]
        found.append(Step(step, bands, float(np.median(mass)), (low, middle, high), (token, times / len(of))))
    return found


def parallelism_table(senders: Mapping[str, Sequence[Step]]) -> Table:
    """Median mass of the best token and of the kept ones, and entropy, by step, for a terminal."""

    def columns_of(place: int, name: str) -> list[Column[tuple[Step, ...]]]:
        return [
            Column(f"{name}\nbest", lambda of: f"{np.median(of[place].bands[:, 0] * of[place].median_mass):.3f}"),
            Column(f"{name}\ntop 10", lambda of: f"{of[place].median_mass:.3f}"),
            Column(f"{name}\nentropy", lambda of: f"{of[place].entropy[1]:.2f}"),
        ]

    step = Column[tuple[Step, ...]]("step", lambda of: str(of[0].step))
    columns = [step, *(column for place, name in enumerate(senders) for column in columns_of(place, name))]
    title = "token mass of latents under the language-model head (medians)"
    return rich_table(columns, {"": list(zip(*senders.values(), strict=False))}, title=title, lined=True)


@matplotlib.rc_context(STYLE)
def plot_parallelism(senders: Mapping[str, Sequence[Record]], directory: str | Path) -> list[Path]:
    """Draw ``parallelism.png`` and ``.svg``: for every sender a panel a step, and one of all entropies.

    Args:
        senders: "trained" and "untrained" (either may be missing) -> records of `read_latents`.
        directory: where the pictures go.
    """
    found = {name: steps_of(records) for name, records in senders.items()}
    columns = min(COLUMNS, max(len(steps) for steps in found.values()))
    lines = [(name, steps[at : at + columns]) for name, steps in found.items() for at in range(0, len(steps), columns)]
    figure = Figure(figsize=(max(2.0 * columns, 6), 2.15 * len(lines) + 2.3), layout="constrained")
    ratios = [2.15] * len(lines) + [2.3]
    *rows, last = figure.subfigures(len(ratios), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for row, (name, steps) in zip(rows, lines, strict=True):
        title = f"{name}: mass of the best 1 to {BANDS} tokens, thoughts sorted by the best one's"
        row.suptitle(title, fontsize=10, x=0.01, ha="left")
        panels = row.subplots(1, columns, sharey=True, squeeze=False)[0]
        for panel, step in zip(panels, steps, strict=False):
            _draw_step(panel, step, _COLOURS[name])
        for panel in panels[len(steps) :]:
            panel.set_axis_off()
        panels[0].set_ylabel("cumulative mass")
    last.supxlabel("latent step", fontsize=10)
    _draw_entropies(last.subplots(), found)
    return save_figure(figure, directory, "parallelism")


def _draw_step(axes: Axes, step: Step, colour: str) -> None:
    share = (np.arange(len(step.bands)) + 0.5) / len(step.bands)
    below = np.zeros(len(step.bands))
    for band in range(step.bands.shape[1]):
        above = step.bands[:, band]
        axes.fill_between(share, below, above, color=colour, alpha=0.9 / (1 + 0.6 * band), lw=0)
        below = above
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 1), yticks=(0, 0.5, 1))
    axes.set_title(f"step {step.step}, top 10: {step.median_mass:.2f}", fontsize=9)
    token, often = step.commonest
    axes.set_xlabel(f"{token!r} best in {100 * often:.0f} %", fontsize=8, parse_math=False)


def _draw_entropies(axes: Axes, found: Mapping[str, Sequence[Step]]) -> None:
    for name, steps in found.items():
        colour = _COLOURS[name]
        numbers = [step.step for step in steps]
        low, middle, high = zip(*(step.entropy for step in steps), strict=True)
        axes.fill_between(numbers, low, high, color=colour, alpha=0.2, lw=0)
        axes.plot(numbers, middle, "o-", color=colour, label=name, ms=4)
    axes.set(ylabel="entropy, nats", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)
