import dataclasses
import json
import sys
import types
from dataclasses import dataclass

import pytest

from interlat.errors import InputError
from interlat.training.settings import Tracking
from interlat.training.tracking import tracked


@dataclass(frozen=True)
class Command(Tracking):
    output: str = "x"
    sizes: tuple[int, ...] = (1, 2)


@pytest.fixture(params=["trackio", "wandb"])
def tracker(request, monkeypatch):
    """A package that only writes down how it is called."""
    package = types.ModuleType(request.param)
    package.calls = []
    for name in ("init", "log", "finish"):

        def call(*arguments, _name=name, **options):
            print("* hello from the tracker")
            package.calls.append((_name, arguments, options))

        setattr(package, name, call)
    monkeypatch.setitem(sys.modules, request.param, package)
    return package


def steps(first, last, metrics_file=None):
    for step in range(first, last + 1):
        if metrics_file:
            with open(metrics_file, "a") as handle:
                handle.write(json.dumps({"step": step, "loss": 1 / step}) + "\n")
        yield step, {"loss": 1 / step}


def logged(package):
    return [options["step"] for name, _, options in package.calls if name == "log"]


def test_without_a_tracker_nothing_is_imported_or_written(tmp_path, monkeypatch):
    for name in ("trackio", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
    assert list(tracked(steps(1, 3), Command(), tmp_path)) == list(steps(1, 3))
    assert not list(tmp_path.iterdir())


def test_every_step_is_logged_in_a_run_with_the_name_of_the_folder(tracker, tmp_path, capsys):
    command = Command(tracker=tracker.__name__, project="p")
    passed = list(tracked(steps(1, 3), command, tmp_path / "latent"))
    assert passed == list(steps(1, 3))
    (begin, _, options), *logs, (end, _, _) = tracker.calls
    assert (begin, end) == ("init", "finish")
    assert options["project"] == "p" and options["name"] == "latent" and options["resume"] == "never"
    assert options["config"] == dataclasses.asdict(command) and options["config"]["sizes"] == (1, 2)
    assert logs == [("log", (metrics,), {"step": step}) for step, metrics in passed]
    assert ("id" in options) == (tracker.__name__ == "wandb")
    out = capsys.readouterr()
    assert out.out.count("hello") == len(logs), "init and finish speak on stdout"
    assert out.err.count("hello") == 2


def test_a_continued_training_continues_its_run_and_logs_no_step_twice(tracker, tmp_path):
    command = Command(tracker=tracker.__name__)
    list(tracked(steps(1, 5, tmp_path / "metrics.jsonl"), command, tmp_path))
    first = tracker.calls[0][2]
    tracker.calls.clear()
    # From a checkpoint after step 3, as after a kill.
    assert len(list(tracked(steps(4, 8), command, tmp_path))) == 5
    again = tracker.calls[0][2]
    assert again["resume"] == "allow" and again["name"] == first["name"] and again.get("id") == first.get("id")
    assert logged(tracker) == [6, 7, 8]


def test_a_training_that_was_begun_without_the_tracker_brings_its_steps_along(tracker, tmp_path):
    list(tracked(steps(1, 5, tmp_path / "metrics.jsonl"), Command(), tmp_path))
    list(tracked(steps(4, 8), Command(tracker=tracker.__name__), tmp_path))
    assert tracker.calls[0][2]["resume"] == "never"
    assert logged(tracker) == list(range(1, 9))
    assert tracker.calls[1] == ("log", ({"loss": 1.0},), {"step": 1})


def test_another_project_is_another_run_and_a_renamed_folder_is_not(tracker, tmp_path):
    command = Command(tracker=tracker.__name__)
    list(tracked(steps(1, 1), command, tmp_path / "old"))
    (tmp_path / "old").rename(tmp_path / "new")
    list(tracked(steps(2, 2), command, tmp_path / "new"))
    list(tracked(steps(3, 3), dataclasses.replace(command, project="other"), tmp_path / "new"))
    begins = [options for name, _, options in tracker.calls if name == "init"]
    assert [(options["name"], options["resume"]) for options in begins] == [
        ("old", "never"),
        ("old", "allow"),
        ("new", "never"),
    ]
    if tracker.__name__ == "wandb":
        assert begins[0]["id"] == begins[1]["id"] != begins[2]["id"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError("bad")])
def test_the_run_ends_where_the_training_breaks_off(tracker, tmp_path, error):
    def breaking():
        yield from steps(1, 2)
        raise error

    with pytest.raises((KeyboardInterrupt, InputError)):
        list(tracked(breaking(), Command(tracker=tracker.__name__), tmp_path))
    assert [name for name, _, _ in tracker.calls] == ["init", "log", "log", "finish"]


def test_the_run_ends_where_nobody_asks_for_more_steps(tracker, tmp_path):
    iterator = tracked(steps(1, 9), Command(tracker=tracker.__name__), tmp_path)
    next(iterator)
    iterator.close()
    assert [name for name, _, _ in tracker.calls] == ["init", "log", "finish"]


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    def never():
        raise AssertionError("the training has begun")
        yield

    for name in ("trackio", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(InputError, match=f"pip install {name}"):
            list(tracked(never(), Command(tracker=name), tmp_path))
    with pytest.raises(InputError, match="'mlflow', expected one of none, trackio, wandb"):
        list(tracked(never(), Command(tracker="mlflow"), tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_tracker_that_refuses_is_bad_input(tracker, tmp_path, monkeypatch):
    def refuse(**_):
        raise RuntimeError("no API key\nconfigured")

    monkeypatch.setattr(tracker, "init", refuse)
    with pytest.raises(InputError, match="no API key configured; check login"):
        list(tracked(steps(1, 1), Command(tracker=tracker.__name__), tmp_path))
    assert not list(tmp_path.iterdir())
