"""Linear probes against refits of each fold, on stores whose content is known."""

import dataclasses

import numpy as np
import pytest
import torch

from interlat.errors import InputError
from interlat.evaluation.probe import probe
from interlat.store.index import Entry
from interlat.store.manifest import KeptLayer, Manifest
from interlat.store.reading import LatentStore
from interlat.store.writer import writing

SIZE = 6


def store_of(folder, rows, labels, *, tasks=None, layers=1):
    manifest = Manifest(hidden_size=SIZE, layers=tuple(KeptLayer(-1 - n, "pre") for n in range(layers)))
    if layers == 1:
        manifest = Manifest(hidden_size=SIZE)
    with writing(folder, manifest) as writer:
        for number, (states, label) in enumerate(zip(rows, labels, strict=True)):
            task = f"task {number}" if tasks is None else tasks[number]
            metadata = {} if label is None else {"answer": label}
            writer.append(Entry(f"thought {number}", task_id=task, order=number, metadata=metadata), states)
    return LatentStore.open(folder)


def telling_rows(labels, noise, seed=0):
    """Rows of different numbers whose mean says the label, a digit, in one direction each."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for number, label in enumerate(labels):
        states = noise * torch.randn(1 + number % 3, SIZE, generator=generator)
        states[:, int(label) % SIZE] += 1.0
        rows.append(states)
    return rows


def refitted(vectors, labels, tasks, ridge):
    """Accuracy by fitting again without each task, with an intercept as a column that is not penalised."""
    vectors, values = np.array(vectors), sorted(set(labels))
    centred = vectors - vectors.mean(axis=0)
    penalty = ridge * (centred**2).sum() / len(vectors)
    one_hot = np.array([[label == value for value in values] for label in labels], float)
    right = 0
    for task in dict.fromkeys(tasks):
        inside = np.array([one == task for one in tasks])
        columns = np.hstack([np.ones((len(vectors), 1)), vectors])
        kept = columns[~inside]
        penalties = np.diag([0.0] + [penalty] * vectors.shape[1])
        weights = np.linalg.solve(kept.T @ kept + penalties, kept.T @ one_hot[~inside])
        predicted = columns[inside] @ weights
        right += sum(
            values[place] == label
            for place, label in zip(predicted.argmax(axis=1), np.array(labels)[inside], strict=True)
        )
    return right / len(labels)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_accuracy_is_that_of_refits_without_each_task(tmp_path, grouped):
    labels = [str(number % 3) for number in range(36)]
    rows = telling_rows(labels, noise=0.8)
    tasks = [f"task {number // 4 if grouped else number}" for number in range(36)]
    found = probe(store_of(tmp_path / "store", rows, labels, tasks=tasks), "answer", permutations=50)
    expected = refitted([states.mean(dim=0).double().numpy() for states in rows], labels, tasks, 0.1)
    assert found.accuracy.estimate == pytest.approx(expected) and found.tasks == len(set(tasks))
    assert 1 / 3 < expected < 1 and found.classes == 3 and found.most_common == pytest.approx(1 / 3)


def test_what_is_in_the_rows_is_found_and_noise_is_not(tmp_path):
    labels = [str(number % 4) for number in range(60)]
    told = probe(store_of(tmp_path / "told", telling_rows(labels, noise=0.3), labels), "answer", permutations=200)
    assert told.accuracy.low > 0.8 and told.p_value == pytest.approx(1 / 201) and told.chance < 0.35
    generator = torch.Generator().manual_seed(1)
    noise = [torch.randn(2, SIZE, generator=generator) for _ in labels]
    silent = probe(store_of(tmp_path / "noise", noise, labels), "answer", permutations=200)
    assert silent.p_value > 0.05 and silent.accuracy.low < 0.25


def test_p_values_of_noise_are_uniform(tmp_path):
    p_values = []
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        labels = [str(int(value)) for value in torch.randint(0, 2, (24,), generator=generator)]
        rows = [torch.randn(1, SIZE, generator=generator) for _ in labels]
        p_values.append(probe(store_of(tmp_path / str(seed), rows, labels), "answer", permutations=60, least=2).p_value)
    assert 0.3 < float(np.mean(p_values)) < 0.7 and sum(p < 0.1 for p in p_values) <= 8


def test_a_place_of_the_label_and_a_row_of_the_message(tmp_path):
    digits = [str(number % 5) for number in range(50)]
    rows = []
    for number, digit in enumerate(digits):
        states = torch.zeros(2, SIZE)
        states[1, int(digit)] = 1.0
        states[0, 5] = float(number % 7)
        rows.append(states)
    store = store_of(tmp_path / "store", rows, [f"{number % 9}{digit}" for number, digit in enumerate(digits)])
    last = probe(store, "answer", place=1, at="1", permutations=20)
    assert (last.accuracy.estimate, last.label, last.at) == (1.0, "answer[1]", "1")
    assert last == dataclasses.replace(probe(store, "answer", place=1, at="last", permutations=20), at="1")
    assert probe(store, "answer", place=1, at="first", permutations=20).accuracy.estimate < 0.6
    with pytest.raises(InputError, match="0 values"):
        probe(store, "answer", place=7)


def test_thoughts_without_a_label_and_rare_labels_are_left_out(tmp_path):
    labels = ["0", "1"] * 10 + ["2"] * 3 + [None] * 2
    rows = telling_rows([label or "5" for label in labels], noise=0.1)
    found = probe(store_of(tmp_path / "store", rows, labels), "answer", permutations=20)
    assert (found.thoughts, found.left_out, found.classes) == (20, 5, 2)


def test_a_label_that_one_task_alone_has_cannot_be_predicted_and_is_left_out(tmp_path):
    labels = [str(number // 5) for number in range(40)]
    tasks = [f"task {label}" for label in labels]
    with pytest.raises(InputError, match="0 values that 5 tasks"):
        probe(store_of(tmp_path / "store", telling_rows(labels, noise=0.1), labels, tasks=tasks), "answer")


def test_p_values_of_noise_are_uniform_for_tasks_of_other_sizes_too(tmp_path):
    p_values = []
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        sizes = [6, 1, 1, 1, 2, 2, 2, 1, 1, 2, 1, 6, 1, 2, 6]
        tasks = [f"task {task}" for task, size in enumerate(sizes) for _ in range(size)]
        drawn = torch.randint(0, 2, (len(sizes),), generator=generator)
        # What the thoughts of a task share is no sign of the label.
        middle = torch.randn(len(sizes), SIZE, generator=generator)
        labels = [str(int(drawn[int(task.split()[1])])) for task in tasks]
        rows = [middle[int(task.split()[1])][None] + 0.1 * torch.randn(1, SIZE, generator=generator) for task in tasks]
        found = probe(
            store_of(tmp_path / str(seed), rows, labels, tasks=tasks), "answer", permutations=60, least=2, seed=seed
        )
        p_values.append(found.p_value)
        assert found.accuracy.low < found.accuracy.high
    assert 0.3 < float(np.mean(p_values)) < 0.75 and sum(p < 0.1 for p in p_values) <= 8


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"label": "colour"}, "no thought has a label 'colour', expected one of task_type.*answer"),
        ({"label": "answer", "least": 30}, "0 values"),
        ({"label": "answer", "at": "middle"}, "at is 'middle'"),
        ({"label": "answer", "ridge": 0.0}, "ridge is 0.0"),
        ({"label": "answer", "permutations": 0}, "permutations is 0"),
    ],
)
def test_what_cannot_be_probed_is_refused(tmp_path, options, named):
    labels = [str(number % 2) for number in range(20)]
    store = store_of(tmp_path / "store", telling_rows(labels, noise=0.1), labels)
    with pytest.raises(InputError, match=named):
        probe(store, **options)


def test_several_layers_are_refused(tmp_path):
    rows = [torch.randn(2, 2, SIZE) for _ in range(6)]
    with pytest.raises(InputError, match="2 layers"):
        probe(store_of(tmp_path / "store", rows, ["0", "1"] * 3, layers=2), "answer")
