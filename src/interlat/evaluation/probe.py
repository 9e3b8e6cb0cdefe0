"""What can be read out of the messages of a store by a straight line: linear probes, with a permutation test.

A probe predicts a label of each thought (its answer, its task type, a digit of a secret) from one vector of its
message. It shows that something is in the message, not that a receiver uses it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from interlat.errors import InputError
from interlat.evaluation.statistics import Interval, mean_interval, wilson_interval
from interlat.store.index import Entry
from interlat.store.reading import LatentStore

MEAN, FIRST, LAST = "mean", "first", "last"
FIELDS = ("task_type", "split", "plan", "task")
"""Fields of a thought that can be a label, beside those of its metadata."""
_LEAST_PENALTY = 1e-9
"""Where all vectors are equal."""


@dataclass(frozen=True)
class Probe:
    """What a linear probe found."""

    label: str
    at: str
    """The vector of a message: the mean of its rows, the first, the last, or a row by its number."""
    thoughts: int
    left_out: int
    """Thoughts without such a row or label, and those whose label too few tasks have."""
    tasks: int
    """Different tasks; the thoughts of a task are predicted together, from those of the other tasks."""
    classes: int
    accuracy: Interval
    """Share of a task's thoughts whose label is predicted from those of other tasks, mean over tasks; with its 95 %
    interval over tasks, Wilson's where each has one thought, else the bootstrap's."""
    most_common: float
    """Share of the most common label: what a guess without any message reaches."""
    chance: float
    """Mean accuracy under shuffled labels."""
    p_value: float
    """One-sided: share of shuffles, the true order included, that reach the accuracy."""


def probe(
    store: LatentStore,
    label: str,
    *,
    place: int | None = None,
    at: str = MEAN,
    ridge: float = 0.1,
    least: int = 5,
    permutations: int = 1000,
    seed: int = 0,
) -> Probe:
    """Predict a label from each message of a store by ridge regression on one-hot labels.

    With Y the labels, X the centred vectors, ``lambda = ridge * trace(X X^T) / n`` and
    ``H = 1 1^T / n + X X^T (X X^T + lambda I)^-1``, the fitted values are H Y. Those of a task without its own labels
    follow from the residuals without another fit: ``Y_g - (I - H_gg)^-1 (Y - H Y)_g``. H knows no labels, so it serves
    all shuffles, which exchange the labels of tasks with as many thoughts, not of thoughts.

    Source: the leave-one-out identity of linear smoothers, G. C. Cawley and N. L. C. Talbot (2003), Pattern
    Recognition 36:2585-2592; the permutation test, B. Phipson and G. K. Smyth (2010), equation 2.

    Args:
        store: messages of one layer.
        label: a field of `FIELDS` or of the metadata.
        place: takes that character of the label only, such as one digit of a number.
        at: ``mean``, ``first``, ``last``, or the number of a row from 0.
        ridge: the penalty, relative to the mean square of a vector.
        least: tasks that must have a label for it to count.
        permutations: shuffles of the labels.
        seed: of the shuffles.

    Raises:
        InputError: several layers, no such label, too few thoughts or labels, or an impossible option.
    """
    if len(store.manifest.layers) != 1:
        raise InputError(
            f"{store.directory} keeps {len(store.manifest.layers)} layers, expected one; export one of them"
        )
    for name, value, bound in (("ridge", ridge, 0.0), ("least", least, 1), ("permutations", permutations, 0)):
        if not value > bound:
            raise InputError(f"{name} is {value}, expected more than {bound}")
    vectors, labels, tasks = _examples(store, label, place, at)
    of_tasks = Counter(value for _, value in set(zip(tasks, labels, strict=True)))
    frequent = {value for value, count in of_tasks.items() if count >= least}
    kept = [number for number, value in enumerate(labels) if value in frequent]
    if len(frequent) < 2:
        raise InputError(
            f"label {label!r} has {len(frequent)} values that {least} tasks or more have, expected at least 2; take "
            "another label or place, collect more tasks, or lower least"
        )
    values = sorted(frequent)
    places = np.array([values.index(labels[number]) for number in kept])
    groups = _groups([tasks[number] for number in kept])
    smoother = _smoother(np.stack([vectors[number] for number in kept]), ridge)
    without_own = np.zeros_like(smoother)
    for group in groups:
        block = np.ix_(group, group)
        without_own[block] = np.linalg.inv(np.eye(len(group)) - smoother[block])
    sizes = np.array([len(group) for group in groups])
    weights = np.zeros(len(kept))
    for group in groups:
        weights[group] = 1.0 / len(group)
    right = _right(smoother, without_own, places, len(values))
    found = _share(right, weights)
    generator = np.random.default_rng(seed)
    shuffled = np.empty(permutations)
    for number in range(permutations):
        exchanged = _exchanged(places, groups, sizes, generator)
        shuffled[number] = _share(_right(smoother, without_own, exchanged, len(values)), weights)
    return Probe(
        label=label if place is None else f"{label}[{place}]",
        at=at,
        thoughts=len(kept),
        left_out=len(store) - len(kept),
        tasks=len(groups),
        classes=len(values),
        accuracy=wilson_interval(int(right.sum()), len(kept))
        if (sizes == 1).all()
        else mean_interval([float(right[group].mean()) for group in groups], seed=seed),
        most_common=float(np.bincount(places).max() / len(kept)),
        chance=float(shuffled.mean()),
        p_value=float((1 + (shuffled >= found).sum()) / (1 + permutations)),
    )


def _examples(
    store: LatentStore, label: str, place: int | None, at: str
) -> tuple[list[np.ndarray], list[str], list[str]]:
    """Vectors, labels and tasks of the thoughts that have them."""
    vectors, labels, tasks = list[np.ndarray](), list[str](), list[str]()
    known = False
    for thought in store:
        value = _label(thought.entry, label)
        known = known or value is not None
        row = _vector(thought.hidden_states, at)
        text = "" if value is None else value if place is None else value[place : place + 1] if place >= 0 else ""
        if row is None or not text:
            continue
        vectors.append(row.double().numpy())
        labels.append(text)
        tasks.append(thought.entry.task_id)
    if not known:
        names = sorted({name for number in range(len(store)) for name in store.entry(number).metadata})
        raise InputError(f"no thought has a label {label!r}, expected one of {', '.join([*FIELDS, *names])}")
    return vectors, labels, tasks


def _label(entry: Entry, label: str) -> str | None:
    value = getattr(entry, label) if label in FIELDS else entry.metadata.get(label)
    return None if value is None or isinstance(value, list | dict) else str(value)


def _vector(rows: torch.Tensor, at: str) -> torch.Tensor | None:
    """One vector of a message; None where it has no such row."""
    if at == MEAN:
        return rows.double().mean(dim=0)
    if at in (FIRST, LAST):
        return rows[0 if at == FIRST else -1]
    if not at.isdecimal():
        raise InputError(f"at is {at!r}, expected {MEAN}, {FIRST}, {LAST} or the number of a row from 0")
    return rows[int(at)] if int(at) < len(rows) else None


def _groups(tasks: Sequence[str]) -> list[np.ndarray]:
    """The places of the thoughts of each task."""
    of: dict[str, list[int]] = {}
    for number, task in enumerate(tasks):
        of.setdefault(task, []).append(number)
    return [np.array(places) for places in of.values()]


def _smoother(vectors: np.ndarray, ridge: float) -> np.ndarray:
    """H: from labels to fitted values, with an intercept that is not penalised."""
    count = len(vectors)
    centred = vectors - vectors.mean(axis=0)
    products = centred @ centred.T
    penalty = ridge * max(float(np.trace(products)) / count, _LEAST_PENALTY)
    fitted: np.ndarray = np.linalg.solve(products + penalty * np.eye(count), products).T
    return fitted + 1.0 / count


def _right(smoother: np.ndarray, without_own: np.ndarray, places: np.ndarray, classes: int) -> np.ndarray:
    """Which labels are predicted from the thoughts of other tasks; of equal predictions the first one counts.

    Args:
        smoother: H.
        without_own: the inverse of I - H_gg of each task, 0 elsewhere.
        places: number of the label of each thought.
        classes: how many labels there are.
    """
    labels = np.eye(classes)[places]
    predicted = labels - without_own @ (labels - smoother @ labels)
    # Rounded, so that no last bit decides between equal ones.
    found: np.ndarray = predicted.round(12).argmax(axis=1) == places
    return found


def _share(right: np.ndarray, weights: np.ndarray) -> float:
    """The mean over tasks of the share of their thoughts; rounded, so that equal ones are equal to the last bit."""
    return round(float(right @ weights / weights.sum()), 12)


def _exchanged(
    places: np.ndarray, groups: Sequence[np.ndarray], sizes: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """The labels of tasks exchanged with those of tasks that have as many thoughts, so that all orders are alike."""
    shuffled = np.empty_like(places)
    for size in np.unique(sizes):
        alike = [groups[number] for number in np.flatnonzero(sizes == size).tolist()]
        for group, other in zip(alike, generator.permutation(len(alike)).tolist(), strict=True):
            shuffled[group] = places[alike[other]]
    return shuffled
