"""Pictures of a store: how long its thoughts are, how large their latents, and how their task types lie."""

import random
from collections import Counter
from collections.abc import Sequence
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
"""More means than that make a picture slow and no clearer."""
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
    """What the pictures need to know of some thoughts."""

    means: Float[Tensor, "N D"]
    """Mean latent of each thought, of the first kept layer."""
    task_types: tuple[str, ...]
    norms: Float[Tensor, "R"]
    """Norms of some latents."""


@dataclass(frozen=True, eq=False)
class Plane:
    """Points in their first two principal components."""

    points: Float[Tensor, "N 2"]
    """Coordinates about the mean."""
    shares: tuple[float, float]
    """Share of the variance along each."""


@matplotlib.rc_context(STYLE)
def plot_store(store: LatentStore, output_directory: str | Path, max_rows: int = 20000, seed: int = 0) -> list[Path]:
    """Write ``lengths.png``, ``norms.png`` and ``pca.png``, each atomically.

    Args:
        store: the store, or a part of it.
        output_directory: where the files go.
        max_rows: most latents whose norms are counted, a random sample from at most `MOST_THOUGHTS` thoughts.
        seed: decides which thoughts and latents are drawn.

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
        "lengths": lengths_figure(store.lengths),
        "norms": norms_figure(sample.norms),
        "pca": plane_figure(principal_plane(sample.means), sample.task_types),
    }
    paths = [Path(output_directory) / f"{name}.png" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        write_atomically(path, png_of(figure))
    return paths


def sample_of(store: LatentStore, max_rows: int, seed: int) -> Sample:
    """Means and norms of a random sample of thoughts, the same one for the same seed."""
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
    """The first two principal components of some points, from the products ``[N, N]`` of all pairs.

    The coordinate that is largest in size is positive, so that the same points always give the same picture.
    """
    centred = points.double() - points.double().mean(dim=0)
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    # A single point has one component only.
    missing = (0, max(0, 2 - len(values)))
    values = nn.functional.pad(values.flip(0)[:2].clamp(min=0), missing)
    coordinates = nn.functional.pad(vectors.flip(1)[:, :2], missing) * values.sqrt()
    largest = coordinates.gather(0, coordinates.abs().argmax(dim=0, keepdim=True))
    total = float(centred.square().sum())
    shares = (values / total if total > 0 else torch.zeros(2)).tolist()
    return Plane(coordinates * torch.where(largest < 0, -1.0, 1.0), (shares[0], shares[1]))


def lengths_figure(lengths: Sequence[int]) -> Figure:
    """How many thoughts have how many latents, with the median."""
    shortest, longest = min(lengths), max(lengths)
    step = -(-(longest - shortest + 1) // MOST_BARS)
    # On halves, so that a bar stands over the whole numbers that it counts.
    edges = np.arange(shortest, longest + step + 1, step) - 0.5
    figure, axes = _histogram(np.asarray(lengths), edges, _counted(len(lengths), "thought"))
    axes.set_xlim(max(edges[0] - 2, 0), edges[-1] + 2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="rows of a thought", ylabel="thoughts")
    return figure


def norms_figure(norms: Float[Tensor, "R"]) -> Figure:
    """How many latents have which norm, with the median; on a logarithmic axis if a few are far larger than most."""
    values = norms.double().numpy()
    low, high = float(values.min()), float(values.max())
    logarithmic = low > 0 and high > FAR * float(np.median(values))
    # Latents of one and the same norm make one bar in the middle.
    spread = (low, high) if high > low else (low - 0.5, low + 0.5)
    edges = (np.geomspace if logarithmic else np.linspace)(*spread, MOST_BARS + 1)
    figure, axes = _histogram(values, edges, _counted(len(values), "row"))
    axes.set(xlabel="Euclidean norm of a row", ylabel="rows", xscale="log" if logarithmic else "linear")
    return figure


def _histogram(values: np.ndarray, edges: np.ndarray, counted: str) -> tuple[Figure, Axes]:
    """Bars between the edges, with the median dashed."""
    figure, axes = _panel()
    axes.hist(values, bins=edges.tolist(), color=_BAR, rwidth=0.92)
    median = float(np.median(values))
    axes.axvline(median, color=INK, linewidth=1.3, linestyle=(0, (4, 3)))
    axes.set_title(f"{counted}, median {median:.4g} (dashed)", fontsize=10.5, loc="left")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, axes


def plane_figure(plane: Plane, task_types: Sequence[str]) -> Figure:
    """The mean latents in their plane, coloured by task type; rare types are "other"."""
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
    first, second = (f"{100 * share:.0f} %" for share in plane.shares)
    axes.set(xlabel=f"first principal component, {first} of the variance", ylabel=f"second, {second}")
    return figure


def _panel(width: float = 5.6, height: float = 3.4) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, tidy(figure.subplots())


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
