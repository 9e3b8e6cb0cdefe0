import dataclasses
import re

import pytest
import torch
from safetensors.torch import save_file

from interlat.errors import CheckpointError
from interlat.store.reading import LatentStore
from interlat.training.checkpoint_file import (
    FREE,
    Header,
    check_identity,
    digest_of,
    examples_identity,
    read_header,
    read_tensors,
    records_identity,
    settings_identity,
    thoughts_identity,
    write_tensors,
)
from interlat.training.examples import Example
from interlat.training.options import Schedule
from interlat.training.settings import TrainActor

TENSORS = {"model/a": torch.arange(6.0).reshape(2, 3), "model/a@step": torch.tensor(3.0), "model/b": torch.zeros(0, 2)}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    assert read_header(path) is None
    write_tensors(path, TENSORS, 7, {"seed": 3, "start": None})
    assert read_header(path) == Header(7, {"seed": 3, "start": None}, digest_of(TENSORS))
    found = read_tensors(path)
    assert found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_equal_trainings_have_equal_files(tmp_path):
    """safetensors writes several names of metadata in an order of its own each time."""
    path, found = tmp_path / "checkpoint.safetensors", set()
    for turn in range(20):
        identity = {"seed": 3, "start": None}
        write_tensors(path, TENSORS, 7, identity if turn % 2 else dict(reversed(identity.items())))
        found.add(path.read_bytes())
    assert len(found) == 1


def test_every_flipped_bit_is_seen(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    write_tensors(path, TENSORS, 7, {})
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    for place in range(start, len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="its tensors are not those that were written"):
            read_tensors(path)


@pytest.mark.parametrize("kept", [0, 7, 40, -1])
def test_a_file_that_was_cut_short_is_one_line(tmp_path, kept):
    path = tmp_path / "checkpoint.safetensors"
    write_tensors(path, TENSORS, 7, {})
    path.write_bytes(path.read_bytes()[:kept])
    for read in (read_header, read_tensors):
        with pytest.raises(CheckpointError, match=re.escape(f"{path} is damaged (")):
            read(path)


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"step": "x"}, *({"training": said} for said in ("{", "3", "{}", '{"step": 1, "identity": 3}'))],
)
def test_a_foreign_file_is_one_line(tmp_path, metadata):
    path = tmp_path / "checkpoint.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata)
    with pytest.raises(CheckpointError, match="is damaged"):
        read_header(path)


def test_a_file_of_the_first_version_says_no_more_than_its_step(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_file(TENSORS, path, {"step": "5"})
    assert read_header(path) == Header(5) and read_tensors(path).keys() == TENSORS.keys()


CONFIG = TrainActor("out", "episodes.jsonl", start="model")
EXAMPLE = Example(
    before=(1, 2), after=(3, 4), labels=(3, -100), weights=(1.0, 3.0), item="a#0", soft=((0, ((3, 0.5),)),)
)


def identity(config=CONFIG):
    return settings_identity(TrainActor, config, ("episodes", "start"))


@pytest.mark.parametrize(
    "changes",
    [
        {"output": "elsewhere", "threads": 2, "device": "cpu", "compile": True, "gradient_checkpointing": True},
        {"schedule": Schedule(steps=7, stop_at=3, patience=2, micro_batch_size=1, checkpoint_every=5)},
        {"episodes": "moved.jsonl", "start": "moved"},
    ],
    ids=["machine", "length", "places"],
)
def test_where_and_how_long_it_runs_is_free(changes):
    assert identity(dataclasses.replace(CONFIG, **changes)) == identity()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"seed": 5}, "seed"),
        ({"search_weight": 1.0}, "search_weight"),
        ({"schedule": Schedule(learning_rate=1e-2)}, "schedule.learning_rate"),
        ({"schedule": Schedule(batch_size=4)}, "schedule.batch_size"),
        ({"schedule": Schedule(load_best_at_end=True)}, "schedule.load_best_at_end"),
        ({"lora": dataclasses.replace(CONFIG.lora, targets=("q_proj",))}, "lora.targets"),
    ],
)
def test_other_settings_are_refused_by_name_and_value(changes, name):
    known, now = identity(), identity(dataclasses.replace(CONFIG, **changes))
    with pytest.raises(CheckpointError, match=f"checkpoint is of another training: {name} was .* and is now"):
        check_identity("checkpoint", known, now)
    check_identity("checkpoint", known, known)


def test_every_difference_is_named():
    with pytest.raises(CheckpointError, match=r"a was 1 and is now 2; b was \[1, 2\] and is now null"):
        check_identity("x", {"a": 1, "b": [1, 2], "c": 3}, {"a": 2, "b": None, "c": 3})


def test_what_an_earlier_version_did_not_say_is_not_compared():
    check_identity("x", {}, {"a": 1})


def test_all_free_settings_exist():
    """A renamed one would be refused from then on."""
    names = {*settings_identity(TrainActor, CONFIG)} | FREE
    assert {field.name for field in dataclasses.fields(TrainActor)} | {
        f"schedule.{field.name}" for field in dataclasses.fields(Schedule)
    } >= FREE
    assert {"schedule.learning_rate", "conversations.prompt_template", "curriculum.kind"} <= names


@pytest.mark.parametrize(
    "changes",
    [
        {"before": (1,), "after": (2, 3, 4), "labels": (-100, 3, -100), "weights": (1.0, 1.0, 3.0)},
        {"labels": (3, 4)},
        {"weights": (1.0, 1.0)},
        {"item": "b#0"},
        {"soft": ()},
    ],
)
def test_other_examples_have_another_digest(changes):
    assert examples_identity([EXAMPLE]) == examples_identity([dataclasses.replace(EXAMPLE)])
    assert examples_identity([EXAMPLE]) != examples_identity([dataclasses.replace(EXAMPLE, **changes)])


def test_what_is_learned_is_not_what_is_held_out():
    other = dataclasses.replace(EXAMPLE, item="b#0")
    digests = [([EXAMPLE], [other]), ([EXAMPLE, other], []), ([other], [EXAMPLE]), ([EXAMPLE], [])]
    assert len({examples_identity(*parts) for parts in digests}) == len(digests)


def test_records_are_told_apart_by_content_and_order():
    assert records_identity([{"a": 1, "b": 2}]) == records_identity(iter([{"b": 2, "a": 1}]))
    assert len({records_identity(records) for records in ([1, 2], [2, 1], [12], ["1", 2])}) == 4


def test_a_store_is_known_by_its_thoughts(pipeline, tmp_path):
    store = LatentStore.open(pipeline.thoughts)
    moved = tmp_path / "moved"
    moved.symlink_to(pipeline.thoughts)
    assert thoughts_identity(store) == thoughts_identity(LatentStore.open(moved))
    assert len({thoughts_identity(*stores) for stores in ([store], [store, store], [store[:3]], [store[::-1]])}) == 4


def test_the_checkpoint_of_an_older_version_is_the_same_training():
    now = settings_identity(TrainActor, CONFIG)
    names = {"finetune": "trained", "lora.rank": "low_rank.rank", "losses.contrastive": "losses.separation"}
    names |= {"schedule.load_best_at_end": "schedule.keep", "schedule.max_grad_norm": "schedule.gradient_clip"}
    old = {names.get(name, name): value for name, value in now.items() if name != "losses.more"}
    old |= {"trained": "everything", "schedule.keep": "last"}
    check_identity("x", old, now)
    for name, value in (("trained", "low_rank"), ("schedule.keep", "best"), ("losses.separation", 0.5)):
        with pytest.raises(CheckpointError):
            check_identity("x", {**old, name: value}, now)
