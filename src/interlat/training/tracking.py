"""Trainings in an experiment tracker: trackio or wandb, which are called the same way."""

import contextlib
import dataclasses
import importlib
import itertools
import json
import secrets
import sys
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, get_args

from interlat.errors import InputError
from interlat.files import read_lines, write_atomically
from interlat.training.loop import read_metrics
from interlat.training.settings import Tracker as Tracker
from interlat.training.settings import Tracking as Tracking

TRACKING_FILE = "tracking.json"


def tracked(
    steps: Iterable[tuple[int, dict[str, float]]], tracking: Tracking, directory: str | Path
) -> Generator[tuple[int, dict[str, float]], None, None]:
    """Pass the steps of a training on and log each of them.

    A training that is continued continues its run in the tracker. One that was begun without the tracker brings the
    steps that it has along. The run there ends when the steps end, however they do, or when this iterator is closed.

    Args:
        steps: (finished steps, metrics) of the training; nothing of it may have run yet.
        tracking: the tracker and its project; all fields that a subclass has are the configuration of the run there.
        directory: folder of the training, whose ``tracking.json`` says which run of the tracker is its own.

    Raises:
        InputError: no such tracker, its package is missing, or it cannot begin a run.
    """
    if tracking.tracker == "none":
        yield from steps
        return
    package = _package(tracking.tracker)
    records = read_metrics(directory)
    taken = iter(steps)
    # Not before the first step: a training that is refused leaves its folder and the run in the tracker as they were.
    first = list(itertools.islice(taken, 1))
    continued = _begin(package, tracking, Path(directory))
    with contextlib.ExitStack() as ending:
        ending.callback(_finish, package)
        if not continued:
            for record in records:
                package.log({name: value for name, value in record.items() if name != "step"}, step=record["step"])
        # Steps behind the last checkpoint are taken again with the same result; a tracker would hold them twice.
        logged = records[-1]["step"] if records else 0
        for step, metrics in itertools.chain(first, taken):
            if step > logged:
                package.log(dict(metrics), step=step)
            yield step, metrics


def _package(tracker: str) -> Any:
    if tracker not in get_args(Tracker):
        raise InputError(f"tracker is {tracker!r}, expected one of {', '.join(get_args(Tracker))}; choose one of them")
    try:
        return importlib.import_module(tracker)
    except ImportError as error:
        raise InputError(
            f"the tracker {tracker} is not usable here ({error}); install it (pip install {tracker}) or set tracker to "
            "none"
        ) from error


def _begin(package: Any, tracking: Tracking, directory: Path) -> bool:
    """Begin the run in the tracker, or go on with it; whether it was there already."""
    file = directory / TRACKING_FILE
    known = read_lines(file)
    place = {"tracker": tracking.tracker, "project": tracking.project}
    continued = bool(known) and place.items() <= known[0].items()
    # trackio knows a run by its name, wandb by an id; both are kept for a folder that gets another name.
    run = known[0] if continued else {**place, "name": directory.resolve().name, "id": secrets.token_hex(4)}
    identity = {"id": run["id"]} if tracking.tracker == "wandb" else {}
    try:
        # trackio greets on stdout, which belongs to the data.
        with contextlib.redirect_stdout(sys.stderr):
            package.init(
                project=tracking.project,
                name=run["name"],
                config=dataclasses.asdict(tracking),
                resume="allow" if continued else "never",
                **identity,
            )
    except Exception as error:  # each tracker has errors of its own, and the network's
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{tracking.tracker} cannot begin the run {run['name']!r} of project {tracking.project!r}: {reason}; "
            "check login, network and project name, or set tracker to none"
        ) from error
    write_atomically(file, json.dumps(run) + "\n")
    return continued


def _finish(package: Any) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        package.finish()
