"""Pictures of a store: how long its thoughts are, how large their rows, and how their task types lie to each other."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn

from interlat.errors import InputError
from interlat.files import write_atomically
from interlat.report.figures import INK, ROLE_COLOURS, SERIES_COLOURS, SERIES_MARKS, STYLE, png_of, tidy
from interlat.store.reading import LatentStore
from interlat.store.writer import row_norms

MOST_THOUGHTS = 2000
"""More mean rows than that make a picture slow and no clearer."""
MOST_BARS = 50
MOST_TYPES = 10
FAR = 8.0
"""Norms this many times larger than the median spread over a logarithmic axis."""
LABEL_WIDTH = 32
OTHER = "other"
UNNAMED = "no type"
_GREY = ROLE_COLOURS["none"]
_BAR = ROLE_COLOURS["text"]


@dataclass(frozen=True, eq=False)
class Sample:
    """What the pictures need to know of the rows of some thoughts."""

    mean_rows: Float[Tensor, "N D"]
    """Mean row of each thought, of the first kept layer."""
    task_types: tuple[str, ...]
    """Their task types."""
    norms: Float[Tensor, "R"]
    """Norms of some rows."""


@dataclass(frozen=True, eq=False)
class Plane:
    """Points in their first two principal components."""

    points: Float[Tensor, "N 2"]
    """Coordinates about the mean."""
    shares: tuple[float, float]
    """Share of the variance along each."""


def plot_store(store: LatentStore, output_directory: str | Path, max_rows: int = 20000, seed: int = 0) -> list[Path]:
    """Write ``lengths.png``, ``norms.png`` and ``pca.png``, each atomically.

    Args:
        store: the store, or a part of it.
        output_directory: where the files go.
        max_rows: most rows whose norms are counted, drawn by chance from at most `MOST_THOUGHTS` thoughts.
        seed: decides which thoughts and rows are drawn.

    Raises:
        InputError: the store has no thoughts, or ``max_rows`` is below 1.
        StorageError: the store is damaged, or the file system refused.
    """
    if not len(store):
        raise InputError(f"{store.directory} has no thoughts to plot; collect some first")
    if max_rows < 1:
        raise InputError(f"max_rows is {max_rows}, expected at least 1; raise it")
    sample = sample_of(store, max_rows, seed)
    figures = {
        "lengths": lambda: lengths_figure(store.lengths),
        "norms": lambda: norms_figure(sample.norms),
        "pca": lambda: plane_figure(principal_plane(sample.mean_rows), sample.task_types),
    }
    return [_write(make, Path(output_directory) / f"{name}.png") for name, make in figures.items()]


def sample_of(store: LatentStore, max_rows: int, seed: int) -> Sample:
    """Mean rows and norms of thoughts drawn by chance, the same ones for the same seed."""
    rng = random.Random(f"plot/{seed}")
    numbers = sorted(rng.sample(range(len(store)), min(MOST_THOUGHTS, len(store))))
    means, norms = [], []
    for number in numbers:
        states = store.hidden_states(number).float()
        rows = states if states.ndim == 2 else states[:, 0]
        means.append(rows.mean(dim=0))
        norms.append(row_norms(rows))
    every = torch.cat(norms)
    kept = rng.sample(range(len(every)), max_rows) if len(every) > max_rows else list(range(len(every)))
    types = store.table.column("task_type").to_pylist()
    return Sample(torch.stack(means), tuple(types[number] for number in numbers), every[sorted(kept)])


def principal_plane(points: Float[Tensor, "N D"]) -> Plane:
    """The first two principal components of some points.

    The smaller of the two product matrices is decomposed, ``[D, D]`` or ``[N, N]``. The coordinate that is largest in
    size is positive, so that the same points always give the same picture.
    """
    centred = points.double() - points.double().mean(dim=0)
    count, size = centred.shape
    values, vectors = torch.linalg.eigh(centred.T @ centred if size <= count else centred @ centred.T)
    values, vectors = values.flip(0)[:2].clamp(min=0), vectors.flip(1)[:, :2]
    coordinates = centred @ vectors if size <= count else vectors * values.sqrt()
    missing = (0, 2 - len(values))
    values, coordinates = nn.functional.pad(values, missing), nn.functional.pad(coordinates, missing)
    largest = coordinates.gather(0, coordinates.abs().argmax(dim=0, keepdim=True))
    total = float(centred.square().sum())
    shares = (values / total if total > 0 else torch.zeros(2)).tolist()
    return Plane(coordinates * torch.where(largest < 0, -1.0, 1.0), (shares[0], shares[1]))


def lengths_figure(lengths: Sequence[int]) -> Figure:
    """How many thoughts have how many rows, with the median."""
    figure, axes = _panel()
    shortest, longest = min(lengths), max(lengths)
    step = -(-(longest - shortest + 1) // MOST_BARS)
    # On halves, so that a bar stands over the whole numbers that it counts.
    edges = np.arange(shortest, longest + step + 1, step) - 0.5
    axes.hist(lengths, bins=edges.tolist(), color=_BAR, rwidth=0.92)
    _mark_median(axes, float(np.median(lengths)), _counted(len(lengths), "thought"))
    axes.set_xlim(max(edges[0] - 2, 0), edges[-1] + 2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("rows of a thought")
    axes.set_ylabel("thoughts")
    return figure


def norms_figure(norms: Float[Tensor, "R"]) -> Figure:
    """How many rows have which norm, with the median; on a logarithmic axis if few rows are far larger than most."""
    figure, axes = _panel()
    values = norms.double().numpy()
    median = float(np.median(values))
    low, high = float(values.min()), float(values.max())
    if low > 0 and high > FAR * median:
        edges = np.geomspace(low, high, MOST_BARS + 1)
        axes.set_xscale("log")
    else:
        # Rows of one and the same norm make one bar in the middle.
        spread = (low, high) if high > low else (low - 0.5, low + 0.5)
        edges = np.linspace(*spread, MOST_BARS + 1)
    axes.hist(values, bins=edges.tolist(), color=_BAR, rwidth=0.92)
    _mark_median(axes, median, _counted(len(values), "row"))
    axes.set_xlabel("Euclidean norm of a row")
    axes.set_ylabel("rows")
    return figure


def plane_figure(plane: Plane, task_types: Sequence[str]) -> Figure:
    """The mean rows in their plane, coloured by task type; rare types are "other"."""
    counts = Counter(name or UNNAMED for name in task_types)
    named = [name for name, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_TYPES]]
    groups = np.array([name if name in named else OTHER for name in (name or UNNAMED for name in task_types)])
    looks = dict(zip(named, zip(SERIES_COLOURS, SERIES_MARKS, strict=True), strict=False))
    figure, axes = _panel(width=7.6, height=4.6)
    points = plane.points.numpy()
    handles, labels = [], []
    # Rare types come last, so that frequent ones do not hide them.
    for name in [*named, *([OTHER] if OTHER in groups else [])]:
        colour, mark = looks.get(name, (_GREY, "*"))
        chosen = points[groups == name]
        handles.append(axes.scatter(chosen[:, 0], chosen[:, 1], s=18, c=colour, marker=mark, alpha=0.6, linewidths=0))
        labels.append(f"{name[:LABEL_WIDTH]} ({len(chosen)})")
    axes.set_aspect("equal", adjustable="datalim")
    legend = figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9, handletextpad=0.2)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)
    axes.set_title(f"mean row of {_counted(len(points), 'thought')}", fontsize=10.5, loc="left")
    axes.set_xlabel(f"first principal component, {100 * plane.shares[0]:.0f} % of the variance")
    axes.set_ylabel(f"second, {100 * plane.shares[1]:.0f} %")
    return figure


def _panel(width: float = 5.6, height: float = 3.4) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, tidy(figure.subplots())


def _mark_median(axes: Axes, median: float, counted: str) -> None:
    axes.axvline(median, color=INK, linewidth=1.3, linestyle=(0, (4, 3)))
    axes.set_title(f"{counted}, median {median:.4g} (dashed)", fontsize=10.5, loc="left")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _write(make: Callable[[], Figure], path: Path) -> Path:
    with matplotlib.rc_context(STYLE):
        figure = make()
    write_atomically(path, png_of(figure))
    return path
