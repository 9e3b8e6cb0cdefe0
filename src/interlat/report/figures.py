"""Figures of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure

from interlat.files import atomic_path
from interlat.report.table import splits_of, summarise

# Okabe and Ito's palette, distinct to colour-blind readers.
_COLOURS = {"none": "#999999", "text": "#0072B2", "text_sampled": "#56B4E9", "list": "#009E73", "latent": "#D55E00"}
_CONTROL_COLOUR = "#CC79A7"


def success_figure(records: Sequence[dict[str, Any]]) -> Figure:
    """Success of every variant with its 95 % Wilson interval, one panel a split."""
    splits = splits_of(records)
    rows = summarise(records)
    count = len({row.variant for row in rows})
    figure = Figure(figsize=(3.2 * len(splits) + 1.4, 0.36 * count + 1.3), layout="constrained")
    axes = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
    for axis, split in zip(axes, splits, strict=True):
        chosen = [row for row in rows if row.split == split][::-1]
        for place, row in enumerate(chosen):
            rate = row.success
            axis.errorbar(
                100 * rate.estimate,
                place,
                xerr=[[100 * (rate.estimate - rate.low)], [100 * (rate.high - rate.estimate)]],
                fmt="o",
                capsize=3,
                color=_COLOURS.get(row.variant, _CONTROL_COLOUR),
            )
        axis.set_yticks(range(len(chosen)), [row.variant for row in chosen])
        axis.set_title(f"{split} ({chosen[0].episodes} games)", fontsize=10)
        axis.set_xlim(0, 100)
        axis.set_xlabel("success, %")
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def save_figure(figure: Figure, directory: Path, name: str) -> str:
    """Write a figure as PNG and SVG; the SVG text."""
    with atomic_path(directory / f"{name}.png") as temporary:
        figure.savefig(temporary, format="png", dpi=160)
    with atomic_path(directory / f"{name}.svg") as temporary:
        # No date and fixed ids: the same records give the same file.
        with matplotlib.rc_context({"svg.hashsalt": "interlat", "svg.fonttype": "path"}):
            figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
        text = temporary.read_text()
    return text[text.index("<svg") :]
