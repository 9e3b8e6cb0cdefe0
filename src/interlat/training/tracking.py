"""Trainings in an experiment tracker: trackio or wandb, which are called the same way."""

import contextlib
import dataclasses
import importlib
import itertools
import json
import secrets
import sys
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

from interlat.errors import InputError
from interlat.files import read_lines, write_atomically
from interlat.training.loop import read_metrics
from interlat.training.settings import Tracking
from interlat.typed import check_choices

TRACKING_FILE = "tracking.json"


def tracked(
    steps: Iterable[tuple[int, dict[str, float]]], tracking: Tracking, directory: str | Path
) -> Generator[tuple[int, dict[str, float]], None, None]:
    """Pass the steps of a training on, of which nothing may have run yet, and log each of them.

    A training that is continued continues its run in the tracker, which ``tracking.json`` in its folder names. One that
    was begun without the tracker brings the steps that it has along. The run there ends when the steps end, however
    they do, or when this iterator is closed. Its configuration is all fields of ``tracking``, those of a subclass too.

    Raises:
        InputError: no such tracker, its package is missing, or it cannot begin a run.
    """
    check_choices(tracking, "tracker")
    if tracking.tracker == "none":
        yield from steps
        return
    try:
        package: Any = importlib.import_module(tracking.tracker)
    except ImportError as error:
        raise InputError(
            f"the tracker {tracking.tracker} is not usable here ({error}); install it (pip install {tracking.tracker}) "
            "or set tracker to none"
        ) from error
    records = read_metrics(directory)
    taken = iter(steps)
    # Not before the first step: a training that is refused leaves its folder and the run in the tracker as they were.
    first = list(itertools.islice(taken, 1))
    continued = _begin(package, tracking, Path(directory))
    with contextlib.ExitStack() as ending:
        ending.callback(_quietly, package.finish)
        if not continued:
            for record in records:
                package.log({name: value for name, value in record.items() if name != "step"}, step=record["step"])
        # Steps behind the last checkpoint are taken again with the same result; a tracker would hold them twice.
        logged = records[-1]["step"] if records else 0
        for step, metrics in itertools.chain(first, taken):
            if step > logged:
                package.log(dict(metrics), step=step)
            yield step, metrics


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
        resume, config = "allow" if continued else "never", dataclasses.asdict(tracking)
        _quietly(package.init, project=tracking.project, name=run["name"], config=config, resume=resume, **identity)
    except Exception as error:  # each tracker has errors of its own, and the network's
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{tracking.tracker} cannot begin the run {run['name']!r} of project {tracking.project!r}: {reason}; "
            "check login, network and project name, or set tracker to none"
        ) from error
    write_atomically(file, json.dumps(run) + "\n")
    return continued


def _quietly(call: Callable[..., Any], **options: Any) -> None:
    """Trackers greet and part on stdout, which belongs to the data."""
    with contextlib.redirect_stdout(sys.stderr):
        call(**options)
