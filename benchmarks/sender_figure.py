"""How much longer writing a plan takes than thinking a few latents, for plans of several lengths."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from interlat.errors import InputError
from interlat.report.figures import INK, ROLE_COLOURS, STYLE, save_figure

PUBLISHED = 24
"""The gain that Interlat (arXiv 2511.09149) reports."""


def plot_sender(records: Sequence[Mapping[str, Any]], directory: str | Path) -> list[Path]:
    """Draw ``sender.png`` and ``.svg``: the ratio of the two times over the tokens of the plan, both logarithmic.

    Args:
        records: those of `python -m benchmarks sender`, one a plan length.
        directory: where the pictures go.

    Raises:
        InputError: no records.
    """
    if not records:
        raise InputError("there are no measurements to draw; make them with `python -m benchmarks sender`")
    lengths = [record["plan_tokens"] for record in records]
    ratios = [record["ratio"] for record in records]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(lengths, ratios, "o-", color=ROLE_COLOURS["latent"], label="writing / thinking, measured")
        axes.axhline(PUBLISHED, color=ROLE_COLOURS["control"], ls="--", lw=1, label=f"{PUBLISHED} times, as published")
        axes.axhline(1, color=INK, lw=0.8, alpha=0.5)
        for length, ratio in zip(lengths, ratios, strict=True):
            axes.annotate(f"{ratio:.3g}", (length, ratio), xytext=(0, 7), textcoords="offset points", ha="center")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(lengths, [str(length) for length in lengths])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.set_ylim(top=max(*ratios, PUBLISHED) * 1.6)
        axes.set_xlabel("tokens of the plan")
        axes.set_ylabel("times longer")
        axes.set_title(records[0]["case"].partition(",")[0] + ", " + records[0]["machine"], fontsize=9)
        axes.grid(visible=True, alpha=0.25, color=INK)
        axes.legend(frameon=False, loc="upper left")
    return save_figure(figure, directory, "sender")
