"""Pictures of trainings: the loss curves of one, or the validation losses of several."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from interlat.errors import InputError
from interlat.report.figures import INK, SERIES_COLOURS, SERIES_MARKS, STYLE, save_figure, tidy
from interlat.training.loop import METRICS_FILE, SELECTED_BY, best_record, read_metrics

PICTURE = "loss"
ANOTHER = f"{SELECTED_BY}_of_another_message"
PARTS = {
    "contrastive": "contrastive: nats short of the margin",
    "plan_distillation": "plan distillation: distance to the plan in words",
}
"""What may be trained beside the cross-entropy, by the names in the metrics."""
SMOOTHED_OVER = 1 / 40
"""Share of the steps in one mean of a smoothed line."""
LONG = 2000
"""A thin line of more steps is pixels in the SVG, where each of its points would be one of the file."""
FAR = 12.0
"""Losses whose largest is this many times the smallest have a logarithmic axis."""
_TRAINING, _VALIDATION, _ANOTHER = SERIES_COLOURS[0], SERIES_COLOURS[1], SERIES_COLOURS[3]

Records = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Training:
    """What is known of a training so far."""

    name: str
    """Its folder."""
    records: Records
    """Its steps."""

    @classmethod
    def read(cls, directory: str | Path) -> "Training":
        """The training in a folder, finished or not. Raises InputError: no step has been taken there."""
        records = read_metrics(directory)
        if not records:
            raise InputError(
                f"{directory} has no {METRICS_FILE} with steps in it; give the output folder of a training that has "
                "taken its first step"
            )
        return cls(Path(directory).resolve().name, records)


def plot_training(directories: Sequence[str | Path], output_directory: str | Path | None = None) -> list[Path]:
    """Write ``loss.png`` and ``loss.svg``, each atomically.

    Args:
        directories: output folders of trainings; of several, the validation losses are compared.
        output_directory: where the files go; None is the folder of the training, if it is one.

    Raises:
        InputError: a folder without steps, several without any validation or without an output folder, none or too
            many.
        StorageError: the file system refused.
    """
    if not 1 <= len(directories) <= len(SERIES_COLOURS):
        raise InputError(f"{len(directories)} trainings to draw; give 1 to {len(SERIES_COLOURS)}")
    if output_directory is None and len(directories) > 1:
        raise InputError("several trainings in one picture need a folder to put it in; set output")
    trainings = [Training.read(directory) for directory in directories]
    names = _distinct_names([Path(directory).resolve() for directory in directories])
    trainings = [replace(training, name=name) for training, name in zip(trainings, names, strict=True)]
    figure = training_figure(trainings[0]) if len(trainings) == 1 else comparison_figure(trainings)
    target = Path(directories[0] if output_directory is None else output_directory)
    return save_figure(figure, target, PICTURE)


def _distinct_names(directories: Sequence[Path]) -> list[str]:
    """The ends of some paths, as short as tells them apart; whole paths where nothing does."""
    longest = max(len(directory.parts) for directory in directories)
    for count in range(1, longest + 1):
        names = ["/".join(directory.parts[-count:]) for directory in directories]
        if len(set(names)) == len(names):
            return names
    return [str(directory) for directory in directories]


@matplotlib.rc_context(STYLE)
def training_figure(training: Training) -> Figure:
    """The losses of one training, with a panel for each loss beside the cross-entropy.

    Where several losses are trained, the first panel shows the cross-entropy and not their sum: it is what the
    validation measures, and the weights of the others may change on the way.
    """
    parts = [name for name in PARTS if any(name in record for record in training.records)]
    figure = Figure(figsize=(10.0 if parts else 7.6, 4.1), layout="constrained")
    rows: list[Any] = [["loss", name] for name in parts] or [["loss"]]
    panels = figure.subplot_mosaic(rows, width_ratios=[1.6, 1] if parts else [1], sharex=bool(parts))
    for axes in panels.values():
        _dress(axes)
    drawn = _training_lines(panels["loss"], training.records, "task" if parts else "loss")
    drawn += _validations(panels["loss"], training.records)
    _set_scale(panels["loss"], drawn)
    count = len(training.records)
    panels["loss"].set_title(f"{training.name}, {count:,} step{'s' * (count > 1)}", fontsize=10.5, loc="left")
    panels["loss"].set(xlabel="step", ylabel="cross-entropy, nats a token" if parts else "loss")
    for name in parts:
        _training_lines(panels[name], training.records, name)
        panels[name].set_ylim(0, 1.05 * panels[name].dataLim.ymax or 1.0)
        panels[name].set_title(PARTS[name], fontsize=10.5, loc="left")
        panels[name].tick_params(labelbottom=name == parts[-1])
    if parts:
        panels[parts[-1]].set_xlabel("step")
    handles, labels = panels["loss"].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3 if parts else 2, frameon=False, fontsize=9)
    return figure


@matplotlib.rc_context(STYLE)
def comparison_figure(trainings: Sequence[Training]) -> Figure:
    """The validation losses of several trainings, with the best of each.

    Raises:
        InputError: none of them has a validation.
    """
    if all(best_record(training.records) is None for training in trainings):
        raise InputError(
            "none of these trainings has a validation yet, and that is what several are compared by; wait for the "
            "first one, or draw each training on its own"
        )
    drawn: list[float] = []
    figure = Figure(figsize=(7.6, 4.1), layout="constrained")
    axes = _dress(figure.subplots())
    for training, colour, mark in zip(trainings, SERIES_COLOURS, SERIES_MARKS, strict=False):
        best = best_record(training.records)
        result = f"best {best[SELECTED_BY]:.4f} at {best['step']:,}" if best else "no validation yet"
        steps, values = _series(training.records, SELECTED_BY)
        drawn += values
        label = f"{training.name}\n{result}"
        axes.plot(steps, values, color=colour, marker=mark, markersize=4.5, linewidth=1.4, label=label)
        if best:
            _ring(axes, best, colour, mark)
    _set_scale(axes, drawn)
    axes.set_title(f"{len(trainings)} trainings, best validation of each with a ring", fontsize=10.5, loc="left")
    axes.set(xlabel="step", ylabel="validation loss")
    figure.legend(loc="outside right upper", frameon=False, fontsize=9, labelspacing=0.9)
    return figure


def smoothed(values: Sequence[float], width: int) -> list[float]:
    """The mean of ``width`` values around each, at both ends of those that there are."""
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, dtype=np.float64))])
    places = np.arange(len(values))
    first, end = np.maximum(places - width // 2, 0), np.minimum(places + width // 2 + 1, len(values))
    means: list[float] = ((sums[end] - sums[first]) / (end - first)).tolist()
    return means


def _training_lines(axes: Axes, records: Records, name: str) -> list[float]:
    """Draw every step as a thin line and the smoothed steps over it; gives what an axis has to show."""
    steps, values = _series(records, name)
    width = int(len(values) * SMOOTHED_OVER) // 2 * 2 + 1
    if width == 1:
        axes.plot(steps, values, color=_TRAINING, linewidth=1.8, marker=".", label="training")
        return values
    faint: Any = {"color": _TRAINING, "alpha": 0.3, "linewidth": 0.7, "rasterized": len(values) > LONG}
    axes.plot(steps, values, label="training, every step", **faint)
    means = smoothed(values, width)
    every = math.ceil(len(means) / LONG)
    label = f"training, mean of {width} steps"
    axes.plot(steps[::every], means[::every], color=_TRAINING, linewidth=1.9, label=label)
    return means


def _validations(axes: Axes, records: Records) -> list[float]:
    best = best_record(records)
    if best is None:
        return []
    steps, values = _series(records, SELECTED_BY)
    axes.plot(steps, values, color=_VALIDATION, marker="o", markersize=4.5, linewidth=1.4, label="validation")
    other_steps, others = _series(records, ANOTHER)
    if others:
        look: Any = {"color": _ANOTHER, "marker": "s", "markersize": 4.5, "linewidth": 1.4, "linestyle": (0, (4, 2))}
        axes.plot(other_steps, others, label="validation, another task's message", **look)
    label = f"best validation: {best[SELECTED_BY]:.4f} at step {best['step']:,}"
    _ring(axes, best, _VALIDATION, "o", label)
    return values + others


def _ring(axes: Axes, best: dict[str, Any], colour: str, mark: str, label: str | None = None) -> None:
    look: Any = {"linestyle": "none", "markersize": 11, "markerfacecolor": "none", "markeredgewidth": 1.4}
    edge = colour if label is None else INK
    axes.plot(best["step"], best[SELECTED_BY], marker=mark, markeredgecolor=edge, label=label, **look)


def _series(records: Records, name: str) -> tuple[list[int], list[float]]:
    found = [(record["step"], record[name]) for record in records if name in record]
    return [step for step, _ in found], [value for _, value in found]


def _dress(axes: Axes) -> Axes:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7, steps=(1, 2, 2.5, 5, 10)))
    return tidy(axes)


def _set_scale(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis for losses that fall far, so that one sees what happens after the first steps."""
    low, high = min(values), max(values)
    if low <= 0 or high < FAR * low:
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
