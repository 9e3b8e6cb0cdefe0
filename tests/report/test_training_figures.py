import json
import math

import matplotlib.image
import pytest
from matplotlib.colors import to_hex

from interlat.errors import InputError
from interlat.report import training_figures
from interlat.report.training_figures import (
    Training,
    comparison_figure,
    plot_training,
    smoothed,
    training_figure,
)


@pytest.fixture
def make_run(tmp_path):
    def make(name="run", steps=100, first=0.8, last=0.4, parts=(), every=20, another=False):
        lines = []
        for step in range(1, steps + 1):
            share = step / steps
            loss = first ** (1 - share) * last**share
            record = {"step": step, "loss": loss + len(parts), **({"task": loss} if parts else {})}
            record |= dict.fromkeys(parts, 0.7 * (1 - share))
            if every and step % every == 0:
                record["validation_loss"] = loss / 2 + abs(share - 0.6)
                if another:
                    record["validation_loss_of_another_message"] = loss
            lines.append(json.dumps(record))
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "metrics.jsonl").write_text("\n".join(lines) + "\n")
        return tmp_path / name

    return make


def lines_of(axes):
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_picture_stands_in_the_folder_of_its_training_and_is_the_same_again(make_run):
    run = make_run(parts=("contrastive", "plan_distillation"), another=True)
    paths = plot_training([run])
    assert paths == [run / "loss.png", run / "loss.svg"]
    before = [path.read_bytes() for path in paths]
    picture = matplotlib.image.imread(paths[0])
    assert picture.shape[1] >= 1200 and 0.5 < picture.mean() < 0.99
    plot_training([str(run)])
    assert before == [path.read_bytes() for path in paths] and not list(run.glob(".*"))


def test_training_validation_and_the_best_of_it(make_run):
    (axes,) = training_figure(Training.read(make_run(another=True))).axes
    lines = lines_of(axes)
    assert list(lines) == [
        "training, every step",
        "training, mean of 3 steps",
        "validation",
        "validation, another task's message",
        "best validation: 0.2639 at step 60",
    ]
    assert len(lines["training, every step"]) == 100 and len(lines["validation"]) == 5
    assert lines["best validation: 0.2639 at step 60"] == [min(lines["validation"])]
    assert axes.get_title(loc="left") == "run, 100 steps" and axes.get_yscale() == "linear"


def test_other_losses_have_panels_of_their_own_beside_the_cross_entropy(make_run):
    for parts in (("contrastive",), ("plan_distillation",), ("contrastive", "plan_distillation")):
        figure = training_figure(Training.read(make_run("-".join(parts), parts=parts)))
        first, *others = figure.axes
        titles = [axes.get_title(loc="left").split(":")[0] for axes in others]
        assert titles == [part.replace("_", " ") for part in parts]
        assert max(lines_of(first)["training, every step"]) < 1, "the sum of all losses, which validation is not"
        assert all(axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > 0.69 for axes in others)
        assert len(legend_of(figure)) == len(set(legend_of(figure))) == 4


def test_a_loss_that_falls_far_stands_on_a_logarithmic_axis(make_run):
    (axes,) = training_figure(Training.read(make_run(first=8, last=0.05))).axes
    assert axes.get_yscale() == "log"


@pytest.mark.parametrize("steps", [1, 3])
def test_a_training_that_has_just_begun(make_run, steps):
    run = make_run(steps=steps, every=0)
    assert len(plot_training([run])) == 2
    (axes,) = training_figure(Training.read(run)).axes
    assert list(lines_of(axes)) == ["training"]
    assert axes.get_title(loc="left") == f"run, {steps} step{'s' * (steps > 1)}"


def test_a_separation_that_has_reached_its_margin_is_drawn(make_run):
    run = make_run(steps=1, parts=("contrastive",))
    assert lines_of(training_figure(Training.read(run)).axes[1]) == {"training": [0.0]}
    plot_training([run])


def test_a_torn_last_line_is_left_out(make_run):
    run = make_run(steps=3)
    with open(run / "metrics.jsonl", "a") as handle:
        handle.write('{"step": 4, "lo')
    assert len(Training.read(run).records) == 3


def test_a_long_training_does_not_make_a_huge_file(make_run, monkeypatch):
    run = make_run(steps=400)
    _, before = plot_training([run])
    assert "<image" not in before.read_text()
    monkeypatch.setattr(training_figures, "LONG", 100)
    _, after = plot_training([run])
    assert "<image" in after.read_text()
    lines = lines_of(training_figure(Training.read(run)).axes[0])
    assert len(lines["training, every step"]) == 400 and len(lines["training, mean of 11 steps"]) == 100


def test_several_trainings_are_compared_by_their_validations(make_run, tmp_path):
    runs = [make_run("latent"), make_run("text", steps=60), make_run("none", every=0)]
    figure = comparison_figure([Training.read(run) for run in runs])
    assert legend_of(figure) == [
        "latent\nbest 0.2639 at 60",
        "text\nbest 0.3187 at 40",
        "none\nno validation yet",
    ]
    lines = figure.axes[0].get_lines()
    assert len({to_hex(line.get_color()) for line in lines if line.get_linestyle() == "-"}) == 3
    assert len({line.get_marker() for line in lines}) == 3
    paths = plot_training(runs, tmp_path / "out")
    assert paths == [tmp_path / "out" / "loss.png", tmp_path / "out" / "loss.svg"]
    assert not (runs[0] / "loss.png").exists()


def test_trainings_of_the_same_name_are_told_apart_by_their_paths(make_run, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        training_figures, "comparison_figure", lambda found: drawn.extend(found) or comparison_figure(found)
    )
    plot_training([make_run("x/a/latent"), make_run("x/b/latent")], tmp_path / "out")
    assert [training.name for training in drawn] == ["a/latent", "b/latent"]


def test_what_cannot_be_drawn_is_said(make_run, tmp_path):
    with pytest.raises(InputError, match=r"has no metrics\.jsonl"):
        plot_training([tmp_path / "nowhere"])
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="first step"):
        plot_training([tmp_path])
    run, other = make_run(every=0), make_run("other", every=0)
    with pytest.raises(InputError, match="set output"):
        plot_training([run, other])
    with pytest.raises(InputError, match="none of these trainings has a validation"):
        plot_training([run, other], tmp_path / "out")
    for count in (0, 11):
        with pytest.raises(InputError, match="give 1 to 10"):
            plot_training([run] * count, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("width", [1, 3, 5, 99])
def test_a_smoothed_line_is_a_mean_of_what_is_near(width):
    values = [math.sin(place) for place in range(20)]
    means = smoothed(values, width)
    for place, mean in enumerate(means):
        near = values[max(0, place - width // 2) : place + width // 2 + 1]
        assert mean == pytest.approx(sum(near) / len(near))
