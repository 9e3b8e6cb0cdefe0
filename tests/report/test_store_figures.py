import dataclasses

import matplotlib.image
import numpy as np
import pytest
import torch

from interlat.errors import InputError
from interlat.report.store_figures import (
    lengths_figure,
    norms_figure,
    plane_figure,
    plot_store,
    principal_plane,
    sample_of,
)
from interlat.store.index import Entry
from interlat.store.manifest import KeptLayer, Manifest
from interlat.store.reading import LatentStore
from interlat.store.writer import writing


@pytest.fixture
def store(tmp_path):
    generator = torch.Generator().manual_seed(0)
    with writing(tmp_path / "store", Manifest(hidden_size=16)) as writer:
        for number in range(60):
            centre = 5 * torch.eye(16)[number % 3]
            rows = centre + torch.randn(2 + number % 9, 16, generator=generator)
            writer.append(Entry(f"t{number}", task_type=f"type {number % 3}"), rows)
    return LatentStore.open(tmp_path / "store")


def test_three_pictures_are_written_and_the_same_again(store, tmp_path):
    first = plot_store(store, tmp_path / "one")
    second = plot_store(store, tmp_path / "two")
    assert [path.name for path in first] == ["lengths.png", "norms.png", "pca.png"]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
        picture = matplotlib.image.imread(one)
        assert min(picture.shape[:2]) > 400 and 0.5 < picture.mean() < 0.99
    assert not list(tmp_path.rglob(".*"))


def test_the_plane_is_that_of_the_singular_values():
    generator = torch.Generator().manual_seed(1)
    for count, size in ((50, 7), (7, 50), (2, 2)):
        points = torch.randn(count, size, generator=generator)
        found = principal_plane(points)
        centred = points.double() - points.double().mean(dim=0)
        left, values, _ = torch.linalg.svd(centred, full_matrices=False)
        assert torch.allclose(found.points.abs(), (left[:, :2] * values[:2]).abs(), atol=1e-6)
        shares = values.square() / values.square().sum()
        assert found.shares == pytest.approx(tuple(shares[:2].tolist()), abs=1e-9)
        assert bool((found.points.amax(dim=0) >= found.points.abs().amax(dim=0)).all()), "a sign is random"


@pytest.mark.parametrize("shape", [(1, 4), (5, 1), (1, 1), (3, 4)])
def test_points_without_a_plane_have_one_all_the_same(shape):
    found = principal_plane(torch.ones(shape))
    assert found.points.shape == (shape[0], 2) and torch.allclose(found.points, torch.zeros(()).double(), atol=1e-6)
    assert found.shares == (0.0, 0.0)


def test_task_types_that_differ_lie_apart(store):
    sample = sample_of(store, 10**6, seed=0)
    points = principal_plane(sample.means).points
    types = np.array(sample.task_types)
    centres = {name: points[types == name].mean(dim=0) for name in set(types)}
    near = [min(centres, key=lambda name: float((point - centres[name]).norm())) for point in points]
    assert np.mean(np.array(near) == types) > 0.95


def test_a_sample_is_drawn_by_the_seed_and_no_larger_than_asked(store, monkeypatch):
    monkeypatch.setattr("interlat.report.store_figures.MOST_THOUGHTS", 20)
    one, same, other = (sample_of(store, 30, seed) for seed in (0, 0, 1))
    assert one.means.shape == (20, 16) and len(one.norms) == 30 and len(one.task_types) == 20
    assert torch.equal(one.means, same.means) and torch.equal(one.norms, same.norms)
    assert not torch.equal(one.means, other.means)


def test_a_sample_of_everything_is_everything(store):
    sample = sample_of(store, 10**6, seed=3)
    assert torch.equal(sample.means, torch.stack([thought.hidden_states.mean(dim=0) for thought in store]))
    assert torch.equal(sample.norms, torch.cat([thought.hidden_states.norm(dim=1) for thought in store]))


def test_the_first_of_several_layers_is_drawn(tmp_path):
    manifest = dataclasses.replace(Manifest(hidden_size=4), layers=(KeptLayer(-1, "post"), KeptLayer(-2, "pre")))
    with writing(tmp_path, manifest) as writer:
        writer.append(Entry("a"), torch.stack([torch.ones(3, 4), torch.zeros(3, 4)], dim=1))
    sample = sample_of(LatentStore.open(tmp_path), 100, 0)
    assert sample.norms.tolist() == [2.0] * 3 and sample.means.tolist() == [[1.0] * 4]


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_legend_counts_the_frequent_types_and_puts_the_rest_together():
    types = [f"_type {number}" for number in range(14) for _ in range(20 - number)] + [""] * 30
    figure = plane_figure(principal_plane(torch.rand(len(types), 3)), types)
    wanted = ["no type (30)", *(f"_type {number} ({20 - number})" for number in range(9)), "other (45)"]
    assert labels(figure) == wanted
    (axes,) = figure.axes
    assert sum(len(points.get_offsets()) for points in axes.collections) == len(types)
    assert "% of the variance" in axes.get_xlabel() and axes.get_ylabel().startswith("second, ")


def test_a_few_types_need_no_other():
    figure = plane_figure(principal_plane(torch.rand(3, 3)), ["a", "b", "a"])
    assert labels(figure) == ["a (2)", "b (1)"]


@pytest.mark.parametrize("lengths", [[5], [5, 5, 5], [1, 2, 2, 9], [3, 4000], list(range(1, 400))])
def test_every_length_is_counted(lengths):
    (axes,) = lengths_figure(lengths).axes
    assert sum(bar.get_height() for bar in axes.patches) == len(lengths) and len(axes.patches) <= 51
    assert f"median {np.median(lengths):.4g}" in axes.get_title(loc="left")


@pytest.mark.parametrize(
    ("norms", "scale"),
    [([1.0], "linear"), ([0.0, 900.0, 1.0], "linear"), ([1.0] * 50 + [90.0], "log"), ([2.0] * 9, "linear")],
)
def test_every_norm_is_counted(norms, scale):
    (axes,) = norms_figure(torch.tensor(norms)).axes
    assert sum(bar.get_height() for bar in axes.patches) == len(norms)
    assert axes.get_xscale() == scale


def test_nothing_to_plot_is_an_error(tmp_path, store):
    with writing(tmp_path / "empty", Manifest(hidden_size=4)):
        pass
    with pytest.raises(InputError, match="no thoughts to plot"):
        plot_store(LatentStore.open(tmp_path / "empty"), tmp_path / "out")
    with pytest.raises(InputError, match="max_rows is 0"):
        plot_store(store, tmp_path / "out", max_rows=0)
    assert not (tmp_path / "out").exists()
